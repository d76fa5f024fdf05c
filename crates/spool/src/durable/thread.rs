//! Which threads may wait for a disk.
//!
//! A thread of the runtime serves many connections and must not. It is marked when it starts, and
//! [`permit`] lifts the mark for work that was handed to a thread for blocking calls. Every operation
//! of `durable` checks the mark in debug builds, so a test finds a call from async code.

use std::cell::Cell;

thread_local! {
    static FORBIDDEN: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as one of the runtime's.
pub fn forbid() {
    FORBIDDEN.set(true);
}

/// Runs `work` on a thread that may wait for a disk.
pub fn permit<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            FORBIDDEN.set(self.0);
        }
    }
    let _restore = Restore(FORBIDDEN.replace(false));
    work()
}

/// Whether this thread may not wait for a disk.
pub fn is_forbidden() -> bool {
    FORBIDDEN.get()
}
