//! The problems of a destination.

use std::fmt;

/// An error or a warning about a destination.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DestinationProblem {
    /// Whether it is an error or a warning.
    pub severity: ProblemSeverity,
    /// The position in the text, in characters from 1; `None` if it concerns the whole text.
    pub column: Option<usize>,
    /// The problem, without any header value.
    pub message: String,
    /// What to do.
    pub advice: String,
    /// Cloudflare's message for this problem, if known.
    pub cloudflare: Option<&'static str>,
}

/// The severity of a problem.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProblemSeverity {
    /// Cloudflare refuses the destination, or cannot deliver to it.
    Error,
    /// The destination works, but probably not as intended.
    Warning,
}

impl fmt::Display for DestinationProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { column, message, advice, .. } = self;
        if let Some(column) = column {
            write!(f, "character {column}: ")?;
        }
        write!(f, "{message}: {advice}")
    }
}

/// All problems of a destination; at least one is an error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DestinationProblems(pub Vec<DestinationProblem>);

impl fmt::Display for DestinationProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.0.iter();
        if let Some(first) = lines.next() {
            write!(f, "{first}")?;
        }
        lines.try_for_each(|problem| write!(f, "\n{problem}"))
    }
}

impl std::error::Error for DestinationProblems {}
