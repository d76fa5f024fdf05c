//! Generates `config/logpushd.toml`, the sample configuration.

use std::fmt::Write as _;

use settings::reference::{Chapter, Key, Presence, Takes, TextPart, first_paragraph, text_parts};

use super::{EXAMPLE, FILE, tables};

const HEAD: &str = "\
The configuration of logpushd, with every key of this version.

The keys that are set are those that a job needs. Every other key is a comment with its default, or with an example. \
To set it, remove the `# ` in front of it, and in front of the header of its table. Check a change with \
`logpushd validate -c FILE`. docs/reference.md describes every key in full, as does \
`logpushd man logpushd.toml | man -l -`.";

/// The chapter of the keys of every kind of sink.
const EVERY_KIND: &str = "sink.NAME.KIND";

/// The maximum length of a line.
const COLUMNS: usize = 100;

/// Returns the whole file.
pub(in crate::config) fn sample() -> String {
    let mut sample = Sample::default();
    // The first paragraph is about the path of the file.
    let paragraphs = HEAD.split("\n\n").chain(FILE.iter().skip(1).copied());
    for (index, paragraph) in paragraphs.enumerate() {
        if index > 0 {
            sample.line("#");
        }
        sample.comment(paragraph);
    }
    let chapters = tables();
    let (every_kind, chapters): (Vec<_>, Vec<_>) =
        chapters.into_iter().partition(|chapter| chapter.name == EVERY_KIND);
    let every_kind = every_kind.first().unwrap();
    for chapter in &chapters {
        sample.chapter(chapter, every_kind);
    }
    sample.text
}

#[derive(Default)]
struct Sample {
    text: String,
    /// Whether the text has the keys of every kind of sink already.
    has_every_kind: bool,
}

impl Sample {
    fn chapter(&mut self, chapter: &Chapter, every_kind: &Chapter) {
        let header = header(&chapter.name);
        let is_kind = chapter.name.starts_with("sink.") && chapter.name.split('.').count() == 3;
        let is_first_kind = is_kind && !self.has_every_kind;
        self.line("");
        if is_first_kind {
            self.comment(first_paragraph(&every_kind.text));
            self.line("");
        }
        self.comment(first_paragraph(&chapter.text));
        self.setting(is_set(&header), &header);
        let (set, others): (Vec<_>, Vec<_>) =
            chapter.table.keys().into_iter().partition(|(name, _)| is_key_set(&header, name));
        for (name, key) in &set {
            self.key(name, key, true);
        }
        for (name, key) in &others {
            self.key(name, key, false);
        }
        if is_first_kind {
            self.has_every_kind = true;
            self.line("");
            self.comment("The other keys of this table are for every kind of sink.");
            for (name, key) in every_kind.table.keys() {
                self.key(&name, key, false);
            }
        } else if is_kind {
            let keys = every_kind.table.keys();
            let names: Vec<_> = keys.iter().map(|(name, _)| format!("`{name}`")).collect();
            self.line("");
            self.comment(&format!(
                "Also the keys for every kind of sink, as above: {}.",
                names.join(", ")
            ));
        }
    }

    fn key(&mut self, name: &str, key: &Key, is_set: bool) {
        let text = key.text();
        let text = first_paragraph(&text);
        self.line("");
        self.comment(text);
        let mut facts = Vec::new();
        match key.takes {
            Takes::OneOf(words)
                if words.iter().any(|word| !text.contains(&format!("\"{word}\""))) =>
            {
                facts.push(format!("Values: {}.", key.takes));
            }
            Takes::Size { least, most } if (least, most) != (1, u64::MAX) => {
                facts.push(format!("A {}.", key.takes));
            }
            _ => {}
        }
        match key.presence {
            _ if is_set => {}
            Presence::Required { .. } => facts.push("Required. Example:".to_owned()),
            Presence::Optional { text, .. } => facts.push(format!("Default: {text}. Example:")),
            Presence::Default(_) => {}
        }
        if !facts.is_empty() {
            self.comment(&facts.join(" "));
        }
        self.setting(is_set, &format!("{name} = {}", key.presence.example()));
    }

    /// Adds a key with its value, or the header of a table.
    fn setting(&mut self, is_set: bool, setting: &str) {
        self.line(&format!("{}{setting}", if is_set { "" } else { "# " }));
    }

    /// Adds a paragraph as a comment. Wraps it, but never within a literal. A literal in quotes
    /// loses its backquotes.
    fn comment(&mut self, paragraph: &str) {
        const NO_BREAK: &str = "\u{a0}";
        let mut plain = String::new();
        for stretch in text_parts(paragraph) {
            match stretch {
                TextPart::Plain(words) => plain.push_str(words),
                TextPart::Literal(words) => {
                    let quote = if words.starts_with('"') { "" } else { "`" };
                    write!(plain, "{quote}{}{quote}", words.replace(' ', NO_BREAK)).unwrap();
                }
            }
        }
        let mut line = String::from("#");
        for word in plain.split(' ') {
            if line.chars().count() + 1 + word.chars().count() > COLUMNS {
                self.line(&line);
                line = String::from("#");
            }
            write!(line, " {}", word.replace(NO_BREAK, " ")).unwrap();
        }
        self.line(&line);
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

/// Returns the header of a table, with the names of [`EXAMPLE`] or with a possible name.
fn header(table: &str) -> String {
    let parts: Vec<_> = table.split('.').collect();
    let name = match parts.as_slice() {
        ["sink", _, kind, ..] if !EXAMPLE.contains(&format!("[sink.archive.{kind}]")) => {
            format!("my_{kind}")
        }
        ["sink", ..] => "archive".to_owned(),
        _ => "main".to_owned(),
    };
    format!("[{}]", table.replace("NAME", &name))
}

/// Returns whether the sample sets this table: not if the table alone has an effect.
fn is_set(header: &str) -> bool {
    EXAMPLE.contains(header) || !header.starts_with("[sink.") && !header.ends_with(".acme]")
}

/// Returns whether [`EXAMPLE`] sets this key.
fn is_key_set(header: &str, name: &str) -> bool {
    let table = EXAMPLE.split_once(&format!("{header}\n")).map_or("", |(_, rest)| rest);
    let table = table.split("\n\n").next().unwrap_or_default();
    table.lines().any(|line| line.starts_with(&format!("{name} = ")))
}
