//! Problems of a configuration, displayed as `path:line:col`, the line and a caret.
//!
//! Independent of TOML. A [`Diagnostic`] is one problem; [`Problems`] contains those of one file with its
//! text, which is needed to convert a span to a line.

use std::{
    error::Error,
    fmt::{self, Display, Formatter},
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use crate::printable::is_hidden;

/// The severity of a [`Diagnostic`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// The configuration is valid, but will probably not do what the operator expects.
    Warning,
}

/// One problem: its position, a message and a hint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Diagnostic {
    /// The severity.
    pub severity: Severity,
    /// The byte range in the source; `None` if the problem has no position.
    pub span: Option<Range<usize>>,
    /// One line in lower case without a full stop, which names the object and the expectation.
    pub message: String,
    /// What to change.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A problem at a position in the file.
    pub fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, Some(span), &message.into())
    }

    /// A problem of the whole file.
    pub fn general(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, None, &message.into())
    }

    /// A warning about a key; [`Document::span`](crate::Document::span) finds the span.
    pub fn warning(span: Option<Range<usize>>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, span, &message.into())
    }

    fn new(severity: Severity, span: Option<Range<usize>>, message: &str) -> Self {
        // A message may contain any name from the file, and must be a single line.
        Self { severity, span, message: sanitized(message), hint: None }
    }

    /// Adds a hint on what to change.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// All problems of one file, in the order of their positions.
#[derive(Debug)]
pub struct Problems {
    path: PathBuf,
    /// `None` if the file could not be read.
    source: Option<String>,
    diagnostics: Vec<Diagnostic>,
}

impl Problems {
    /// Collects problems. Their spans refer to `source`.
    pub fn new(
        path: impl Into<PathBuf>,
        source: impl Into<String>,
        mut diagnostics: Vec<Diagnostic>,
    ) -> Self {
        // The sort is stable: problems at the same position keep their order. Those without one are first.
        diagnostics.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
        Self { path: path.into(), source: Some(source.into()), diagnostics }
    }

    /// The problem of a file that cannot be read. `hint` is what to do if it does not exist.
    pub fn unreadable(path: impl Into<PathBuf>, error: &io::Error, hint: &str) -> Self {
        let mut problem = Diagnostic::general(format!("cannot read the file: {error}"));
        if error.kind() == io::ErrorKind::NotFound {
            problem = problem.hint(hint);
        }
        Self { path: path.into(), source: None, diagnostics: vec![problem] }
    }

    /// The path as the user has passed it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file has no problems.
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// The location of a problem as `path:line:column`, or only the path if the file could not be read. A
    /// problem of the whole file is at its beginning.
    pub fn location(&self, problem: &Diagnostic) -> String {
        let path = sanitized(&self.path.to_string_lossy());
        match self.position(problem) {
            None => path,
            Some((line, column)) => format!("{path}:{line}:{column}"),
        }
    }

    /// The line and the column of a problem, as in [`location`](Self::location); `None` if the file could
    /// not be read.
    pub fn position(&self, problem: &Diagnostic) -> Option<(usize, usize)> {
        let source = self.source.as_deref()?;
        let Some(span) = &problem.span else { return Some((1, 1)) };
        let excerpt = Excerpt::new(source, span);
        Some((excerpt.line, excerpt.column))
    }

    /// All problems in one line without excerpts, for a log.
    pub fn in_one_line(&self) -> String {
        let texts = self.diagnostics.iter().map(|problem| self.line(problem));
        texts.collect::<Vec<_>>().join("; ")
    }

    /// One line for each problem, which begins with its priority. systemd's journal logs each line as an
    /// event. See sd-daemon(3).
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
        let text = format!("{}: {}", self.location(problem), sanitized(&problem.message));
        match &problem.hint {
            Some(hint) => format!("{text} (help: {})", sanitized(hint)),
            None => text,
        }
    }

    fn excerpt(&self, span: &Range<usize>) -> Excerpt {
        Excerpt::new(self.source.as_deref().unwrap_or_default(), span)
    }

    /// The problems in the order of their positions.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }
}

impl Display for Problems {
    /// Separates problems with a blank line, and ends without a newline.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            let excerpt = problem.span.as_ref().map(|span| self.excerpt(span));
            let severity = match problem.severity {
                Severity::Error => "",
                Severity::Warning => "warning: ",
            };
            write!(f, "{}: {severity}{}", self.location(problem), sanitized(&problem.message))?;
            if let Some(excerpt) = excerpt {
                write!(f, "\n  {}\n  {}{}", excerpt.text, excerpt.padding, excerpt.carets)?;
            }
            if let Some(hint) = &problem.hint {
                write!(f, "\n  = help: {}", sanitized(hint))?;
            }
        }
        Ok(())
    }
}

impl Error for Problems {}

/// The first line of a span, with carets below the span.
struct Excerpt {
    /// The number of the line, from 1.
    line: usize,
    /// The column of the span in characters, from 1.
    column: usize,
    text: String,
    padding: String,
    carets: String,
}

impl Excerpt {
    fn new(source: &str, span: &Range<usize>) -> Self {
        let mut start = span.start.min(source.len());
        while !source.is_char_boundary(start) {
            start -= 1;
        }
        if start == source.len() {
            // After the last newline is no text: point after the last line with text.
            start = source.trim_end().len();
        }
        let (before, after) = source.split_at(start);
        let (above, head) = before.rsplit_once('\n').map_or((None, before), |(a, h)| (Some(a), h));
        let tail = after.split('\n').next().unwrap_or_default();
        let tail = tail.strip_suffix('\r').unwrap_or(tail);

        // `get` fails if the span ends after the line: then the rest of the line is marked.
        let marked = tail.get(..span.end.saturating_sub(start)).unwrap_or(tail);
        Self {
            line: above.map_or(1, |above| above.matches('\n').count() + 2),
            column: head.chars().count() + 1,
            text: head.chars().chain(tail.chars()).map(printable).collect(),
            // A tab stays a tab, so that the caret is below the text with any tab width.
            padding: head.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect(),
            carets: "^".repeat(marked.chars().count().max(1)),
        }
    }
}

/// Replaces hidden characters: a message may contain text from the file, such as the name of a table.
fn sanitized(text: &str) -> String {
    text.chars().map(printable).collect()
}

/// Replaces a character that could control a terminal or corrupt a journal.
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
    fn carets_point_at_the_span() {
        let cases = [
            ("a = 1\nb = 2\n", 6..7, "x.toml:2:1: wrong\n  b = 2\n  ^"),
            ("a = 1\nb = 22\n", 10..12, "x.toml:2:5: wrong\n  b = 22\n      ^^"),
            ("a = 1", 0..1, "x.toml:1:1: wrong\n  a = 1\n  ^"),
            ("a = 1\r\nb = 2\r\n", 7..8, "x.toml:2:1: wrong\n  b = 2\n  ^"),
            // Columns count characters, not bytes.
            ("# é\n\"é\" = 12", 12..14, "x.toml:2:7: wrong\n  \"é\" = 12\n        ^^"),
            // A tab before the span is kept.
            ("\ta = 1", 5..6, "x.toml:1:6: wrong\n  \ta = 1\n  \t    ^"),
            // A span of several lines: the first line.
            ("a = [\n1,\n]\n", 4..10, "x.toml:1:5: wrong\n  a = [\n      ^"),
            // The end of the file: after the last text.
            ("a = [1\n\n", 8..8, "x.toml:1:7: wrong\n  a = [1\n        ^"),
            ("a = ", 4..4, "x.toml:1:4: wrong\n  a = \n     ^"),
            ("", 0..0, "x.toml:1:1: wrong\n  \n  ^"),
            // An escape sequence is replaced.
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
        let text = Problems::new("x.toml", "a", vec![problem]).to_string();
        assert_eq!(text, "x.toml:1:1: a\u{fffd}[2J\n  a\n  ^\n  = help: b\u{fffd}c");
    }

    #[test]
    fn problems_are_sorted_by_position_and_have_hints() {
        let problems = Problems::new(
            "x.toml",
            "a = 1\nb = 2\n",
            vec![
                Diagnostic::at(6..7, "second"),
                Diagnostic::at(0..1, "first").hint("remove it"),
                Diagnostic::general("whole file"),
                Diagnostic::warning(Some(10..11), "third"),
            ],
        );
        assert_eq!(
            problems.to_string(),
            "x.toml:1:1: whole file\n\n\
             x.toml:1:1: first\n  a = 1\n  ^\n  = help: remove it\n\n\
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
