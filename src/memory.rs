//! Returns freed memory of connections to the system.
//!
//! glibc does not return freed memory between two live allocations. After a flood of connections,
//! that is most of the memory that they used.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use crate::{admission::Connections, blocking};

/// Interval at which closed connections are counted.
const CHECK_INTERVAL: Duration = Duration::from_secs(3);

/// Closed connections after which memory is trimmed. Fewer used 1 to 2 MiB at most.
const MIN_CLOSED: u64 = 8;

/// Trims memory after connections have closed. Runs until it is dropped.
pub(crate) async fn run(connections: Arc<Connections>) {
    let mut checks = interval(CHECK_INTERVAL);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = 0;
    loop {
        checks.tick().await;
        let closed = connections.closed();
        if closed - seen >= MIN_CLOSED {
            seen = closed;
            // Walks the heap, and holds the locks of the allocator one by one.
            blocking::run(trim).await.ok();
        }
    }
}

/// Other allocators return memory by themselves.
#[cfg(not(target_env = "gnu"))]
fn trim() {}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the one call that has no safe form")]
fn trim() {
    // SAFETY: malloc_trim(3) may be called by any thread at any time, and releases only unused
    // pages.
    unsafe { libc::malloc_trim(0) };
}
