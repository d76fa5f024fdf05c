//! What every key is for: of this `docs/reference.md` and logpushd.toml(5) are made.
//!
//! The texts of tables and keys are where these are declared: here is what holds for the file as a whole.
//! `LOGPUSHD_BLESS=1 cargo test --lib reference` writes `docs/reference.md` again.

#[cfg(test)]
mod markdown;

use settings::{
    Settings as _,
    reference::{Chapter, Table},
};

#[cfg(test)]
pub(super) use self::markdown::document;
use super::{Limits, Log, Quarantine, Server, Spool, admin, sink, validate::endpoint};
use crate::sink::SinkKind;

/// All tables, in the order in which a file has them.
pub fn tables() -> Vec<Chapter> {
    let common = [Server::TABLE, endpoint::Keys::TABLE, sink::Keys::TABLE];
    let rest = [Spool::TABLE, Limits::TABLE, Quarantine::TABLE, admin::Keys::TABLE, Log::TABLE];
    let tables = common.into_iter().chain(SinkKind::TABLES.iter().copied()).chain(rest);
    tables.flat_map(Table::chapters).collect()
}

/// What holds for the file as a whole, a paragraph each.
pub const FILE: &[&str] = &[
    "The configuration is one file in TOML, by default `/etc/logpushd/logpushd.toml`. `-c FILE` or the \
     environment variable `LOGPUSHD_CONFIG` names another, and `-c -` reads standard input. An unknown \
     key is an error. `logpushd validate` prints every error and warning with its place and what to \
     do; the daemon does not start, and does not reload, with a file that has an error.",
    "A size is a whole number with a unit: `\"500kB\"`, `MB`, `GB`, `TB` (of 1000) or `\"64MiB\"`, \
     `KiB`, `GiB`, `TiB` (of 1024); a number alone counts bytes. A duration is `\"30s\"`, \
     `\"24h\"`, `\"1h30m\"`, of `d`, `h`, `m`, `s` and `ms`. A relative path begins at the folder \
     of the file. Times in paths and headers are UTC.",
    "A secret never stands in the file: a problem is shown with its line. Endpoints name a file of \
     secrets.",
];

/// A file that is enough for a job.
pub const EXAMPLE: &str = "\
[server.tls]
cert_file = \"/etc/logpushd/fullchain.pem\"
key_file = \"/etc/logpushd/privkey.pem\"

[endpoint.main]
path = \"/logpush/{dataset}\"
secret_file = \"/etc/logpushd/secrets.txt\"

[sink.archive.file]
path = \"/var/log/logpushd/{dataset}/%Y-%m-%d.ndjson\"
";
