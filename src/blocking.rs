//! The way from async code to a disk: work is handed to a thread that may wait.
//!
//! Knows nothing of the work. A hung disk takes threads of the pool, never one that runs tasks:
//! `clippy.toml` refuses `spawn_blocking` elsewhere, and `durable` finds calls that take another way.

use tokio::task::{JoinError, spawn_blocking};

use crate::durable;

/// Runs `work` on a thread that may wait.
///
/// # Errors
/// `work` panicked, or the runtime is shutting down.
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    spawn_blocking(|| durable::allow_blocking(work)).await
}
