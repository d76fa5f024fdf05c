//! Looks after the files that are finished, in a thread of its own: compresses them, and removes
//! those that need not be kept. The sink never waits for it.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use rustix::process::nice;
use tracing::{Span, debug, info, warn};

use super::{
    inventory::{Identity, Inventory, Kept},
    pack::pack,
    place::{Place, file_name},
    retain,
    trouble::{Report, Trouble},
    waiting::Waiting,
};
use crate::{
    ages::Ages,
    clock::Clock,
    config::{Compress, FileOptions, Retain},
    sink::template::PathTemplate,
};

/// How often it looks without being asked: what is too old is so by time alone.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);

/// A file that something came for is not removed for so long. The sink has closed it by then.
const HOLD: Duration = Duration::from_secs(120);

pub(super) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    inventory: Inventory,
    place: Place,
    template: PathTemplate,
    held: Held,
    options: FileOptions,
    /// Counts the files that could not be compressed.
    pack_failures: Arc<AtomicU64>,
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

/// The files that the sink may write to.
#[derive(Default)]
pub(super) struct Held(Mutex<HashMap<PathBuf, Instant>>);

impl Held {
    pub(super) fn hold(&self, path: &Path) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get_mut(path) {
            Some(since) => *since = Instant::now(),
            None => {
                held.insert(path.to_owned(), Instant::now());
            }
        }
    }

    /// Says whether it was run: the sink cannot begin with the file meanwhile.
    pub(super) fn unless_held(
        &self,
        path: &Path,
        run: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<bool> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, since| since.elapsed() < HOLD);
        if held.contains_key(path) {
            return Ok(false);
        }
        run().map(|()| true)
    }

    #[cfg(test)]
    pub(super) fn let_go_for_test(&self) {
        self.0.lock().unwrap().clear();
    }
}

impl Keeper {
    /// Begins at once: an earlier life may have left something to do.
    pub(super) fn start(
        inventory: Inventory,
        (place, template): (Place, PathTemplate),
        options: &FileOptions,
        ages: Option<Ages>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            inventory,
            place,
            template,
            held: Held::default(),
            options: options.clone(),
            pack_failures: Arc::default(),
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

    pub(super) fn pack_failures(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.shared.pack_failures)
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
    fn run(&self, mut ages: Option<Ages>) {
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
        ages: Option<&mut Ages>,
    ) -> Duration {
        for (path, kept) in self.inventory.interrupted() {
            if let Err(error) = clear_interrupted((&path, &kept), &self.place, &self.inventory) {
                troubles.pack.failed(error);
            }
        }
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
                    self.pack_failures.fetch_add(1, Ordering::Relaxed);
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

/// Removes the empty file that a kill left under the name that a live file was to get, before the two were
/// exchanged. If they were, there is nothing to remove.
fn clear_interrupted(
    (path, kept): (&Path, &Kept),
    place: &Place,
    inventory: &Inventory,
) -> io::Result<()> {
    let (directory, name) = (place.directory(path)?, file_name(path)?);
    let there = match directory.metadata(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return inventory.note(path, None),
        there => there?,
    };
    if !there.is_file() || there.len() > 0 || Identity::of(&there) == kept.identity {
        return Ok(());
    }
    directory.remove(name)?;
    inventory.note(path, None)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::inventory::Stage, *};
    use crate::config::Owner;

    #[test]
    fn a_rotation_that_a_kill_interrupted_leaves_no_empty_file_and_none_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let inventory = Inventory::open(&at("list.json"));
        let place = Place::new(0o640, Owner::default(), None);
        for (live, ended, text) in
            [("a", "a.1", Some("")), ("b", "b.1", None), ("c", "c.1", Some("theirs\n"))]
        {
            fs::write(at(live), "{}\n").unwrap();
            let identity = Identity::of(&at(live).metadata().unwrap());
            inventory.begin(&at(live), identity, "s").unwrap();
            let kept = inventory.files().pop().unwrap().1;
            inventory.note(&at(ended), Some(Kept { stage: Stage::Ended, ..kept })).unwrap();
            if let Some(text) = text {
                fs::write(at(ended), text).unwrap();
            }
        }
        // This one was exchanged before the kill.
        fs::rename(at("b"), at("b.1")).unwrap();
        fs::write(at("b"), "").unwrap();
        // This one was rotated again before the keeper looked.
        fs::write(at("d.1"), "").unwrap();
        fs::write(at("d.2"), "{}\n").unwrap();
        let identity = Identity::of(&at("d.2").metadata().unwrap());
        let (stream, stage, number) = ("s".into(), Stage::Ended, Some(9));
        let kept = Kept { identity, stream, stage, number, ended: None };
        for name in ["d.1", "d.2"] {
            inventory.note(&at(name), Some(kept.clone())).unwrap();
        }
        for (path, kept) in inventory.interrupted() {
            clear_interrupted((&path, &kept), &place, &inventory).unwrap();
        }
        assert!(!at("a.1").exists());
        assert_eq!(fs::read_to_string(at("b.1")).unwrap(), "{}\n");
        assert_eq!(fs::read_to_string(at("c.1")).unwrap(), "theirs\n");
        assert!(!at("d.1").exists());
        assert_eq!(fs::read_to_string(at("d.2")).unwrap(), "{}\n");
        let ended = inventory.files().into_iter().filter(|(_, kept)| kept.stage == Stage::Ended);
        let ended: Vec<_> = ended.map(|(path, _)| path).collect();
        assert_eq!(ended, [at("b.1"), at("c.1"), at("d.2")]);
    }
}
