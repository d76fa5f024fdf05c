//! The reference of all keys, from which `docs/reference.md`, `config/logpushd.toml` and
//! logpushd.toml(5) are generated.
//!
//! The texts of tables and keys are in their declarations. The texts about the whole file are here.
//! `LOGPUSHD_BLESS=1 cargo test --lib reference` regenerates the first two files.

#[cfg(test)]
mod markdown;
#[cfg(test)]
mod sample;

use settings::{
    Settings as _,
    reference::{Chapter, Table},
};

#[cfg(test)]
pub(super) use self::{markdown::document, sample::sample};
use super::{Limits, Log, Quarantine, Server, Spool, admin, sink, validate::endpoint};
use crate::sink::SinkKind;

/// Returns all tables, in the order of the reference.
pub fn tables() -> Vec<Chapter> {
    let common = [Server::TABLE, endpoint::Keys::TABLE, sink::Keys::TABLE];
    let rest = [Spool::TABLE, Limits::TABLE, Quarantine::TABLE, admin::Keys::TABLE, Log::TABLE];
    let tables = common.into_iter().chain(SinkKind::TABLES.iter().copied()).chain(rest);
    tables.flat_map(Table::chapters).collect()
}

/// Paragraphs about the whole file.
pub const FILE: &[&str] = &[
    "The configuration is one TOML file, by default `/etc/logpushd/logpushd.toml`. `-c FILE` or the \
     environment variable `LOGPUSHD_CONFIG` names another, and `-c -` reads standard input. An unknown \
     key is an error. `logpushd validate` prints every error and warning with its position and what to \
     do. The daemon neither starts nor reloads with a file that has an error.",
    "A size is a whole number with a unit: `kB`, `MB`, `GB`, `TB` (powers of 1000) or `KiB`, `MiB`, \
     `GiB`, `TiB` (powers of 1024), as in `\"64MiB\"`; a number alone counts bytes. A duration has the \
     units `d`, `h`, `m`, `s` and `ms`, as in `\"30s\"` or `\"1h30m\"`. Relative paths start at the \
     directory of the file. Times in paths and headers are UTC.",
    "The file never contains a secret, because an error prints the line: keys such as `secret_file` \
     name a file. A certificate, a key or a file of secrets may also be `\"credential:NAME\"`, for \
     `LoadCredential=NAME:PATH` in the systemd unit.",
];

/// A complete file for one job.
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
