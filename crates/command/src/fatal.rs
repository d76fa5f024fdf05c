//! Why a command ended before it had done its work: each kind has an exit code of its own.

use std::{fmt, io};

/// Why the daemon did not start or ended, or a command did not do its work.
#[derive(Debug)]
pub enum Fatal {
    /// What was asked for cannot be done as it was asked.
    Usage(String),
    /// Something that the config names cannot be used.
    Config(String),
    /// Everything was sent, but records of it are bad: they are in quarantine, or were left out.
    Data(String),
    /// Files cannot be read or written, or are not whole.
    Io(String),
    /// An address cannot be listened on, or nobody answers there as they should.
    Unavailable(String),
    /// A part ended that must not.
    Bug(String),
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what)
            | Self::Config(what)
            | Self::Data(what)
            | Self::Io(what)
            | Self::Unavailable(what)
            | Self::Bug(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Fatal {}

/// The error must say the step and the path.
impl From<io::Error> for Fatal {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}
