//! Queues log lines for stderr, so that logging never waits for the reader.
//!
//! A separate thread writes the lines. If the reader is slower than the daemon, the queue fills.
//! Lines are then dropped and counted, and one line reports the count after the reader has caught
//! up.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};

/// The capacity of the queue: thousands of lines, so that a restart of the reader loses none.
const CAPACITY_BYTES: usize = 1 << 20;

/// After a line was dropped, lines are queued again only below this size, so that one report covers
/// many lines.
const REFILL_BYTES: usize = CAPACITY_BYTES / 2;

/// A bounded queue of log lines.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    dropped: AtomicU64,
    /// Formats the line that reports the number of dropped lines.
    report: Box<dyn Fn(u64) -> Vec<u8> + Send + Sync>,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The number of dropped lines that are not reported yet.
    unreported: u64,
    /// A line was taken out and is being written.
    writing: bool,
    /// The last write failed, so a report would fail as well.
    failing: bool,
}

impl State {
    fn push(&mut self, line: Vec<u8>) {
        self.bytes += line.len();
        self.lines.push_back(line);
    }
}

impl Queue {
    pub(super) fn new(report: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            dropped: AtomicU64::new(0),
            report: Box::new(report),
        }
    }

    /// Starts the thread that writes to stderr, which ends with the process.
    pub(super) fn start(self: &Arc<Self>) -> io::Result<()> {
        let queue = Arc::clone(self);
        let thread = thread::Builder::new().name(String::from("log"));
        thread.spawn(move || queue.write_out(io::stderr().as_fd()))?;
        Ok(())
    }

    /// Queues a line, or drops it if the queue is full. Never waits for the reader.
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut state = self.state();
        let most = if state.unreported > 0 { REFILL_BYTES } else { CAPACITY_BYTES };
        if state.bytes + line.len() > most {
            state.unreported += 1;
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        if !state.failing {
            self.queue_report(&mut state);
        }
        state.push(line);
        drop(state);
        self.changed.notify_all();
    }

    /// Queues a line even if the queue is full.
    pub(super) fn push_last(&self, line: Vec<u8>) {
        self.state().push(line);
        self.changed.notify_all();
    }

    /// Returns the number of lines dropped since startup.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Waits until all lines are written, at most for `timeout`.
    pub(super) fn flush(&self, timeout: Duration) {
        let busy = |state: &mut State| {
            let has_report = state.unreported > 0 && !state.failing;
            !state.lines.is_empty() || state.writing || has_report
        };
        drop(self.changed.wait_timeout_while(self.state(), timeout, busy));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all queued lines.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> String {
        let lines = std::mem::take(&mut self.state().lines);
        String::from_utf8(lines.into_iter().flatten().collect()).unwrap()
    }

    fn queue_report(&self, state: &mut State) {
        match std::mem::take(&mut state.unreported) {
            0 => {}
            dropped => state.push((self.report)(dropped)),
        }
    }

    /// Waits for a line and returns it.
    fn take(&self) -> Vec<u8> {
        let mut state = self.state();
        loop {
            if state.lines.is_empty() && !state.failing {
                self.queue_report(&mut state);
            }
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len();
                state.writing = true;
                return line;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Records the result of writing the line that [`Queue::take`] returned.
    fn written(&self, outcome: &io::Result<()>) {
        let mut state = self.state();
        state.writing = false;
        state.failing = outcome.is_err();
        if outcome.is_err() {
            state.unreported += 1;
            self.dropped.fetch_add(1, Relaxed);
        }
        drop(state);
        self.changed.notify_all();
    }

    fn write_out(&self, out: BorrowedFd<'_>) {
        let mut is_torn = false;
        loop {
            let mut line = self.take();
            if is_torn {
                line.insert(0, b'\n');
            }
            let (bytes, outcome) = write_all(out, &line);
            is_torn = outcome.is_err() && (bytes > 0 || is_torn);
            self.written(&outcome);
        }
    }
}

/// Writes all bytes, without a time limit. Also returns how many were written.
fn write_all(out: BorrowedFd<'_>, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest @ [_, ..]) = bytes.get(written..) {
        match rustix::io::write(out, rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            // The process that started the daemon has made stderr non-blocking.
            Err(Errno::WOULDBLOCK) => match poll(&mut [PollFd::new(&out, PollFlags::OUT)], None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return (written, Err(error.into())),
            },
            Err(error) => return (written, Err(error.into())),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, os::fd::OwnedFd, time::Instant};

    use super::*;

    fn queue() -> Arc<Queue> {
        Arc::new(Queue::new(|dropped| format!("{dropped} dropped\n").into_bytes()))
    }

    fn writes_to(queue: &Arc<Queue>, out: OwnedFd) {
        let queue = Arc::clone(queue);
        thread::spawn(move || queue.write_out(out.as_fd()));
    }

    #[test]
    fn lines_that_a_stopped_reader_misses_are_counted_and_reported_once() {
        let (mut reader, writer) = io::pipe().unwrap();
        let queue = queue();
        writes_to(&queue, writer.into());
        let line = |number: usize| format!("{number:0999}\n").into_bytes();
        let total = 2 * CAPACITY_BYTES / 1000;
        for number in 0..total {
            queue.push(line(number));
        }
        let dropped = queue.dropped();
        assert!(dropped > 0, "twice its capacity does not fit");
        queue.flush(Duration::from_millis(1));

        let read = thread::spawn(move || {
            let mut text = Vec::new();
            let mut chunk = [0; 4096];
            while !text.ends_with(b"end\n") {
                let count = reader.read(&mut chunk).unwrap();
                text.extend_from_slice(&chunk[..count]);
            }
            String::from_utf8(text).unwrap()
        });
        queue.flush(Duration::from_secs(3600));
        queue.push(b"end\n".to_vec());
        let text = read.join().unwrap();
        let reports: Vec<_> = text.lines().filter(|line| line.ends_with("dropped")).collect();
        assert_eq!(reports, [format!("{dropped} dropped")]);
        let written = text.lines().filter(|line| line.len() == 999).count();
        assert_eq!(written as u64 + dropped, total as u64);
    }

    #[test]
    fn a_closed_reader_blocks_nothing() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let queue = queue();
        writes_to(&queue, writer.into());
        for _ in 0..3 {
            queue.push(b"line\n".to_vec());
        }
        let begun = Instant::now();
        queue.flush(Duration::from_secs(3600));
        assert!(begun.elapsed() < Duration::from_secs(3600));
        assert_eq!(queue.dropped(), 3);
    }

    #[test]
    fn a_pipe_that_does_not_block_loses_nothing() {
        let (mut reader, writer) = io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let queue = queue();
        writes_to(&queue, writer.into());
        let sent = vec![b'x'; CAPACITY_BYTES];
        queue.push(sent.clone());
        let mut read = vec![0; sent.len()];
        reader.read_exact(&mut read).unwrap();
        assert!(read == sent);
        assert_eq!(queue.dropped(), 0);
    }
}
