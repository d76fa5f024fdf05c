//! Logpush as its customers see it: the [`destination`] that a job sends to, Cloudflare's [`api`] for jobs, and
//! the commands for both: [`job`], [`doctor`] and [`push`].
//!
//! Knows nothing of the daemon. What `--endpoint` names is looked up by the caller, see
//! [`job::FindEndpoint`].

pub mod api;
mod argument;
pub mod destination;
pub mod doctor;
mod gzip;
pub mod job;
pub mod push;

pub use self::api::{datasets, mask};
