//! The pages for contributors name existing code and quote it correctly.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::support::repository;

/// The pages whose names of code are checked. Decisions are not: they describe the time when they were made.
const PAGES: &[&str] = &[
    "CONTRIBUTING.md",
    "docs/adding-a-sink.md",
    "docs/architecture",
    "docs/architecture.md",
    "docs/tests.md",
];

/// Where files that a page can name are.
const TREES: &[&str] =
    &[".ci", "benches", "config", "crates", "docs", "fuzz", "pkg", "src", "tests"];

fn walk(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_file() {
        files.push(path.to_owned());
    } else if !path.ends_with("target") && !path.ends_with("corpus") {
        for entry in fs::read_dir(path).unwrap() {
            walk(&entry.unwrap().path(), files);
        }
    }
}

fn files(trees: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for tree in trees {
        walk(&repository(tree), &mut files);
    }
    files
}

/// The text between backticks, with the number of its line.
fn code_spans(text: &str) -> Vec<(usize, &str)> {
    let mut spans = Vec::new();
    let mut is_block = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_block = !is_block;
        } else if !is_block {
            spans.extend(line.split('`').skip(1).step_by(2).map(|span| (number + 1, span)));
        }
    }
    spans
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Every identifier outside of comments.
fn identifiers(sources: &[PathBuf]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for source in sources {
        for line in fs::read_to_string(source).unwrap().lines() {
            if !line.trim_start().starts_with("//") {
                let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                names.extend(words.map(str::to_owned));
            }
        }
    }
    names
}

/// Whether a path is a pattern, as `src/commands/NAME.rs` and `docs/*.md` are.
fn is_pattern(path: &str) -> bool {
    let is_placeholder =
        |part: &str| part.len() > 3 && part.chars().all(|c| c.is_ascii_uppercase());
    path.contains(['*', '{']) || path.split(['/', '.']).any(is_placeholder)
}

fn is_path(span: &str) -> bool {
    let path = Path::new(span);
    path.extension().is_some_and(|extension| extension == "rs")
        || TREES.iter().any(|tree| path.starts_with(tree))
}

/// Whether code that a page names exists; `None` if it names no code.
fn exists(span: &str, names: &BTreeSet<String>, files: &[PathBuf]) -> Option<bool> {
    let span = span.trim_end_matches("()").trim_end_matches(['/', '!']);
    if span.contains(' ') || is_pattern(span) {
        None
    } else if span.contains("::") {
        let path = span.split('<').next().unwrap();
        Some(path.split("::").all(|name| names.contains(name)))
    } else if is_path(span) {
        Some(repository(span).exists() || files.iter().any(|file| file.ends_with(span)))
    } else if is_name(span)
        && span.starts_with(|c: char| c.is_ascii_uppercase())
        && span.contains(|c: char| c.is_ascii_lowercase())
    {
        Some(names.contains(span))
    } else {
        None
    }
}

#[test]
fn names_in_the_documentation_exist() {
    let all = files(TREES);
    let is_source = |file: &&PathBuf| file.extension().is_some_and(|extension| extension == "rs");
    let mut sources: Vec<_> = all.iter().filter(is_source).cloned().collect();
    // The texts of its rejections are named nowhere else.
    sources.push(repository("clippy.toml"));
    let names = identifiers(&sources);
    let (mut seen, mut faults) = (0, Vec::new());
    for page in files(PAGES) {
        for (line, span) in code_spans(&fs::read_to_string(&page).unwrap()) {
            match exists(span, &names, &all) {
                Some(true) => seen += 1,
                Some(false) => faults.push(format!("{}:{line}: no {span}", page.display())),
                None => {}
            }
        }
    }
    assert!(seen > 150, "only {seen} names were checked");
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_name_that_does_not_exist_is_reported() {
    let names = BTreeSet::from(["spool", "Spool", "commit"].map(str::to_owned));
    let check = |span: &str| exists(span, &names, &files(&["src"]));
    for good in ["Spool", "Spool::commit", "spool::Spool<T>", "src/main.rs", "http/mod.rs"] {
        assert_eq!(check(good), Some(true), "{good}");
    }
    for bad in ["Queue", "Spool::gone", "src/gone.rs", "tests/gone", "http/gone.rs"] {
        assert_eq!(check(bad), Some(false), "{bad}");
    }
    for other in ["spool.dir", "200", "src/NAME.rs", "cargo test --test it docs::", "tests/*"] {
        assert_eq!(check(other), None, "{other}");
    }
}

/// Lines without their indentation, doc comments left out.
fn code_lines(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with("///")).collect()
}

#[test]
fn the_example_sink_in_the_documentation_matches_the_code() {
    let page = fs::read_to_string(repository("docs/adding-a-sink.md")).unwrap();
    let sources: Vec<_> = files(&["crates/sinks/src/http.rs", "crates/sinks/src/kinds.rs"])
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let sources: Vec<_> = sources.iter().map(|source| code_lines(source).join("\n")).collect();
    let blocks: Vec<_> = page.split("```rust\n").skip(1).collect();
    assert!(blocks.len() > 3, "{}", blocks.len());
    for block in blocks {
        let block = code_lines(block.split("```").next().unwrap());
        let (first, last) = (block[0], block[block.len() - 1]);
        let code = block.join("\n");
        // A list may be shown in part.
        let is_shown = sources.iter().any(|source| {
            source.contains(&code)
                || block.iter().all(|line| source.contains(line)) && first.starts_with("kinds!")
        });
        assert!(is_shown, "no source contains, from {first:?} to {last:?}:\n{code}");
    }
}
