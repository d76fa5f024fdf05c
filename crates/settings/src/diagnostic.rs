//! What is wrong with a configuration, and how it is shown: `path:line:col`, the line, a caret.
//!
//! Knows nothing of TOML. A [`Diagnostic`] is made by whoever finds the problem; [`Problems`] holds
//! all of one file beside its text, because only the text turns a span into a line.

use std::{
    error::Error,
    fmt::{self, Display, Formatter},
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use crate::printable::is_hidden;

/// What a [`Diagnostic`] means for the configuration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// The configuration is valid, but will probably not do what the operator expects.
    Warning,
}

/// One problem: where, what, and what to do about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Diagnostic {
    /// Whether the configuration can be used.
    pub severity: Severity,
    /// Bytes of the source; `None` if the problem has no place in it.
    pub span: Option<Range<usize>>,
    /// Lower case, no full stop, one line; names the object and the expectation.
    pub message: String,
    /// What to change.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A problem with a place in the file.
    pub fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, Some(span), &message.into())
    }

    /// A problem of the file as a whole.
    pub fn general(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, None, &message.into())
    }

    /// A warning about a key; [`Document::span`](crate::Document::span) finds the span.
    pub fn warning(span: Option<Range<usize>>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, span, &message.into())
    }

    fn new(severity: Severity, span: Option<Range<usize>>, message: &str) -> Self {
        // Names in it may be any text, and every reader of a message relies on one line.
        Self { severity, span, message: shown(message), hint: None }
    }

    /// Adds what to change.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Every problem of one file, in the order of their places.
#[derive(Debug)]
pub struct Problems {
    path: PathBuf,
    /// `None` if the file could not be read.
    source: Option<String>,
    diagnostics: Vec<Diagnostic>,
}

impl Problems {
    /// `source` is the text that the spans of `diagnostics` mean.
    pub fn new(
        path: impl Into<PathBuf>,
        source: impl Into<String>,
        mut diagnostics: Vec<Diagnostic>,
    ) -> Self {
        // Stable: what shares a place keeps the order of its finding. No place comes first.
        diagnostics.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
        Self { path: path.into(), source: Some(source.into()), diagnostics }
    }

    /// The file could not be read at all; `hint` is what to do if it is not there.
    pub fn unreadable(path: impl Into<PathBuf>, error: &io::Error, hint: &str) -> Self {
        let mut problem = Diagnostic::general(format!("cannot read the file: {error}"));
        if error.kind() == io::ErrorKind::NotFound {
            problem = problem.hint(hint);
        }
        Self { path: path.into(), source: None, diagnostics: vec![problem] }
    }

    /// The file, as the user named it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// Where a problem is, as `path:line:column`. A problem of the whole file is at its beginning,
    /// unless the file could not be read.
    pub fn place(&self, problem: &Diagnostic) -> String {
        let path = shown(&self.path.to_string_lossy());
        match self.position(problem) {
            None => path,
            Some((line, column)) => format!("{path}:{line}:{column}"),
        }
    }

    /// The line and the column of a problem, as [`place`](Self::place) prints them; `None` if the
    /// file could not be read.
    pub fn position(&self, problem: &Diagnostic) -> Option<(usize, usize)> {
        let source = self.source.as_deref()?;
        let Some(span) = &problem.span else { return Some((1, 1)) };
        let cited = Cited::new(source, span);
        Some((cited.line, cited.column))
    }

    /// The same text in one line, without the cited lines: for a log.
    pub fn in_one_line(&self) -> String {
        let texts = self.diagnostics.iter().map(|problem| self.line(problem));
        texts.collect::<Vec<_>>().join("; ")
    }

    /// A line for each problem that begins with its priority: for systemd's journal, which takes each line
    /// for an event. See sd-daemon(3).
    pub fn for_journal(&self) -> String {
        let lines = self.diagnostics.iter().map(|problem| {
            let priority = match problem.severity {
                Severity::Error => "<3>",
                Severity::Warning => "<4>",
            };
            format!("{priority}{}", self.line(problem))
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn line(&self, problem: &Diagnostic) -> String {
        let text = format!("{}: {}", self.place(problem), shown(&problem.message));
        match &problem.hint {
            Some(hint) => format!("{text} (help: {})", shown(hint)),
            None => text,
        }
    }

    fn cited(&self, span: &Range<usize>) -> Cited {
        Cited::new(self.source.as_deref().unwrap_or_default(), span)
    }

    /// The problems in the order of their places.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }
}

impl Display for Problems {
    /// A blank line between two problems, no newline behind the last.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            let cited = problem.span.as_ref().map(|span| self.cited(span));
            let severity = match problem.severity {
                Severity::Error => "",
                Severity::Warning => "warning: ",
            };
            write!(f, "{}: {severity}{}", self.place(problem), shown(&problem.message))?;
            if let Some(cited) = cited {
                write!(f, "\n  {}\n  {}{}", cited.text, cited.padding, cited.carets)?;
            }
            if let Some(hint) = &problem.hint {
                write!(f, "\n  = help: {}", shown(hint))?;
            }
        }
        Ok(())
    }
}

impl Error for Problems {}

/// The first line of a span, taken apart for printing.
struct Cited {
    /// From 1.
    line: usize,
    /// From 1, in characters.
    column: usize,
    text: String,
    padding: String,
    carets: String,
}

impl Cited {
    fn new(source: &str, span: &Range<usize>) -> Self {
        let mut start = span.start.min(source.len());
        while !source.is_char_boundary(start) {
            start -= 1;
        }
        if start == source.len() {
            // Behind the last newline there is nothing to show: point behind the last text.
            start = source.trim_end().len();
        }
        let (before, after) = source.split_at(start);
        let (above, head) = before.rsplit_once('\n').map_or((None, before), |(a, h)| (Some(a), h));
        let tail = after.split('\n').next().unwrap_or_default();
        let tail = tail.strip_suffix('\r').unwrap_or(tail);

        // `get` fails where the span leaves the line: then all the rest of the line is marked.
        let marked = tail.get(..span.end.saturating_sub(start)).unwrap_or(tail);
        Self {
            line: above.map_or(1, |above| above.matches('\n').count() + 2),
            column: head.chars().count() + 1,
            text: head.chars().chain(tail.chars()).map(printable).collect(),
            // A tab stays a tab, so that the caret lands wherever the terminal puts the text.
            padding: head.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect(),
            carets: "^".repeat(marked.chars().count().max(1)),
        }
    }
}

/// What of the file stands in a message, too: the names of tables may be any text.
fn shown(text: &str) -> String {
    text.chars().map(printable).collect()
}

/// What is shown goes to terminals and journals: nothing in it may steer them.
fn printable(c: char) -> char {
    if is_hidden(c) && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rendered(source: &str, span: Range<usize>) -> String {
        Problems::new("x.toml", source, vec![Diagnostic::at(span, "wrong")]).to_string()
    }

    #[test]
    fn points_at_the_place() {
        let cases = [
            ("a = 1\nb = 2\n", 6..7, "x.toml:2:1: wrong\n  b = 2\n  ^"),
            ("a = 1\nb = 22\n", 10..12, "x.toml:2:5: wrong\n  b = 22\n      ^^"),
            ("a = 1", 0..1, "x.toml:1:1: wrong\n  a = 1\n  ^"),
            ("a = 1\r\nb = 2\r\n", 7..8, "x.toml:2:1: wrong\n  b = 2\n  ^"),
            // Columns count characters, not bytes.
            ("# é\n\"é\" = 12", 12..14, "x.toml:2:7: wrong\n  \"é\" = 12\n        ^^"),
            // A tab before the place is kept.
            ("\ta = 1", 5..6, "x.toml:1:6: wrong\n  \ta = 1\n  \t    ^"),
            // Several lines: the first.
            ("a = [\n1,\n]\n", 4..10, "x.toml:1:5: wrong\n  a = [\n      ^"),
            // The end of the file: behind the last text.
            ("a = [1\n\n", 8..8, "x.toml:1:7: wrong\n  a = [1\n        ^"),
            ("a = ", 4..4, "x.toml:1:4: wrong\n  a = \n     ^"),
            ("", 0..0, "x.toml:1:1: wrong\n  \n  ^"),
            // An escape sequence does not reach the terminal.
            ("a\u{1b} = 1", 5..6, "x.toml:1:6: wrong\n  a\u{fffd} = 1\n       ^"),
        ];
        for (source, span, expected) in cases {
            assert_eq!(rendered(source, span.clone()), expected, "{source:?} {span:?}");
        }
    }

    #[test]
    fn no_escape_sequence_reaches_the_terminal() {
        let problem = Diagnostic::at(0..1, "a\u{1b}[2J").hint("b\u{9b}c");
        assert_eq!(Diagnostic::general("a\nb").message, "a\u{fffd}b", "a message is one line");
        let shown = Problems::new("x.toml", "a", vec![problem]).to_string();
        assert_eq!(shown, "x.toml:1:1: a\u{fffd}[2J\n  a\n  ^\n  = help: b\u{fffd}c");
    }

    #[test]
    fn sorts_by_place_and_prints_hints() {
        let problems = Problems::new(
            "x.toml",
            "a = 1\nb = 2\n",
            vec![
                Diagnostic::at(6..7, "second"),
                Diagnostic::at(0..1, "first").hint("leave it out"),
                Diagnostic::general("nowhere"),
                Diagnostic::warning(Some(10..11), "third"),
            ],
        );
        assert_eq!(
            problems.to_string(),
            "x.toml:1:1: nowhere\n\n\
             x.toml:1:1: first\n  a = 1\n  ^\n  = help: leave it out\n\n\
             x.toml:2:1: second\n  b = 2\n  ^\n\n\
             x.toml:2:5: warning: third\n  b = 2\n      ^"
        );
    }

    proptest! {
        #[test]
        fn never_panics(source in "[a-zé\t\r\n=]{0,40}", start in 0_usize..60, len in 0_usize..60) {
            rendered(&source, start..start + len);
        }
    }
}
