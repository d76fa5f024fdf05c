//! Cloudflare Logpush from the customer's side: the [`destination`] that a job sends to, Cloudflare's
//! [`api`] for jobs, and the commands [`job`], [`doctor`] and [`push`].
//!
//! This crate does not depend on the daemon. The caller looks up the endpoint that `--endpoint` names,
//! see [`job::FindEndpoint`].

pub mod api;
mod argument;
pub mod destination;
pub mod doctor;
mod gzip;
pub mod job;
pub mod push;

pub use self::api::{datasets, mask};
