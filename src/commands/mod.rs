//! The commands: those that look after a daemon's files, beside it or while it is down, and those that
//! set up what pushes to it.
//!
//! They write to what they are given and say how it ended; printing errors and exit codes are the
//! business of `main.rs`.

mod argument;
pub mod cert;
pub mod destination;
pub mod doctor;
mod gzip;
pub mod job;
mod json;
pub mod manual;
pub mod push;
pub mod quarantine;
mod replay;
mod secret;
pub mod spool;
mod table;
pub mod validate;

use std::fmt;

use jiff::Timestamp;

/// `1 record`, `2 records`.
struct Count<'a>(u64, &'a str);

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
fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
