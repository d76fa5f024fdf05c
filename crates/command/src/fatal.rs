//! The error that ends a command. Each variant has its own exit code.

use std::{fmt, io};

/// An error that ends the daemon or a command. Displays as its message.
#[derive(Debug)]
pub enum Fatal {
    /// Invalid usage: the arguments cannot be carried out.
    Usage(String),
    /// The configuration, or a file that it names, cannot be used.
    Config(String),
    /// Everything was sent, but some records are invalid: they were quarantined or left out.
    Data(String),
    /// A file cannot be read or written, or is incomplete.
    Io(String),
    /// An address cannot be listened on, or a server does not answer as expected.
    Unavailable(String),
    /// A defect in logpushd, such as a task that ended unexpectedly.
    Bug(String),
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message)
            | Self::Config(message)
            | Self::Data(message)
            | Self::Io(message)
            | Self::Unavailable(message)
            | Self::Bug(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Fatal {}

/// The error must name the failed operation and the path.
impl From<io::Error> for Fatal {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}
