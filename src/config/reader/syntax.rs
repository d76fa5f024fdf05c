//! What the parser says of text that is no TOML, in words for whoever wrote it.

use crate::config::{context::line, diagnostic::Diagnostic};

/// One problem for each line that could not be read.
pub(super) fn problems(source: &str, errors: &[toml::de::Error]) -> Vec<Diagnostic> {
    let mut problems: Vec<_> = errors.iter().map(|error| problem(source, error)).collect();
    // Once it has lost its way in a line, the parser finds more in it that nobody wrote.
    problems.dedup_by_key(|problem| line(source, problem));
    problems
}

fn problem(source: &str, error: &toml::de::Error) -> Diagnostic {
    const QUOTES: &str = "text stands in quotes, as in address = \"0.0.0.0:8443\"";
    let Some(span) = error.span() else {
        return Diagnostic::general(format!("not valid TOML: {}", error.message()));
    };
    let message = error.message();
    let message = message.strip_suffix(", expected nothing").unwrap_or(message);
    if message == "duplicate key" {
        let key = source.get(span.clone()).unwrap_or_default();
        return Diagnostic::at(span, format!("`{}` stands here a second time", key.escape_debug()))
            .hint("a key or a table may stand only once: merge the two, or rename one");
    }
    let problem = Diagnostic::at(span, format!("not valid TOML: {message}"));
    if message.starts_with("string values must be quoted")
        || ["float", "integer", "datetime", "date-time"]
            .iter()
            .any(|kind| message.starts_with("invalid ") && message.contains(kind))
    {
        problem.hint(QUOTES)
    } else if message.starts_with("missing comma between array") {
        problem.hint("perhaps a list further up is never closed with `]`")
    } else {
        problem
    }
}
