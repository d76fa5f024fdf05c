//! What every key is for: the one source of `docs/reference.md` and of logpushd.toml(5).
//!
//! Tests hold it against the reader: that it has every key and no other, and that kinds and
//! defaults are those of validation. `docs/reference.md` is written anew by
//! `LOGPUSHD_BLESS=1 cargo test --lib reference`.

mod endpoint;
#[cfg(test)]
mod markdown;
mod server;
mod sink;
mod syslog;

use std::fmt;

#[cfg(test)]
pub(super) use self::markdown::document;

/// A table of the file and its keys. In texts, what stands in backquotes is literal.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name; NAME and KIND are the operator's choice.
    pub name: &'static str,
    /// What it is for.
    pub text: &'static str,
    /// Its keys, the more important ones first.
    pub keys: &'static [Key],
}

/// A key of a table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name; with a dot, if it stands in a table of its own within the table.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// What holds without it.
    pub without: Without,
    /// What it does, its bounds, and when to change it.
    pub text: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// A string of this sort.
    String(&'static str),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A string of this sort, or a list of them.
    StringOrList(&'static str),
    /// A list of strings of this sort.
    List(&'static str),
    /// `true` or `false`.
    Flag,
    /// A whole number from 1 on.
    Count,
    /// `"64MiB"`
    Size,
    /// `"24h"`
    Duration,
    /// A table of names and values of this sort.
    Names(&'static str),
}

/// What holds if a key is not there.
#[derive(Clone, Copy, Debug)]
pub enum Without {
    /// The file is refused.
    Refused {
        /// What may stand there.
        example: &'static str,
    },
    /// The same as with this value.
    Default(&'static str),
    /// What no value stands for.
    Means {
        /// In words.
        text: &'static str,
        /// What may stand there.
        example: &'static str,
    },
}

/// All tables, in the order in which a file has them.
pub fn tables() -> impl Iterator<Item = &'static Table> {
    [server::LISTENER, endpoint::TABLES, sink::TABLES, syslog::TABLES, server::REST]
        .into_iter()
        .flatten()
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

impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(what) => f.write_str(what),
            Self::OneOf(words) => {
                for (place, word) in words.iter().enumerate() {
                    f.write_str(match place {
                        0 => "",
                        _ if place + 1 == words.len() => " or ",
                        _ => ", ",
                    })?;
                    write!(f, "`\"{word}\"`")?;
                }
                Ok(())
            }
            Self::StringOrList(what) => write!(f, "{what}, or a list of them"),
            Self::List(what) => write!(f, "list of {what}"),
            Self::Flag => f.write_str("`true` or `false`"),
            Self::Count => f.write_str("whole number from 1 on"),
            Self::Size => f.write_str("size"),
            Self::Duration => f.write_str("duration"),
            Self::Names(what) => write!(f, "table of {what}"),
        }
    }
}

impl fmt::Display for Without {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { example } => write!(f, "required; for example `{example}`"),
            Self::Default(value) => write!(f, "default `{value}`"),
            Self::Means { text, example } => {
                write!(f, "without it: {text}; for example `{example}`")
            }
        }
    }
}

/// One stretch of a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Span<'a> {
    /// Words.
    Plain(&'a str),
    /// What is typed as it stands.
    Literal(&'a str),
}

/// The stretches of a text: what stands in backquotes is literal.
pub fn spans(text: &str) -> impl Iterator<Item = Span<'_>> {
    text.split('`')
        .enumerate()
        .filter(|(_, part)| !part.is_empty())
        .map(|(place, part)| if place % 2 == 0 { Span::Plain(part) } else { Span::Literal(part) })
}
