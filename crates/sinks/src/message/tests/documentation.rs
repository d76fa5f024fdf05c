//! Compares the tables in `docs/message-formats.md` with the code.

use super::*;
use crate::message::severity::{ACTION_WORDS, FAILURE_WORDS, Scale};

fn id_part_text(part: &[IdPart]) -> String {
    let members = part.iter().map(|IdPart { member, form }| match form {
        IdForm::Word => format!("`{member}`"),
        IdForm::StatusClass => format!("`{member}` (status class)"),
        IdForm::Bool { yes, no } => format!("`{member}` (`{yes}` or `{no}`)"),
    });
    members.collect::<Vec<_>>().join(" or ")
}

/// Renders the tables of `docs/message-formats.md`.
fn documentation() -> String {
    let mut text = String::new();
    for Mapping { dataset, name, event, base, severity, fields } in ALL {
        let title = if dataset.is_empty() { "All other datasets" } else { dataset };
        write!(text, "### {title}\n\n").unwrap();
        let name = if name.is_empty() { "the name of the dataset" } else { name };
        writeln!(text, "- Name: {name}").unwrap();
        let parts: Vec<_> = event.iter().map(|part| id_part_text(part)).collect();
        if !parts.is_empty() {
            writeln!(text, "- Event ID: the dataset; then {}", parts.join("; then ")).unwrap();
        }
        write!(text, "- Severity: at least {base}").unwrap();
        for (member, scale) in *severity {
            let scale = match scale {
                Scale::Action => "action",
                Scale::HttpStatus => "HTTP status",
                Scale::DnsCode => "DNS code",
                Scale::Success => "success",
                Scale::Failure => "failure",
                Scale::Disposition => "disposition",
                Scale::Level => "level",
                Scale::Presence => "presence",
            };
            write!(text, "; `{member}` ({scale})").unwrap();
        }
        write!(text, "\n\n| field | CEF key | LEEF key |\n|---|---|---|\n").unwrap();
        for field in *fields {
            let member = match &field.from {
                Source::Member(name) => format!("`{name}`"),
                Source::Time(name) => format!("`{name}`, milliseconds"),
                Source::List(name) => format!("`{name}`, joined"),
                Source::Url { scheme, host, path, query } => {
                    let query = query.map(|query| format!(" `{query}`")).unwrap_or_default();
                    format!("`{scheme}`://`{host}` `{path}`{query}")
                }
            };
            let key = |key: &str| if key.is_empty() { String::new() } else { format!("`{key}`") };
            writeln!(text, "| {member} | {} | {} |", key(field.cef), key(field.leef)).unwrap();
        }
        text.push('\n');
    }
    text.push_str("### Words for actions\n\n| contains | severity |\n|---|---|\n");
    for (word, severity) in ACTION_WORDS {
        writeln!(text, "| `{word}` | {severity} |").unwrap();
    }
    let failures: Vec<_> = FAILURE_WORDS.iter().map(|word| format!("`{word}`")).collect();
    write!(text, "\n### Words for failures\n\n{}\n", failures.join(", ")).unwrap();
    text
}

/// `LOGPUSHD_BLESS=1 cargo test` writes the tables again.
#[test]
fn the_documentation_shows_the_tables() {
    const DELIMITERS: [&str; 2] =
        ["<!-- from the code -->\n\n", "\n<!-- from here on by hand -->\n"];
    let path = repository("docs/message-formats.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(DELIMITERS[0]).unwrap();
    let (tables, after) = rest.split_once(DELIMITERS[1]).unwrap();
    let expected = documentation();
    if env::var_os("LOGPUSHD_BLESS").is_some() {
        fs::write(&path, [before, DELIMITERS[0], &expected, DELIMITERS[1], after].concat())
            .unwrap();
        return;
    }
    assert_eq!(tables, expected);
}
