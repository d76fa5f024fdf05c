//! Shared by all commands: errors with exit codes ([`fatal`]), tables, JSON output, and the option
//! that names the configuration file.
//!
//! Independent of what any command does.

pub mod fatal;
pub mod json;
pub mod table;

use std::{fmt, path::PathBuf};

use jiff::Timestamp;

/// The default of `--config`.
pub const DEFAULT_CONFIG: &str = "/etc/logpushd/logpushd.toml";

/// The option `-c`, `--config`.
#[derive(Debug, clap::Args)]
pub struct ConfigFile {
    /// Configuration file, - for standard input
    ///
    /// Relative paths in the configuration start at the directory of the file, or at the current
    /// directory with standard input.
    #[arg(
        short = 'c',
        long = "config",
        value_name = "FILE",
        env = "LOGPUSHD_CONFIG",
        default_value = DEFAULT_CONFIG
    )]
    pub path: PathBuf,
}

/// Displays a number and a noun in the singular or plural: `1 record`, `2 records`, `3 batches`.
#[derive(Clone, Copy, Debug)]
pub struct Count<'a>(pub u64, pub &'a str);

impl fmt::Display for Count<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, noun) = self;
        match noun.strip_suffix('y') {
            _ if *count == 1 => write!(f, "1 {noun}"),
            Some(stem) => write!(f, "{count} {stem}ies"),
            None if noun.ends_with("ch") => write!(f, "{count} {noun}es"),
            None => write!(f, "{count} {noun}s"),
        }
    }
}

/// Truncates a time to whole seconds.
pub fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
