//! A flag for threads that must not wait for a disk.
//!
//! A thread of the runtime serves many connections and must not block. The flag is set when it starts, and
//! [`allow_blocking`] clears it for work on the pool for blocking calls. In debug builds, every
//! operation of `durable` checks the flag, so that tests find calls from async code.

use std::cell::Cell;

thread_local! {
    static FORBIDDEN: Cell<bool> = const { Cell::new(false) };
}

/// Forbids this thread to block.
pub fn forbid_blocking() {
    FORBIDDEN.set(true);
}

/// Runs `work` on a thread that may block.
pub fn allow_blocking<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            FORBIDDEN.set(self.0);
        }
    }
    let _restore = Restore(FORBIDDEN.replace(false));
    work()
}

/// Reports whether this thread must not block.
pub fn is_blocking_forbidden() -> bool {
    FORBIDDEN.get()
}
