//! Generates `docs/reference.md`.

use std::fmt::Write as _;

use super::{EXAMPLE, FILE, tables};

const HEAD: &str = "\
# Reference of the configuration

<!-- Written by `LOGPUSHD_BLESS=1 cargo test --lib reference`: change the declarations in src. -->

Every key. The same is in the man page, logpushd.toml(5); `config/logpushd.toml` has all of them in one file.
";

/// Returns the whole document.
pub(in crate::config) fn document() -> String {
    let mut text = String::from(HEAD);
    for paragraph in FILE {
        write!(text, "\n{}\n", linked(paragraph)).unwrap();
    }
    write!(text, "\nA file that is enough for a job:\n\n```toml\n{EXAMPLE}```\n").unwrap();
    text.push_str("\n| table | keys |\n|---|---|\n");
    for table in tables() {
        let keys = table.table.keys().into_iter().map(|(key, _)| {
            let anchor = format!("{}.{key}", table.name).to_lowercase().replace('.', "");
            format!("[`{key}`](#{anchor})")
        });
        let keys = keys.collect::<Vec<_>>().join(", ");
        writeln!(text, "| `[{}]` | {keys} |", table.name).unwrap();
    }
    for table in tables() {
        write!(text, "\n## `[{}]`\n\n{}\n", table.name, linked(&table.text)).unwrap();
        for (name, key) in table.table.keys() {
            let (takes, without) = (key.takes, key.presence);
            write!(text, "\n### `{}.{name}`\n\n{takes}; {without}\n", table.name).unwrap();
            write!(text, "\n{}\n", linked(&key.text())).unwrap();
        }
    }
    text
}

/// Turns the paths of documents, which start at the repository, into links.
fn linked(text: &str) -> String {
    let mut parts = text.split("docs/");
    let mut linked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once(".md").unwrap();
        write!(linked, "[{name}.md]({name}.md){rest}").unwrap();
    }
    linked
}
