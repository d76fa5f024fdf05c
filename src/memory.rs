//! Gives memory that connections no longer use back to the system.
//!
//! glibc keeps what was freed between two allocations that live on: after a flood of connections that is
//! most of what they took, for as long as the daemon runs.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use crate::{admission::Connections, blocking};

/// How often it is looked whether connections were closed.
const LOOK: Duration = Duration::from_secs(3);

/// Connections that must be closed before the search for free pages is worth its time: what so
/// many of them took is less than a MiB or two.
const CLOSED: u64 = 8;

/// Gives memory back for as long as it is polled.
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
