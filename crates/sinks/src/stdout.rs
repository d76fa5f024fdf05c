//! The `stdout` sink: writes records as lines to standard output, for a pipe.
//!
//! Delivers at least once: the daemon cannot know what a reader has taken, so after a crash the
//! batch is written again from its beginning. After a failed attempt in the same life the sink
//! continues where the last write stopped. A closed pipe stays closed until the next start; the
//! batches wait in the spool.

mod settings;

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd as _, BorrowedFd},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    time::{Duration, Instant},
};

use records::decode::Block;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl},
    io::Errno,
};
use spool::Batch;

use super::{Begin, Sink, SinkError, State, text};

pub use self::settings::{Form, Settings};

/// How long standard output may take nothing before the attempt fails. The failure tells the
/// operator, and lets the delivery see that the daemon stops: two attempts fit in its deadline.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most that a pipe takes without blocking once `poll` reports it writable: one page. Writes of
/// up to this size are also atomic, so another writer to the same pipe does not split them.
const PIPE_BYTES: usize = 4096;

/// Standard output.
pub(super) struct Stdout {
    form: Form,
    patience: Duration,
    /// Opened with the first batch.
    out: Option<Output>,
    /// The batch under way, by its sequence, and its dataset.
    sequence: Option<u64>,
    dataset: String,
    /// How many bytes of the batch were written, over all attempts.
    written: u64,
    /// How many bytes of the batch this attempt has passed.
    passed: u64,
}

/// An open file for the same standard output. The standard library's own handle reports a write to
/// a descriptor that is closed or read-only as done.
struct Output {
    file: File,
    /// A regular file never blocks, so it takes writes of any size.
    is_regular: bool,
}

impl Stdout {
    pub(super) fn new(form: Form) -> Self {
        Self {
            form,
            patience: PATIENCE,
            out: None,
            sequence: None,
            dataset: String::new(),
            written: 0,
            passed: 0,
        }
    }

    /// Writes the next bytes of the batch, except those that an earlier attempt has written.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let out = match &mut self.out {
            Some(out) => out,
            none => none.insert(Output::open(io::stdout().as_fd()).map_err(failed)?),
        };
        let done = usize::try_from(self.written.saturating_sub(self.passed));
        let done = done.unwrap_or(usize::MAX).min(bytes.len());
        self.passed += bytes.len() as u64;
        let mut left = bytes.get(done..).unwrap_or_default();
        while !left.is_empty() {
            let taken = out.write(left, self.patience).map_err(failed)?;
            self.written += taken as u64;
            left = left.get(taken..).unwrap_or_default();
        }
        Ok(())
    }
}

impl Sink for Stdout {
    fn begin(&mut self, batch: &Batch) -> Result<Begin, SinkError> {
        if self.sequence.replace(batch.sequence) != Some(batch.sequence) {
            self.written = 0;
        }
        self.passed = 0;
        self.dataset.clone_from(&batch.header.origin.dataset);
        Ok(Begin::Ready)
    }

    fn write(&mut self, block: &Block) -> Result<(), SinkError> {
        match self.form {
            Form::Ndjson => self.put(&block.bytes)?,
            Form::Text => {
                let mut lines = String::new();
                for record in block.iter() {
                    text::line(&self.dataset, record, &mut lines);
                }
                self.put(lines.as_bytes())?;
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        // The same batch may come again later: after a return to a checkpoint.
        self.sequence = None;
        Ok(())
    }

    fn sync(&mut self) -> Result<State, SinkError> {
        Ok(State::default())
    }
}

impl Output {
    fn open(stdout: BorrowedFd<'_>) -> io::Result<Self> {
        let file = File::from(stdout.try_clone_to_owned()?);
        let status = file.metadata()?;
        let access = fcntl_getfl(&file)? & OFlags::ACCMODE;
        // The standard library opens /dev/null for reading and writing in place of a standard
        // output that is closed at the start. `>/dev/null` opens it for writing only.
        let is_null = status.file_type().is_char_device() && status.rdev() == NULL_DEVICE;
        if access == OFlags::RDONLY || is_null && access == OFlags::RDWR {
            return Err(Errno::BADF.into());
        }
        Ok(Self { is_regular: status.is_file(), file })
    }

    /// Writes what standard output takes of `bytes`, once it takes any.
    fn write(&mut self, bytes: &[u8], patience: Duration) -> io::Result<usize> {
        let most = if self.is_regular { bytes.len() } else { PIPE_BYTES };
        let piece = match bytes.split_at_checked(most) {
            // Whole lines, if possible: see PIPE_BYTES.
            Some((piece, _)) => match piece.iter().rposition(|byte| *byte == b'\n') {
                Some(end) => piece.get(..=end).unwrap_or(piece),
                None => piece,
            },
            None => bytes,
        };
        loop {
            self.wait_writable(patience)?;
            match self.file.write(piece) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                // Non-blocking, and another writer was faster.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                outcome => return outcome,
            }
        }
    }

    fn wait_writable(&self, patience: Duration) -> io::Result<()> {
        if self.is_regular {
            return Ok(());
        }
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut ready = [PollFd::new(&self.file, PollFlags::OUT)];
            match poll(&mut ready, Some(&left)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                // An error, too, is for the write to report.
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Device 1:3, as `st_rdev` encodes it.
const NULL_DEVICE: u64 = 0x103;

#[expect(clippy::needless_pass_by_value, reason = "so that map_err takes it")]
fn failed(error: io::Error) -> io::Error {
    let what = match error.kind() {
        io::ErrorKind::BrokenPipe => {
            "the reader of standard output is gone; batches wait until logpushd is restarted"
                .to_owned()
        }
        io::ErrorKind::TimedOut => {
            "standard output takes nothing: its reader is stopped or too slow; the sink continues \
             where it stopped"
                .to_owned()
        }
        _ if error.raw_os_error() == Some(Errno::BADF.raw_os_error()) => {
            "standard output is closed or not open for writing; batches wait until logpushd is \
             restarted with an open one"
                .to_owned()
        }
        _ => format!("writing to standard output: {error}"),
    };
    io::Error::new(error.kind(), what)
}

#[cfg(test)]
mod tests;
