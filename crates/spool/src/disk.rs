//! Asks the spool's disk how it is, in a thread of its own, and keeps the answer for whoever wants to
//! know without waiting for a disk.
//!
//! A disk may hang: a call does not return for minutes, or ever. A second thread, which touches no
//! disk, counts how long calls have been under way. It counts its own rounds, not time: after a pause
//! of the whole host the disk gets another chance to answer.

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

use super::{commit, leftovers::Leftovers};
use crate::{durable, repeats::Failures};

/// How often the disk is asked for its free space, and tried while it fails.
const INTERVAL: Duration = Duration::from_secs(1);

/// One round of the thread that counts.
const ROUND: Duration = Duration::from_millis(250);

/// A question without an answer after so many rounds, 2 s, means that the disk hangs. A commit that
/// takes as long is a reason to ask: it may be a large one.
const PATIENCE: u64 = 8;

/// What the disk must have room for in a trial. An exhausted quota does not show in the free space, and
/// may leave a few blocks that take a short file, but no batch.
const TRIAL_BYTES: u64 = 1 << 20;

/// What is known of the disk.
#[derive(Debug)]
pub(super) struct Disk {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Told when there is a question, and at the end.
    asked: Condvar,
    /// Told when there is something to count, and at the end.
    counting: Condvar,
}

#[derive(Debug)]
struct State {
    /// The space on the disk: free, and in all.
    space: Option<(u64, u64)>,
    /// Why the last operation failed, until one works.
    failing: Option<Failing>,
    /// Which batches that could not be stored are logged.
    batches: Failures,
    /// When the disk last took something durably.
    worked: Instant,
    /// What the thread that asks is to do next.
    next: Next,
    /// How many questions were begun.
    begun: u64,
    /// In which round the one under way was begun.
    asking: Option<u64>,
    /// Operations of others under way: by number, in which round they were begun.
    busy: BTreeMap<u64, u64>,
    /// How many of those there ever were.
    operations: u64,
    /// The counter's rounds, while there is something to count.
    round: u64,
    is_counting: bool,
    hangs: bool,
}

/// An operation that failed.
#[derive(Debug)]
struct Failing {
    error: String,
    /// The same without the path.
    cause: String,
    /// Whether it is in the log, so that the recovery has to be, too.
    is_logged: bool,
}

/// What to ask the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    /// How much is free.
    Space,
    /// The same, and to take something.
    Trial,
    /// To remove what is left over, and nothing more.
    Close,
    /// Nothing more.
    End,
}

/// A question for the disk.
#[derive(Clone, Copy, Debug)]
pub struct Question(u64);

/// An operation under way.
#[derive(Debug)]
pub(super) struct Busy<'a> {
    disk: &'a Disk,
    number: u64,
}

impl Disk {
    /// Watches the disk of the directory `batches`.
    pub(super) fn watch(batches: &Path, leftovers: Arc<Leftovers>) -> io::Result<Self> {
        let state = State {
            space: space(batches),
            failing: None,
            batches: Failures::default(),
            worked: Instant::now(),
            next: Next::Space,
            begun: 0,
            asking: None,
            busy: BTreeMap::new(),
            operations: 0,
            round: 0,
            is_counting: false,
            hangs: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            asked: Condvar::new(),
            counting: Condvar::new(),
        });
        let thread = |name: &str| thread::Builder::new().name(name.to_owned());
        let disk = Self { shared: Arc::clone(&shared) };
        let (asking, batches) = (Arc::clone(&shared), batches.to_owned());
        thread("spool disk").spawn(move || asking.ask_disk(&batches, &leftovers))?;
        thread("spool clock").spawn(move || shared.count())?;
        Ok(disk)
    }

    /// The space on the disk: free, and in all.
    pub(super) fn space(&self) -> Option<(u64, u64)> {
        self.state().space
    }

    /// Looks at the space itself. May wait for the disk.
    pub(super) fn look(&self, batches: &Path) {
        let space = space(batches);
        self.state().space = space;
    }

    /// Whether a question has been under way for too long.
    pub(super) fn hangs(&self) -> bool {
        self.state().hangs
    }

    /// Why the disk takes nothing, in words without a path.
    pub(super) fn failure(&self) -> Option<String> {
        self.state().failing.as_ref().map(|failing| failing.cause.clone())
    }

    /// Asks the disk to take something, unless it has done so for `age` or it is known to hang.
    pub(super) fn ask(&self, age: Duration) -> Option<Question> {
        let mut state = self.state();
        let is_fresh = state.failing.is_none() && state.worked.elapsed() < age;
        if state.hangs || is_fresh || matches!(state.next, Next::Close | Next::End) {
            return None;
        }
        state.want_trial();
        // One under way may have been begun before what the asker has seen.
        let question = Question(state.begun + 1);
        drop(state);
        self.shared.asked.notify_one();
        Some(question)
    }

    /// Whether a question is answered, or will not be in time.
    pub(super) fn is_answered(&self, Question(number): Question) -> bool {
        let state = self.state();
        let is_over = matches!(state.next, Next::Close | Next::End);
        is_over
            || state.hangs
            || state.begun > number
            || state.begun == number && state.asking.is_none()
    }

    /// Takes note of an operation that begins.
    pub(super) fn busy(&self) -> Busy<'_> {
        let mut state = self.state();
        state.operations += 1;
        let (number, round) = (state.operations, state.round);
        state.busy.insert(number, round);
        self.shared.count_on(&state);
        Busy { disk: self, number }
    }

    /// Takes note that a batch could not be stored.
    pub(super) fn failed(&self, error: &io::Error) {
        let cause = durable::cause(error);
        let mut state = self.state();
        let report = state.batches.failed(&cause, Instant::now());
        if let Some(repeated) = report {
            error!(%error, repeated, "cannot store a batch");
        }
        let failing = Failing { error: error.to_string(), cause, is_logged: report.is_some() };
        state.failing.get_or_insert(failing).is_logged |= report.is_some();
    }

    /// Takes note that a batch could be stored.
    pub(super) fn works(&self) {
        let mut state = self.state();
        // Not with a trial: a disk may take that, and no batch.
        state.batches.recovered();
        state.works();
    }

    /// Has the thread that may wait remove what it can of the leftovers.
    pub(super) fn tidy(&self) {
        self.state().want_trial();
        self.shared.asked.notify_one();
    }

    /// Has what is left over removed, and asks the disk nothing after that.
    pub(super) fn close(&self) {
        self.state().next = Next::Close;
        self.shared.asked.notify_one();
    }

    /// Whether that is done, or will not be in time.
    pub(super) fn is_closed(&self) -> bool {
        let state = self.state();
        state.hangs || state.next == Next::End
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The threads are not waited for: the disk may hang.
        self.state().next = Next::End;
        self.shared.asked.notify_one();
        self.shared.counting.notify_one();
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.disk.state().busy.remove(&self.number);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing between lock and unlock leaves it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_on(&self, state: &State) {
        if !state.is_counting {
            self.counting.notify_one();
        }
    }

    /// Asks the disk, until the spool is dropped.
    fn ask_disk(&self, batches: &Path, leftovers: &Leftovers) {
        loop {
            let mut state = self.state();
            if state.next == Next::Space {
                let waited = self.asked.wait_timeout(state, INTERVAL);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            let is_trial = match state.next {
                Next::Close => {
                    drop(state);
                    // What is left of them then is removed at the next start.
                    leftovers.tidy().ok();
                    self.state().next = Next::End;
                    self.counting.notify_one();
                    return;
                }
                Next::End => return,
                Next::Trial => true,
                Next::Space => state.failing.is_some(),
            };
            state.next = Next::Space;
            state.begun += 1;
            state.asking = Some(state.round);
            self.count_on(&state);
            drop(state);

            let space = space(batches);
            let outcome = is_trial.then(|| try_out(batches, leftovers));

            let mut state = self.state();
            state.asking = None;
            state.space = space;
            if std::mem::take(&mut state.hangs) {
                info!("the disk under spool.dir answers again");
            }
            match outcome {
                None => {}
                Some(Ok(())) => state.works(),
                Some(Err(error)) => {
                    if state.failing.as_ref().is_none_or(|failing| !failing.is_logged) {
                        error!(%error, "the spool cannot be written to");
                    }
                    let (error, cause) = (error.to_string(), durable::cause(&error));
                    state.failing = Some(Failing { error, cause, is_logged: true });
                }
            }
        }
    }

    /// Counts rounds while anything is under way, until the spool is dropped.
    fn count(&self) {
        let mut state = self.state();
        while state.next != Next::End {
            state.is_counting = state.asking.is_some() || !state.busy.is_empty();
            if !state.is_counting {
                state = self.counting.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = self.counting.wait_timeout(state, ROUND);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.round += 1;
            let is_late = |begun: u64| state.round >= begun + PATIENCE;
            if state.asking.is_some_and(is_late) {
                if !state.hangs {
                    error!("the disk under spool.dir does not answer: batches are refused");
                }
                state.hangs = true;
            } else if state.asking.is_none()
                && state.busy.first_key_value().is_some_and(|(_, begun)| is_late(*begun))
                && state.worked.elapsed() > 2 * INTERVAL
            {
                state.want_trial();
                self.asked.notify_one();
            }
        }
    }
}

impl State {
    fn want_trial(&mut self) {
        if self.next == Next::Space {
            self.next = Next::Trial;
        }
    }

    fn works(&mut self) {
        self.worked = Instant::now();
        if let Some(Failing { error, is_logged: true, .. }) = self.failing.take() {
            info!(error, "the spool can be written to again");
        }
    }
}

fn space(batches: &Path) -> Option<(u64, u64)> {
    durable::space(batches).ok()
}

/// All that a commit does: a disk may take bytes and no names.
fn try_out(batches: &Path, leftovers: &Leftovers) -> io::Result<()> {
    let name =
        |end: &str| -> PathBuf { batches.join(format!("{}{end}", commit::UNFINISHED_PREFIX)) };
    let (path, renamed) = (name("probe"), name("probed"));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let tried = leftovers.tidy().and_then(|()| {
        let file = durable::open(&options, &path)?;
        durable::allocate(&file, TRIAL_BYTES, &path)?;
        durable::write_all(&file, b"probe", &path)?;
        durable::sync(&file, &path)?;
        durable::rename(&path, &renamed)?;
        durable::sync_dir(batches)
    });
    let removed = durable::remove(&path).and_then(|()| durable::remove(&renamed));
    tried.and(removed)
}
