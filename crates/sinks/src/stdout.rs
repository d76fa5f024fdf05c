//! The `stdout` sink: writes records as lines to standard output, for a pipe.
//!
//! Delivers at least once. The daemon cannot know how much a reader has read, so after a crash it
//! writes the batch again from its beginning. After a failed attempt of the same process, the sink
//! continues where the last write stopped. If the reader closes the pipe, batches stay in the spool
//! until the next start.

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

use super::{Readiness, Sink, SinkError, State, text};

pub use self::settings::{Settings, StdoutFormat};

/// How long a write may block before the attempt fails. The failure is logged, and delivery can
/// then notice that the daemon is shutting down: two attempts fit in its deadline.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum size of a write to a pipe: one page. Once `poll` reports a pipe as writable, a write
/// of this size does not block, and it is atomic: another writer to the pipe does not split it.
const PIPE_BYTES: usize = 4096;

/// Standard output.
pub(super) struct Stdout {
    format: StdoutFormat,
    write_timeout: Duration,
    /// Opened with the first batch.
    out: Option<Output>,
    /// The sequence and the dataset of the current batch.
    sequence: Option<u64>,
    dataset: String,
    /// The bytes of the batch that were written in all attempts.
    written: u64,
    /// The bytes of the batch that this attempt has processed.
    passed: u64,
}

/// A duplicate of the descriptor of standard output. The handle of the standard library reports
/// success for a write to a descriptor that is closed or read-only.
struct Output {
    file: File,
    /// Whether it is a regular file, which never blocks and accepts writes of any size.
    is_regular: bool,
}

impl Stdout {
    pub(super) fn new(format: StdoutFormat) -> Self {
        Self {
            format,
            write_timeout: WRITE_TIMEOUT,
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
            let taken = out.write(left, self.write_timeout).map_err(failed)?;
            self.written += taken as u64;
            left = left.get(taken..).unwrap_or_default();
        }
        Ok(())
    }
}

impl Sink for Stdout {
    fn begin(&mut self, batch: &Batch) -> Result<Readiness, SinkError> {
        if self.sequence.replace(batch.sequence) != Some(batch.sequence) {
            self.written = 0;
        }
        self.passed = 0;
        self.dataset.clone_from(&batch.header.origin.dataset);
        Ok(Readiness::Ready)
    }

    fn write(&mut self, block: &Block) -> Result<(), SinkError> {
        match self.format {
            StdoutFormat::Ndjson => self.put(&block.bytes)?,
            StdoutFormat::Text => {
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
        // The same batch may follow again, after a return to a checkpoint.
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
        // If standard output is closed at the start, the standard library opens /dev/null for
        // reading and writing instead. `>/dev/null` opens it for writing only.
        let is_null = status.file_type().is_char_device() && status.rdev() == NULL_DEVICE;
        if access == OFlags::RDONLY || is_null && access == OFlags::RDWR {
            return Err(Errno::BADF.into());
        }
        Ok(Self { is_regular: status.is_file(), file })
    }

    /// Waits until standard output is writable, writes a part of `bytes`, and returns its length.
    fn write(&mut self, bytes: &[u8], write_timeout: Duration) -> io::Result<usize> {
        let most = if self.is_regular { bytes.len() } else { PIPE_BYTES };
        let chunk = match bytes.split_at_checked(most) {
            // Whole lines if possible, since such writes are atomic.
            Some((chunk, _)) => match chunk.iter().rposition(|byte| *byte == b'\n') {
                Some(end) => chunk.get(..=end).unwrap_or(chunk),
                None => chunk,
            },
            None => bytes,
        };
        loop {
            self.wait_writable(write_timeout)?;
            match self.file.write(chunk) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                // The descriptor is non-blocking, and another writer was faster.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                outcome => return outcome,
            }
        }
    }

    fn wait_writable(&self, write_timeout: Duration) -> io::Result<()> {
        if self.is_regular {
            return Ok(());
        }
        let deadline = Instant::now() + write_timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut ready = [PollFd::new(&self.file, PollFlags::OUT)];
            match poll(&mut ready, Some(&left)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                // The write reports errors, too.
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
            "standard output accepts no data: its reader is stopped or too slow; the sink will \
             continue where it stopped"
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
