//! logpushd: a standalone HTTPS daemon that Cloudflare Logpush pushes to.
//!
//! The way of a batch through the modules, top to bottom; an arrow never points up:
//!
//! - [`listen`] accepts, [`tls`] holds the certificates, [`serve`] leads one connection;
//! - [`http`] decides who may post and answers;
//! - [`ingest`] takes one body: [`decode`] inflates, splits and checks it, [`spool`] makes it durable
//!   and [`quarantine`] keeps what cannot be accepted;
//! - [`delivery`] brings batches from the spool to each [`sink`] at its own pace.
//!
//! The crates of the workspace are named here as modules: [`decode`], [`record`] and [`select`] are
//! `records`; [`file_ages`], [`clock`], [`durable`] and [`log_throttle`] are in `spool`; [`sink`] is `sinks`;
//! [`retry`] is in [`http_client`], [`destination`] in [`cloudflare`], and [`fatal`] in `command`.
//!
//! Beside the way stand [`config`], [`check`], [`logging`], [`audit`], [`throttle`], [`metrics`], [`printable`], [`network`], [`admin`], [`retry`] and [`blocking`];
//! [`daemon`] puts all of it together. [`cli`] is what people type, [`commands`] what looks after a
//! running daemon's files, [`http_client`] how they talk to servers, [`destination`] the text that sends Cloudflare here, and
//! [`cloudflare`] what such a text is given to, with the commands for it. Only `main.rs` prints and exits.

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
mod memory;
pub mod metrics;
pub mod network;
pub mod quarantine;
pub mod serve;
pub mod throttle;

pub use settings::printable;

// The crates of the workspace, named here as the modules beside them are.
pub use ::{cloudflare, http_client, sinks as sink, spool, tls};
pub use cloudflare::destination;
pub use command::fatal;
pub use http_client::retry;
pub use records::{decode, record, select};
pub use spool::{clock, durable, file_ages, log_throttle};
