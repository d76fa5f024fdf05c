//! Looks after the files that are finished, in a thread of its own: compresses them, and removes
//! those that need not be kept. The sink never waits for it.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use rustix::process::nice;
use spool::{clock::Clock, file_ages::FileAges};
use tracing::{Span, debug, info, warn};

use super::{
    held::Held,
    inventory::Inventory,
    pack::pack,
    place::Place,
    retain,
    settings::{Compress, Retain, Settings},
    trouble::{Report, Trouble},
    waiting::Waiting,
};
use crate::{SinkCounter, template::PathTemplate};

/// How often it looks without being asked: what is too old is so by time alone.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);

pub(super) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    inventory: Inventory,
    place: Place,
    template: PathTemplate,
    held: Held,
    options: Settings,
    /// Counts the files that could not be compressed.
    pack_failures: SinkCounter,
    asked: Mutex<bool>,
    wake: Condvar,
    stop: AtomicBool,
}

/// Which failures are logged.
#[derive(Default)]
struct Troubles {
    pack: Trouble,
    retain: retain::Troubles,
}

impl Keeper {
    /// Begins at once: an earlier life may have left something to do.
    pub(super) fn start(
        (inventory, place, template): (Inventory, Place, PathTemplate),
        options: &Settings,
        ages: Option<FileAges>,
        pack_failures: SinkCounter,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            inventory,
            place,
            template,
            held: Held::default(),
            options: options.clone(),
            pack_failures,
            asked: Mutex::new(true),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let its = Arc::clone(&shared);
        // What the thread logs names the sink, too.
        let sink = Span::current();
        let thread = thread::Builder::new()
            .name("keeper".into())
            .spawn(move || sink.in_scope(|| its.run(ages)))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(super) fn inventory(&self) -> &Inventory {
        &self.shared.inventory
    }

    /// Something comes for this file: it is not to be removed now.
    pub(super) fn hold(&self, path: &Path) {
        self.shared.held.hold(path);
    }

    #[cfg(test)]
    pub(super) fn let_go_for_test(&self) {
        self.shared.held.let_go_for_test();
        self.ask();
    }

    /// There is something to do.
    pub(super) fn ask(&self) {
        *self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.wake.notify_all();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.ask();
        if let Some(thread) = self.thread.take() {
            // It looks at `stop` between two pieces of a file. If it panicked, that was said.
            thread.join().ok();
        }
    }
}

impl Shared {
    fn run(&self, mut ages: Option<FileAges>) {
        // Compressing may take what others leave. If that cannot be said, it takes its share.
        nice(10).ok();
        let (mut troubles, mut waiting) = (Troubles::default(), Waiting::new(Clock::system()));
        let mut next = Duration::ZERO;
        while self.wait(next) {
            next = self.round(&mut troubles, &mut waiting, ages.as_mut()).min(INTERVAL);
        }
    }

    /// Says whether to go on.
    fn wait(&self, most: Duration) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.wait_timeout_while(asked, most, |asked| !*asked);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
        !self.stop.load(Ordering::Acquire)
    }

    /// Returns how long until there is something to do by time alone.
    fn round(
        &self,
        troubles: &mut Troubles,
        waiting: &mut Waiting,
        ages: Option<&mut FileAges>,
    ) -> Duration {
        let next = self.pack_all(troubles, waiting);
        if self.options.retain != Retain::default() && !self.stop.load(Ordering::Acquire) {
            let (retain, now) = (&self.options.retain, SystemTime::now());
            let files = (&self.place, &self.inventory, &self.template);
            retain::enforce(files, &self.held, (retain, ages), now, &mut troubles.retain);
        }
        next
    }

    fn pack_all(&self, troubles: &mut Troubles, waiting: &mut Waiting) -> Duration {
        let how = self.options.compress;
        if how == Compress::None {
            return INTERVAL;
        }
        let (ripe, next) = waiting.ripe(&self.inventory.files(), self.options.compress_after);
        for (path, kept) in ripe {
            let files = (&self.place, &self.inventory, &self.held);
            match pack((&path, &kept), how, files, &self.stop) {
                Ok(true) => debug!(path = %path.display(), "compressed"),
                Ok(false) => {}
                Err(error) => {
                    self.pack_failures.add(1);
                    troubles.pack.failed(error);
                }
            }
            if self.stop.load(Ordering::Acquire) {
                return next;
            }
        }
        match troubles.pack.end_round(Instant::now()) {
            Report::Nothing => {}
            Report::Failed { error, files, repeated } => {
                warn!(%error, files, repeated, "cannot compress a file: it stays as it is");
            }
            Report::Recovered => info!("files can be compressed again"),
        }
        next
    }
}
