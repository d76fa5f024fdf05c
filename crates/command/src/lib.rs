//! What all commands share: how they end ([`fatal`]), how they print tables and JSON, and the option that
//! names the configuration.
//!
//! Knows nothing of what a command does.

pub mod fatal;
pub mod json;
pub mod table;

use std::{fmt, path::PathBuf};

use jiff::Timestamp;

/// Where the configuration is if nobody says otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/logpushd/logpushd.toml";

/// Which configuration.
#[derive(Debug, clap::Args)]
pub struct ConfigFile {
    /// The configuration file; - reads standard input, with relative paths from the current directory
    #[arg(
        short = 'c',
        long = "config",
        value_name = "FILE",
        env = "LOGPUSHD_CONFIG",
        default_value = DEFAULT_CONFIG
    )]
    pub path: PathBuf,
}

/// `1 record`, `2 records`.
#[derive(Clone, Copy, Debug)]
pub struct Count<'a>(pub u64, pub &'a str);

impl fmt::Display for Count<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, what) = self;
        // "batch" and "body" are the words that do not just take an "s".
        match what.strip_suffix('y') {
            _ if *count == 1 => write!(f, "1 {what}"),
            Some(stem) => write!(f, "{count} {stem}ies"),
            None if what.ends_with("ch") => write!(f, "{count} {what}es"),
            None => write!(f, "{count} {what}s"),
        }
    }
}

/// A time to the second that it is in.
pub fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
