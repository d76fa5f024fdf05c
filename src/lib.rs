//! logpushd: a standalone HTTPS daemon that Cloudflare Logpush pushes to.
pub mod admin;
pub mod config;
pub mod decode;
pub mod delivery;
pub mod durable;
pub mod ingest;
pub mod listen;
pub mod logging;
pub mod metrics;
pub mod quarantine;
pub mod serve;
pub mod sink;
pub mod spool;
pub mod tls;
