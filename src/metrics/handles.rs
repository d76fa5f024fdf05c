//! What is counted by a name from the configuration: endpoints and sinks come and go with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Names that have series of their own.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Of endpoints.
    pub endpoints: Vec<String>,
    /// Of sinks.
    pub sinks: Vec<String>,
    /// Of datasets that the configuration fixes, beside Cloudflare's.
    pub datasets: Vec<String>,
}

/// Handles by name, in the order in which they were made. None is ever removed: an endpoint or a sink
/// that is gone is not shown, and counts on with the same handle should it come back.
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

    /// The handle of that name, which is made if there is none.
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

    /// Shows these, and no others.
    pub(super) fn show(&self, names: &[String], make: impl Fn(&str) -> T) {
        for name in names {
            self.get(name, || make(name));
        }
        for entry in &mut *self.entries() {
            entry.is_shown = names.contains(&entry.name);
        }
    }

    /// Those that are shown.
    pub(super) fn shown(&self) -> Vec<Arc<T>> {
        let entries = self.entries();
        let shown = entries.iter().filter(|entry| entry.is_shown);
        shown.map(|entry| Arc::clone(&entry.handle)).collect()
    }

    /// All of them, also those that are not shown.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.entries().iter().map(|entry| Arc::clone(&entry.handle)).collect()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<NamedHandle<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
