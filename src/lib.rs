//! logpushd receives Cloudflare Logpush over HTTPS and delivers the records to sinks.
//!
//! A batch passes these modules from top to bottom. No module uses one above it:
//!
//! - [`listen`] accepts connections, [`tls`] holds the certificates, and [`serve`] runs a
//!   connection;
//! - [`http`] authenticates requests and answers them;
//! - [`ingest`] receives a body: [`decode`] decompresses, splits and validates it, [`spool`] makes
//!   the batch durable, and [`quarantine`] stores rejected records and unreadable bodies;
//! - [`delivery`] brings batches from the spool to each [`sink`], which has its own pace.
//!
//! [`daemon`] starts, reloads and stops these modules. They share [`config`], [`check`],
//! [`logging`], [`audit`], [`throttle`], [`metrics`], [`printable`], [`network`], [`admin`],
//! [`retry`] and [`blocking`].
//!
//! [`cli`] defines the command line, and [`commands`] implements the commands. Those that work with
//! Cloudflare are in [`cloudflare`]. [`destination`] parses the destination of a Logpush job, and
//! [`http_client`] sends requests. Only `main.rs` prints errors and exits.
//!
//! The crates of the workspace appear here as modules: [`decode`], [`record`] and [`select`] are in
//! `records`; [`file_ages`], [`clock`], [`durable`] and [`log_throttle`] in `spool`; [`retry`] in
//! [`http_client`]; [`destination`] in [`cloudflare`]; [`fatal`] in `command`; and [`sink`] is the
//! crate `sinks`.

pub mod acme;
pub mod admin;
pub mod admission;
pub mod audit;
pub mod blocking;
pub mod check;
pub mod cli;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod delivery;
pub mod http;
pub mod ingest;
pub mod listen;
pub mod logging;
pub mod memory;
pub mod metrics;
pub mod network;
pub mod quarantine;
pub mod serve;
pub mod throttle;

pub use settings::printable;

// The crates of the workspace, as modules of this crate.
pub use ::{cloudflare, http_client, sinks as sink, spool, tls};
pub use cloudflare::destination;
pub use command::fatal;
pub use http_client::retry;
pub use records::{decode, record, select};
pub use spool::{clock, durable, file_ages, log_throttle};
