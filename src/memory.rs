//! Gives memory that connections no longer use back to the system.
//!
//! glibc keeps freed memory that lies between two live allocations. After a flood of connections that is
//! most of the memory that they used.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use crate::{admission::Connections, blocking};

/// Time between two checks for closed connections.
const LOOK: Duration = Duration::from_secs(3);

/// So many connections must have closed for the search to be worth its time. Fewer held at most 1 to 2
/// MiB.
const CLOSED: u64 = 8;

/// Runs until it is dropped.
pub(crate) async fn run(connections: Arc<Connections>) {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = 0;
    loop {
        look.tick().await;
        let closed = connections.closed();
        if closed - seen >= CLOSED {
            seen = closed;
            // It walks the heap, and holds the locks of the allocator one after the other.
            blocking::run(trim).await.ok();
        }
    }
}

/// Other allocators do it themselves.
#[cfg(not(target_env = "gnu"))]
fn trim() {}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the one call that has no safe form")]
fn trim() {
    // SAFETY: it takes a number, may be called by any thread at any time, and touches only pages that
    // hold nothing: malloc_trim(3).
    unsafe { libc::malloc_trim(0) };
}
