//! Runs disk work of async code on blocking threads.
//!
//! A hung disk blocks threads of this pool, never a thread that runs tasks. `clippy.toml` forbids
//! `spawn_blocking` elsewhere, and `durable` detects file operations on other threads.

use tokio::task::{JoinError, spawn_blocking};

use crate::durable;

/// Runs `work` on a blocking thread.
///
/// # Errors
/// `work` panicked, or the runtime is shutting down.
#[expect(clippy::disallowed_methods, reason = "the only permitted call")]
pub async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    spawn_blocking(|| durable::allow_blocking(work)).await
}
