//! Compresses and removes finished files, in a thread of its own. The sink never waits for it.

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
    compress::compress_file,
    compression_delay::CompressionDelay,
    in_use::FilesInUse,
    inventory::Inventory,
    opener::FileOpener,
    retain,
    round_failures::{RoundFailures, RoundReport},
    settings::{Compress, Retain, Settings},
};
use crate::{SinkCounter, template::PathTemplate};

/// The maximum time between two rounds: files become too old by time alone.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);

pub(super) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    inventory: Inventory,
    opener: FileOpener,
    template: PathTemplate,
    in_use: FilesInUse,
    options: Settings,
    /// Counts the files that could not be compressed.
    compression_failures: SinkCounter,
    has_work: Mutex<bool>,
    wake: Condvar,
    stop: AtomicBool,
}

/// Limits the log lines about failures.
#[derive(Default)]
struct KeeperFailures {
    compress: RoundFailures,
    retain: retain::RetainFailures,
}

impl Keeper {
    /// Starts the thread, and the first round: an earlier process may have left work.
    pub(super) fn start(
        (inventory, opener, template): (Inventory, FileOpener, PathTemplate),
        options: &Settings,
        ages: Option<FileAges>,
        compression_failures: SinkCounter,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            inventory,
            opener,
            template,
            in_use: FilesInUse::default(),
            options: options.clone(),
            compression_failures,
            has_work: Mutex::new(true),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let worker = Arc::clone(&shared);
        // The log lines of the thread contain the name of the sink, too.
        let sink = Span::current();
        let thread = thread::Builder::new()
            .name("keeper".into())
            .spawn(move || sink.in_scope(|| worker.run(ages)))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(super) fn inventory(&self) -> &Inventory {
        &self.shared.inventory
    }

    /// Notes that a file is in use: it is neither compressed nor removed now.
    pub(super) fn note_use(&self, path: &Path) {
        self.shared.in_use.note_use(path);
    }

    #[cfg(test)]
    pub(super) fn release_for_test(&self) {
        self.shared.in_use.release_for_test();
        self.notify();
    }

    /// Starts a round.
    pub(super) fn notify(&self) {
        *self.shared.has_work.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.wake.notify_all();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.notify();
        if let Some(thread) = self.thread.take() {
            // It checks `stop` after each read. A panic of the thread was logged.
            thread.join().ok();
        }
    }
}

impl Shared {
    fn run(&self, mut ages: Option<FileAges>) {
        // Compression has a low priority. If that cannot be set, it has the usual one.
        nice(10).ok();
        let (mut failures, mut delay) =
            (KeeperFailures::default(), CompressionDelay::new(Clock::system()));
        let mut next = Duration::ZERO;
        while self.wait(next) {
            next = self.round(&mut failures, &mut delay, ages.as_mut()).min(INTERVAL);
        }
    }

    /// Waits for the next round, for at most `most`. Returns whether to continue.
    fn wait(&self, most: Duration) -> bool {
        let has_work = self.has_work.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.wait_timeout_while(has_work, most, |has_work| !*has_work);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
        !self.stop.load(Ordering::Acquire)
    }

    /// Compresses and removes files. Returns the time until the next file may be due.
    fn round(
        &self,
        failures: &mut KeeperFailures,
        delay: &mut CompressionDelay,
        ages: Option<&mut FileAges>,
    ) -> Duration {
        let next = self.compress_all(failures, delay);
        if self.options.retain != Retain::default() && !self.stop.load(Ordering::Acquire) {
            let (retain, now) = (&self.options.retain, SystemTime::now());
            let files = (&self.opener, &self.inventory, &self.template);
            retain::enforce(files, &self.in_use, (retain, ages), now, &mut failures.retain);
        }
        next
    }

    fn compress_all(
        &self,
        failures: &mut KeeperFailures,
        delay: &mut CompressionDelay,
    ) -> Duration {
        let how = self.options.compress;
        if how == Compress::None {
            return INTERVAL;
        }
        let (due, next) = delay.due(&self.inventory.files(), self.options.compress_after);
        for (path, entry) in due {
            let files = (&self.opener, &self.inventory, &self.in_use);
            match compress_file((&path, &entry), how, files, &self.stop) {
                Ok(true) => debug!(path = %path.display(), "compressed"),
                Ok(false) => {}
                Err(error) => {
                    self.compression_failures.add(1);
                    failures.compress.failed(error);
                }
            }
            if self.stop.load(Ordering::Acquire) {
                return next;
            }
        }
        match failures.compress.end_round(Instant::now()) {
            RoundReport::Nothing => {}
            RoundReport::Failed { error, files, repeated } => {
                warn!(%error, files, repeated, "cannot compress a file: it stays uncompressed");
            }
            RoundReport::Recovered => info!("files can be compressed again"),
        }
        next
    }
}
