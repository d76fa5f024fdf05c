//! Monitors the disk of the spool in a thread of its own, so that its state can be read without waiting
//! for the disk.
//!
//! A disk may hang: a system call does not return for minutes, or ever. A second thread, which never
//! touches the disk, counts how long calls have been under way. It counts its own rounds instead of time,
//! so that the disk gets another chance after the whole host was paused.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tracing::{error, info};

use super::{commit, removals::PendingRemovals};
use crate::{durable, log_throttle::FailureThrottle};

/// The interval between reads of the free space, and between probes while the disk fails.
const INTERVAL: Duration = Duration::from_secs(1);

/// The interval of the counter thread.
const ROUND: Duration = Duration::from_millis(250);

/// The number of rounds, 2 s, after which a probe without an answer means that the disk hangs. A commit
/// that takes as long only triggers a probe, since the batch may be large.
const HANG_ROUNDS: u64 = 8;

/// The number of bytes that a probe allocates. An exhausted quota does not reduce the free space, and may
/// leave a few blocks, enough for a small file but not for a batch.
const PROBE_BYTES: u64 = 1 << 20;

/// The monitor of the spool's disk.
#[derive(Debug)]
pub(super) struct DiskMonitor {
    shared: Arc<MonitorState>,
}

#[derive(Debug)]
struct MonitorState {
    state: Mutex<State>,
    /// Notified when there is a task, and at the end.
    asked: Condvar,
    /// Notified when there is something to count, and at the end.
    counting: Condvar,
}

#[derive(Debug)]
struct State {
    /// The free space and the total space.
    space: Option<(u64, u64)>,
    /// The failure of the last operation, until one succeeds.
    failing: Option<DiskFailure>,
    /// Throttles the log of batches that could not be stored.
    batches: FailureThrottle,
    /// The time of the last durable write.
    last_success: Instant,
    /// The next task of the monitor thread.
    next: DiskTask,
    /// The number of tasks that were started.
    begun: u64,
    /// The round in which the current task was started.
    asking: Option<u64>,
    /// The operations of other threads: the round in which each was started, by number.
    busy: BTreeMap<u64, u64>,
    /// The number of operations that were ever started.
    operations: u64,
    /// The round of the counter thread.
    round: u64,
    is_counting: bool,
    is_hung: bool,
}

/// A failed operation.
#[derive(Debug)]
struct DiskFailure {
    error: String,
    /// The error without the path.
    cause: String,
    /// Whether the failure was logged, so that the recovery is logged, too.
    is_logged: bool,
}

/// A task of the monitor thread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum DiskTask {
    /// Read the free space.
    Space,
    /// Read the free space and write a probe file.
    Probe,
    /// Remove pending files, then end.
    Close,
    /// End.
    End,
}

/// Identifies a probe.
#[derive(Clone, Copy, Debug)]
pub struct ProbeId(u64);

/// An operation that is under way, until it is dropped.
#[derive(Debug)]
pub(super) struct Operation<'a> {
    disk: &'a DiskMonitor,
    number: u64,
}

impl DiskMonitor {
    /// Starts to monitor the disk of the directory `batches`.
    pub(super) fn watch(batches: &Path, removals: Arc<PendingRemovals>) -> io::Result<Self> {
        let state = State {
            space: space(batches),
            failing: None,
            batches: FailureThrottle::default(),
            last_success: Instant::now(),
            next: DiskTask::Space,
            begun: 0,
            asking: None,
            busy: BTreeMap::new(),
            operations: 0,
            round: 0,
            is_counting: false,
            is_hung: false,
        };
        let shared = Arc::new(MonitorState {
            state: Mutex::new(state),
            asked: Condvar::new(),
            counting: Condvar::new(),
        });
        let thread = |name: &str| thread::Builder::new().name(name.to_owned());
        let disk = Self { shared: Arc::clone(&shared) };
        let (asking, batches) = (Arc::clone(&shared), batches.to_owned());
        thread("spool disk").spawn(move || asking.run_tasks(&batches, &removals))?;
        thread("spool clock").spawn(move || shared.count())?;
        Ok(disk)
    }

    /// Returns the free space and the total space.
    pub(super) fn space(&self) -> Option<(u64, u64)> {
        self.state().space
    }

    /// Reads the space. Blocks on the disk.
    pub(super) fn refresh_space(&self, batches: &Path) {
        let space = space(batches);
        self.state().space = space;
    }

    /// Reports whether the disk hangs.
    pub(super) fn is_hung(&self) -> bool {
        self.state().is_hung
    }

    /// Returns why the disk fails, without a path.
    pub(super) fn failure(&self) -> Option<String> {
        self.state().failing.as_ref().map(|failing| failing.cause.clone())
    }

    /// Requests a probe, unless a write succeeded within `age` or the disk hangs.
    pub(super) fn probe(&self, age: Duration) -> Option<ProbeId> {
        let mut state = self.state();
        let is_fresh = state.failing.is_none() && state.last_success.elapsed() < age;
        if state.is_hung || is_fresh || matches!(state.next, DiskTask::Close | DiskTask::End) {
            return None;
        }
        state.request_probe();
        // The current task may have been started before the event that the caller has seen.
        let probe = ProbeId(state.begun + 1);
        drop(state);
        self.shared.asked.notify_one();
        Some(probe)
    }

    /// Reports whether a probe has finished, or will not finish in time.
    pub(super) fn is_finished(&self, ProbeId(number): ProbeId) -> bool {
        let state = self.state();
        let is_over = matches!(state.next, DiskTask::Close | DiskTask::End);
        is_over
            || state.is_hung
            || state.begun > number
            || state.begun == number && state.asking.is_none()
    }

    /// Registers an operation that begins.
    pub(super) fn start_operation(&self) -> Operation<'_> {
        let mut state = self.state();
        state.operations += 1;
        let (number, round) = (state.operations, state.round);
        state.busy.insert(number, round);
        self.shared.wake_counter(&state);
        Operation { disk: self, number }
    }

    /// Records that a batch could not be stored.
    pub(super) fn failed(&self, error: &io::Error) {
        let cause = durable::cause(error);
        let mut state = self.state();
        let report = state.batches.failed(&cause, Instant::now());
        if let Some(repeated) = report {
            error!(%error, repeated, "cannot store a batch");
        }
        let failing = DiskFailure { error: error.to_string(), cause, is_logged: report.is_some() };
        state.failing.get_or_insert(failing).is_logged |= report.is_some();
    }

    /// Records that a batch was stored.
    pub(super) fn succeeded(&self) {
        let mut state = self.state();
        // A probe does not count: the disk may accept the probe but not a batch.
        state.batches.recovered();
        state.succeeded();
    }

    /// Requests that the monitor thread remove pending files.
    pub(super) fn request_cleanup(&self) {
        self.state().request_probe();
        self.shared.asked.notify_one();
    }

    /// Requests that pending files be removed, and ends the monitor thread.
    pub(super) fn close(&self) {
        self.state().next = DiskTask::Close;
        self.shared.asked.notify_one();
    }

    /// Reports whether the monitor thread has ended, or will not end in time.
    pub(super) fn is_closed(&self) -> bool {
        let state = self.state();
        state.is_hung || state.next == DiskTask::End
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for DiskMonitor {
    fn drop(&mut self) {
        // Do not join the threads: the disk may hang.
        self.state().next = DiskTask::End;
        self.shared.asked.notify_one();
        self.shared.counting.notify_one();
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        self.disk.state().busy.remove(&self.number);
    }
}

impl MonitorState {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code between lock and unlock leaves the state inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_counter(&self, state: &State) {
        if !state.is_counting {
            self.counting.notify_one();
        }
    }

    /// Runs tasks until the spool is closed or dropped.
    fn run_tasks(&self, batches: &Path, removals: &PendingRemovals) {
        loop {
            let mut state = self.state();
            if state.next == DiskTask::Space {
                let waited = self.asked.wait_timeout(state, INTERVAL);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            let is_probe = match state.next {
                DiskTask::Close => {
                    drop(state);
                    // The next start removes the rest.
                    removals.retry().ok();
                    self.state().next = DiskTask::End;
                    self.counting.notify_one();
                    return;
                }
                DiskTask::End => return,
                DiskTask::Probe => true,
                DiskTask::Space => state.failing.is_some(),
            };
            state.next = DiskTask::Space;
            state.begun += 1;
            state.asking = Some(state.round);
            self.wake_counter(&state);
            drop(state);

            let space = space(batches);
            let outcome = is_probe.then(|| probe_disk(batches, removals));

            let mut state = self.state();
            state.asking = None;
            state.space = space;
            if std::mem::take(&mut state.is_hung) {
                info!("the disk under spool.dir answers again");
            }
            match outcome {
                None => {}
                Some(Ok(())) => state.succeeded(),
                Some(Err(error)) => {
                    if state.failing.as_ref().is_none_or(|failing| !failing.is_logged) {
                        error!(%error, "the spool cannot be written to");
                    }
                    let (error, cause) = (error.to_string(), durable::cause(&error));
                    state.failing = Some(DiskFailure { error, cause, is_logged: true });
                }
            }
        }
    }

    /// Counts rounds while a call is under way, until the spool is dropped.
    fn count(&self) {
        let mut state = self.state();
        while state.next != DiskTask::End {
            state.is_counting = state.asking.is_some() || !state.busy.is_empty();
            if !state.is_counting {
                state = self.counting.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = self.counting.wait_timeout(state, ROUND);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.round += 1;
            let is_late = |begun: u64| state.round >= begun + HANG_ROUNDS;
            if state.asking.is_some_and(is_late) {
                if !state.is_hung {
                    error!("the disk under spool.dir does not answer; refusing batches");
                }
                state.is_hung = true;
            } else if state.asking.is_none()
                && state.busy.first_key_value().is_some_and(|(_, begun)| is_late(*begun))
                && state.last_success.elapsed() > 2 * INTERVAL
            {
                state.request_probe();
                self.asked.notify_one();
            }
        }
    }
}

impl State {
    fn request_probe(&mut self) {
        if self.next == DiskTask::Space {
            self.next = DiskTask::Probe;
        }
    }

    fn succeeded(&mut self) {
        self.last_success = Instant::now();
        if let Some(DiskFailure { error, is_logged: true, .. }) = self.failing.take() {
            info!(error, "the spool can be written to again");
        }
    }
}

fn space(batches: &Path) -> Option<(u64, u64)> {
    durable::space(batches).ok()
}

/// Performs all steps of a commit: a disk may accept bytes but no names.
fn probe_disk(batches: &Path, removals: &PendingRemovals) -> io::Result<()> {
    let name =
        |end: &str| -> PathBuf { batches.join(format!("{}{end}", commit::UNFINISHED_PREFIX)) };
    let (path, renamed) = (name("probe"), name("probed"));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let tried = removals.retry().and_then(|()| {
        let file = durable::open(&options, &path)?;
        durable::allocate(&file, PROBE_BYTES, &path)?;
        durable::write_all(&file, b"probe", &path)?;
        durable::sync(&file, &path)?;
        durable::rename(&path, &renamed)?;
        durable::sync_dir(batches)
    });
    let removed = durable::remove(&path).and_then(|()| durable::remove(&renamed));
    tried.and(removed)
}
