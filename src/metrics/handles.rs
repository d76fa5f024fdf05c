//! Metrics by name, for endpoints and sinks, which a reload adds and removes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The names with series of their own.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The endpoints.
    pub endpoints: Vec<String>,
    /// The sinks.
    pub sinks: Vec<String>,
    /// The datasets that the configuration names.
    pub datasets: Vec<String>,
}

/// Handles by name, in the order of their creation. No handle is ever removed: the metrics of a
/// removed endpoint or sink are hidden, and continue with the same handle if it is configured
/// again.
#[derive(Debug)]
pub(super) struct Handles<T>(Mutex<Vec<NamedHandle<T>>>);

#[derive(Debug)]
struct NamedHandle<T> {
    name: String,
    is_shown: bool,
    handle: Arc<T>,
}

impl<T> Handles<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Returns the handle of that name. Creates it if it does not exist.
    pub(super) fn get(&self, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
        let mut entries = self.entries();
        if let Some(known) = entries.iter().find(|known| known.name == name) {
            return Arc::clone(&known.handle);
        }
        let handle = Arc::new(make());
        let entry =
            NamedHandle { name: name.to_owned(), is_shown: false, handle: Arc::clone(&handle) };
        entries.push(entry);
        handle
    }

    /// Shows only the handles with these names.
    pub(super) fn show(&self, names: &[String], make: impl Fn(&str) -> T) {
        for name in names {
            self.get(name, || make(name));
        }
        for entry in &mut *self.entries() {
            entry.is_shown = names.contains(&entry.name);
        }
    }

    /// Returns the handles that are shown.
    pub(super) fn shown(&self) -> Vec<Arc<T>> {
        let entries = self.entries();
        let shown = entries.iter().filter(|entry| entry.is_shown);
        shown.map(|entry| Arc::clone(&entry.handle)).collect()
    }

    /// Returns all handles, including hidden ones.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.entries().iter().map(|entry| Arc::clone(&entry.handle)).collect()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<NamedHandle<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
