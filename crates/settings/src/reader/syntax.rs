//! Converts syntax errors of the TOML parser to diagnostics with hints.

use std::ops::Range;

use crate::{context::line, diagnostic::Diagnostic};

/// The parser's message for a repeated key or table.
const DUPLICATE: &str = "duplicate key";

/// One problem for each line with a syntax error.
pub(super) fn problems(source: &str, errors: &[toml::de::Error]) -> Vec<Diagnostic> {
    let repeated: Vec<_> =
        errors.iter().filter_map(|error| repeated_table(source, error)).collect();
    // The parser also reports each key in a repeated table as a duplicate of one in the first table.
    let is_consequence = |error: &&toml::de::Error| {
        let within =
            |table: &Range<usize>| error.span().is_some_and(|at| table.contains(&at.start));
        error.message() == DUPLICATE && repeated.iter().any(within)
    };
    let errors = errors.iter().filter(|error| !is_consequence(error));
    let mut problems: Vec<_> = errors.map(|error| problem(source, error)).collect();
    // After the first error in a line, the parser's other errors there are unreliable.
    problems.dedup_by_key(|problem| line(source, problem));
    problems
}

fn problem(source: &str, error: &toml::de::Error) -> Diagnostic {
    const QUOTES: &str = "write text in quotes, as in address = \"0.0.0.0:8443\"";
    let Some(span) = error.span() else {
        return Diagnostic::general(format!("not valid TOML: {}", error.message()));
    };
    let message = error.message();
    let message = message.strip_suffix(", expected nothing").unwrap_or(message);
    if message == DUPLICATE {
        let key = source.get(span.clone()).unwrap_or_default();
        let first = first_of(source, &span)
            .map_or_else(String::new, |line| format!("; the first one is in line {line}"));
        let message = format!("duplicate `{}`{first}", key.escape_debug());
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
        problem.hint("check that each list above is closed with `]`")
    } else if message.contains("string") {
        problem.hint("end the text with a quote on the same line, as in \"...\"; write a quote within it as \\\"")
    } else if message.contains("table") {
        problem.hint("begin a table with its name in brackets on its own line, as in [server.tls]")
    } else if message.contains("array") {
        problem
            .hint("write a list in brackets, with commas between its items, as in [\"a\", \"b\"]")
    } else {
        problem.hint("write a comment, KEY = VALUE or [TABLE] in each line; see https://toml.io")
    }
}

/// The span of the content of a repeated table: after its header, up to the next header.
fn repeated_table(source: &str, error: &toml::de::Error) -> Option<Range<usize>> {
    let span = error.span().filter(|_| error.message() == DUPLICATE)?;
    let (before, after) = source.split_at_checked(span.start)?;
    let header = before.rsplit('\n').next()?;
    if !header.trim_start().starts_with('[') {
        return None;
    }
    let begin = span.start + after.find('\n')?;
    let rest = source.get(begin..)?;
    let next = rest.split_inclusive('\n').scan(begin, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line))
    });
    let end = next.filter(|(_, line)| line.trim_start().starts_with('[')).map(|(at, _)| at).next();
    Some(begin..end.unwrap_or(source.len()))
}

/// The number, from 1, of the line of the key or table that the one at `span` repeats.
fn first_of(source: &str, span: &Range<usize>) -> Option<usize> {
    let before = source.get(..span.start)?;
    let own_line = source.lines().nth(before.matches('\n').count())?.trim();
    let above = source.lines().take(before.matches('\n').count()).enumerate();
    if own_line.starts_with('[') {
        let name = |line: &str| {
            let header = line.trim().trim_start_matches('[').split(']').next();
            line.trim().starts_with('[').then(|| header.unwrap_or_default().to_owned())
        };
        let own = name(own_line);
        let mut headers = above.filter(|(_, line)| name(line) == own);
        return headers.next().map(|(index, _)| index + 1);
    }
    let key = |line: &str| line.split('=').next().map(|key| key.trim().to_owned());
    let own = key(own_line);
    // Only lines of the same table.
    let mut lines: Vec<_> = above.collect();
    lines.reverse();
    let table = lines.into_iter().take_while(|(_, line)| !line.trim_start().starts_with('['));
    table
        .filter(|(_, line)| line.contains('=') && key(line) == own)
        .last()
        .map(|(index, _)| index + 1)
}
