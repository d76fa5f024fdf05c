//! Limits the free memory that the allocator keeps.
//!
//! glibc does not return freed memory between two live allocations. After a flood of connections,
//! that is most of the memory that they used. It also keeps free memory in each arena, and creates up
//! to eight arenas per core.

use std::{env, sync::Arc, thread::available_parallelism, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use crate::{admission::Connections, blocking};

/// Interval at which closed connections are counted.
const CHECK_INTERVAL: Duration = Duration::from_secs(3);

/// Closed connections after which memory is trimmed. Fewer used 1 to 2 MiB at most.
const MIN_CLOSED: u64 = 8;

/// Limits the arenas of the allocator to one per core, and at least two. Call this before a second
/// thread starts. An operator may set another number with `MALLOC_ARENA_MAX`, as in mallopt(3).
pub fn limit_arenas() {
    if env::var_os("MALLOC_ARENA_MAX").is_none() {
        let cores = available_parallelism().map_or(1, usize::from);
        set_arenas(i32::try_from(cores.max(2)).unwrap_or(i32::MAX));
    }
}

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

/// Other allocators have no such limit.
#[cfg(not(target_env = "gnu"))]
fn set_arenas(_number: i32) {}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the call has no safe form")]
fn set_arenas(number: i32) {
    // SAFETY: mallopt(3) takes numbers only, and no other thread allocates memory yet. On failure,
    // the default remains.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, number) };
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the call has no safe form")]
fn trim() {
    // SAFETY: malloc_trim(3) may be called by any thread at any time, and releases only unused
    // pages.
    unsafe { libc::malloc_trim(0) };
}
