//! What is wrong with a destination: where, what, and what to do.

use std::fmt;

/// One thing that is wrong, or doubtful.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// How much it matters.
    pub severity: Severity,
    /// Where in the text, counted in characters from 1; `None` if it concerns the whole.
    pub column: Option<usize>,
    /// What it is. It holds no value of a header.
    pub what: String,
    /// What to do.
    pub advice: String,
    /// What Cloudflare says, where that is known.
    pub cloudflare: Option<&'static str>,
}

/// How much a problem matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// Cloudflare refuses the destination, or nothing could come of it.
    Error,
    /// It may be meant so.
    Warning,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { column, what, advice, .. } = self;
        if let Some(column) = column {
            write!(f, "character {column}: ")?;
        }
        write!(f, "{what}: {advice}")
    }
}

/// All that is wrong with a destination; at least one is an error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.0.iter();
        if let Some(first) = lines.next() {
            write!(f, "{first}")?;
        }
        lines.try_for_each(|problem| write!(f, "\n{problem}"))
    }
}

impl std::error::Error for Problems {}
