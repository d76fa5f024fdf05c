//! Compares docs/troubleshooting.md with the messages in the code, in both directions.

use std::{
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    LitStr, Macro,
    visit::{self, Visit},
};

use crate::support::repository;

/// The sections of the page that quote the daemon.
const SECTIONS: [&str; 3] = ["Status codes", "Log messages", "Messages at startup"];

/// One section of the page, up to the next one.
fn section(name: &str) -> String {
    let page = fs::read_to_string(repository("docs/troubleshooting.md")).unwrap();
    let (_, section) = page.split_once(&format!("\n## {name}\n")).unwrap();
    section.split_once("\n## ").map_or(section, |(section, _)| section).to_owned()
}

/// All source files, without those of tests.
fn sources() -> Vec<PathBuf> {
    fn add(directory: &Path, sources: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let is_test = path.file_stem().is_some_and(|name| name == "tests");
            if path.is_dir() && !is_test {
                add(&path, sources);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
                sources.push(path);
            }
        }
    }
    let mut sources = Vec::new();
    for directory in ["src", "crates"] {
        add(&repository(directory), &mut sources);
    }
    sources
}

/// The text of a source file, with the parts of strings joined that are on several lines.
fn joined(source: &Path) -> String {
    let text = fs::read_to_string(source).unwrap().replace("\\\"", "\"");
    text.split("\\\n").map(str::trim_start).collect()
}

#[test]
fn every_quoted_message_is_in_the_code() {
    let code: String = sources().iter().map(|source| joined(source)).collect();
    let mut compared = 0;
    for section in SECTIONS.map(section) {
        let headings = section.lines().filter(|line| line.starts_with("###"));
        let headings = headings.map(|line| line.trim_start_matches(['#', ' ']));
        for message in headings.filter_map(|heading| heading.strip_prefix('`')) {
            // These are assembled from parts: a test in src/http/refusal.rs compares them.
            if message.contains("max_upload_bytes") {
                continue;
            }
            for part in message.trim_end_matches('`').split("...") {
                let part = part.trim_matches(|c| ": ;".contains(c));
                compared += 1;
                assert!(code.contains(part), "no source contains {part:?} of {message}");
            }
        }
    }
    assert!(compared > 100, "only {compared} parts of messages were compared");
}

/// Collects the messages of `warn!` and `error!`: the last string of each.
#[derive(Default)]
struct LogMessages(Vec<String>);

impl<'ast> Visit<'ast> for LogMessages {
    fn visit_macro(&mut self, item: &'ast Macro) {
        let name = item.path.segments.last().unwrap().ident.to_string();
        if name == "warn" || name == "error" {
            self.0.extend(last_string(item.tokens.clone()));
        }
        // Such as `tokio::select!`, whose branches may log.
        self.add_nested(item.tokens.clone());
        visit::visit_macro(self, item);
    }
}

impl LogMessages {
    fn add_nested(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            let TokenTree::Group(group) = token else { continue };
            let is_log = at >= 2
                && matches!(&tokens[at - 1], TokenTree::Punct(mark) if mark.as_char() == '!')
                && matches!(&tokens[at - 2], TokenTree::Ident(name) if name == "warn" || name == "error");
            if is_log {
                self.0.extend(last_string(group.stream()));
            }
            self.add_nested(group.stream());
        }
    }
}

fn last_string(tokens: TokenStream) -> Option<String> {
    let strings = tokens.into_iter().filter_map(|token| match token {
        TokenTree::Literal(_) => syn::parse2::<LitStr>(token.into()).ok(),
        _ => None,
    });
    strings.last().map(|string| string.value())
}

/// The text outside of placeholders such as `{error}` and of words in backticks.
fn fixed_parts(message: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut closing = None;
    for c in message.chars() {
        match (closing, c) {
            (Some(end), _) if c == end => closing = None,
            (Some(_), _) => {}
            (None, '{' | '`') => {
                closing = Some(if c == '{' { '}' } else { '`' });
                parts.push(String::new());
            }
            (None, _) => parts.last_mut().unwrap().push(c),
        }
    }
    let trimmed = parts.iter().map(|part| part.trim_matches(|c| ": ;".contains(c)));
    trimmed.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[test]
fn every_warning_and_error_of_the_log_is_explained() {
    let section = section("Log messages");
    let explained = section.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut compared = 0;
    for source in sources() {
        let file = syn::parse_file(&fs::read_to_string(&source).unwrap()).unwrap();
        let mut messages = LogMessages::default();
        messages.visit_file(&file);
        for message in &messages.0 {
            for part in fixed_parts(message) {
                compared += 1;
                assert!(
                    explained.contains(&part),
                    "docs/troubleshooting.md does not explain {message:?} of {}",
                    source.display(),
                );
            }
        }
    }
    assert!(compared > 60, "only {compared} messages were compared");
}
