//! What the parser says of text that is no TOML, in words for whoever wrote it.

use std::ops::Range;

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
        let first = first_of(source, &span)
            .map_or_else(String::new, |line| format!(": the first is in line {line}"));
        let message = format!("`{}` is in the file twice{first}", key.escape_debug());
        return Diagnostic::at(span, message)
            .hint("a key or a table may appear only once: merge the two, or rename one");
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
    } else if message.contains("string") {
        problem.hint("close the text with a quote on the same line: \"...\"; a quote in it is \\\"")
    } else if message.contains("table") {
        problem.hint("a table begins with its name in brackets on a line alone, as in [server.tls]")
    } else if message.contains("array") {
        problem.hint("a list is in brackets, with commas between its items: [\"a\", \"b\"]")
    } else {
        problem.hint("each line is a comment, KEY = VALUE, or [TABLE]; see https://toml.io")
    }
}

/// The line, from 1, of the key or table that the one at `span` repeats.
fn first_of(source: &str, span: &Range<usize>) -> Option<usize> {
    let before = source.get(..span.start)?;
    let own_line = source.lines().nth(before.matches('\n').count())?.trim();
    let above = source.lines().take(before.matches('\n').count()).enumerate();
    if own_line.starts_with('[') {
        let header = own_line.split(']').next();
        let mut headers = above.filter(|(_, line)| line.trim().split(']').next() == header);
        return headers.next().map(|(index, _)| index + 1);
    }
    let key = |line: &str| line.split('=').next().map(|key| key.trim().to_owned());
    let own = key(own_line);
    // Within the same table.
    let mut lines: Vec<_> = above.collect();
    lines.reverse();
    let table = lines.into_iter().take_while(|(_, line)| !line.trim_start().starts_with('['));
    table
        .filter(|(_, line)| line.contains('=') && key(line) == own)
        .last()
        .map(|(index, _)| index + 1)
}
