//! What every key is for: of this the reader is made, and the documentation.

use std::fmt;

use crate::{Context, Value};

/// A table of the file and its keys. In texts, what stands in backquotes is literal.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name, as `queue`; a part in capitals, as in `queue.NAME`, is the operator's choice. Of a table within
    /// another, what follows the name of that one, as `.limits`; empty if its keys are described among those
    /// of the table around it.
    pub name: &'static str,
    /// What it is for: the lines of its doc comment.
    pub text: &'static [&'static str],
    /// Its keys, the more important ones first.
    pub entries: &'static [Entry],
}

/// What a table has.
#[derive(Clone, Copy, Debug)]
pub enum Entry {
    /// A key.
    Key(Key),
    /// A table within the table.
    Section {
        /// Its key in the table around it. Empty if its keys are keys of that table.
        name: &'static str,
        /// What it is for there: the lines of its doc comment.
        text: &'static [&'static str],
        /// What is in it.
        table: &'static Table,
    },
}

/// A key of a table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// What holds without it.
    pub without: Without,
    /// The lines of its doc comment. The first paragraph describes what it does; the others give details and
    /// advice.
    pub text: &'static [&'static str],
    /// Whether a value can be read. Why not is reported to the context.
    pub is_read: fn(&Value<'_>, &mut Context) -> bool,
}

/// A table as the reference has it.
#[derive(Clone, Debug)]
pub struct Chapter {
    /// Its whole name, as `queue.limits`.
    pub name: String,
    /// What it is for: paragraphs, of which the first stands alone.
    pub text: String,
    /// Its keys.
    pub table: &'static Table,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Takes {
    /// A string of this sort.
    String(&'static str),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A string of this sort, or a list of them.
    StringOrList(&'static str),
    /// A list of strings of this sort.
    List(&'static str),
    /// `true` or `false`.
    Flag,
    /// A whole number from 1 on.
    Count,
    /// `"64MiB"`
    Size {
        /// Bytes.
        least: u64,
        /// Bytes; `u64::MAX` is no bound.
        most: u64,
    },
    /// `"24h"`
    Duration {
        /// A word that may stand in its place.
        beside: Option<&'static str>,
        /// Whether 0 is one.
        zero: bool,
    },
    /// A table of names and values of this sort.
    Names(&'static str),
}

impl Takes {
    /// A list of such values.
    #[must_use]
    pub const fn in_list(self) -> Self {
        match self {
            Self::String(sort) => Self::List(sort),
            other => other,
        }
    }

    /// Such a value, or a list of them.
    #[must_use]
    pub const fn alone_or_in_list(self) -> Self {
        match self {
            Self::String(sort) => Self::StringOrList(sort),
            other => other,
        }
    }
}

/// What holds if a key is not there.
#[derive(Clone, Copy, Debug)]
pub enum Without {
    /// The file is refused.
    Refused {
        /// What may stand there, as in the file.
        example: &'static str,
    },
    /// The same as with this value, as in the file.
    Default(&'static str),
    /// What no value stands for.
    Means {
        /// In words.
        text: &'static str,
        /// What may stand there, as in the file.
        example: &'static str,
    },
}

impl Without {
    /// A value that may stand there, as in the file.
    pub const fn example(&self) -> &'static str {
        match self {
            Self::Refused { example } | Self::Means { example, .. } => example,
            Self::Default(value) => value,
        }
    }
}

impl Entry {
    /// Its key.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Key(key) => key.name,
            Self::Section { name, .. } => name,
        }
    }
}

impl Table {
    /// Its keys by the names that they have in this table: those of a table within it that has no chapter of
    /// its own are `INNER.KEY`.
    pub fn keys(&self) -> Vec<(String, &'static Key)> {
        let mut keys = Vec::new();
        for entry in self.entries {
            match entry {
                Entry::Key(key) => keys.push((key.name.to_owned(), key)),
                Entry::Section { name: "", table, .. } => keys.extend(table.keys()),
                Entry::Section { name, table, .. } if table.name.is_empty() => {
                    keys.extend(
                        table.keys().into_iter().map(|(key, of)| (format!("{name}.{key}"), of)),
                    );
                }
                Entry::Section { .. } => {}
            }
        }
        keys
    }

    /// This table, and behind it the tables within it that have a chapter of their own.
    pub fn chapters(&'static self) -> Vec<Chapter> {
        let chapter =
            Chapter { name: self.name.to_owned(), text: paragraphs(self.text), table: self };
        let mut chapters = vec![chapter];
        for entry in self.entries {
            let Entry::Section { name, text, table } = entry else { continue };
            if table.name.is_empty() && !name.is_empty() {
                continue;
            }
            let is_shared = name.is_empty();
            for inner in table.chapters().into_iter().skip(usize::from(is_shared)) {
                let is_own = std::ptr::eq(inner.table, *table);
                let introduction = if is_own { paragraphs(text) + " " } else { String::new() };
                let text = introduction + &inner.text;
                let name = format!("{}{}", self.name, inner.name);
                chapters.push(Chapter { name, text, ..inner });
            }
        }
        chapters
    }

    /// The keys without which the file is refused.
    pub fn required(&self) -> impl Iterator<Item = &'static Key> + use<> {
        let is_required = |key: &&Key| matches!(key.without, Without::Refused { .. });
        self.own_keys().into_iter().filter(is_required)
    }

    /// Its keys and those of tables whose keys are its keys.
    fn own_keys(&self) -> Vec<&'static Key> {
        let mut keys = Vec::new();
        for entry in self.entries {
            match entry {
                Entry::Key(key) => keys.push(key),
                Entry::Section { name: "", table, .. } => keys.extend(table.own_keys()),
                Entry::Section { .. } => {}
            }
        }
        keys
    }

    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::Key(key) if key.name == name => Some(key),
            _ => None,
        })
    }
}

impl Key {
    /// What it does: paragraphs with an empty line between them, of which the first stands alone.
    pub fn text(&self) -> String {
        paragraphs(self.text)
    }

    /// Reads its default and its example as a file would have them.
    ///
    /// # Errors
    /// What is wrong with them: a defect of the declaration.
    pub fn check(&self) -> Result<(), String> {
        let mut cx = Context::of_text(std::path::Path::new("/"));
        let text = self.without.example();
        let is_read = Value::parse(self.name, text)
            .is_some_and(|value| (self.is_read)(&value, &mut cx) && cx.is_clean());
        if is_read {
            return Ok(());
        }
        let problems: Vec<_> = cx.finish(text, Vec::new()).into_iter().map(|p| p.message).collect();
        Err(format!("`{}` cannot be `{text}`: {}", self.name, problems.join("; ")))
    }
}

/// Joins the lines of each paragraph of a doc comment, with an empty line between paragraphs.
fn paragraphs(lines: &[&str]) -> String {
    let paragraphs = lines.split(|line| line.trim().is_empty());
    let joined = paragraphs
        .map(|paragraph| paragraph.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" "));
    joined.collect::<Vec<_>>().join("\n\n")
}

/// The first paragraph of the text of a key or table: what it is for, without details.
pub fn first_paragraph(text: &str) -> &str {
    text.split("\n\n").next().unwrap_or(text)
}

impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::String(what) => f.write_str(what),
            Self::OneOf(words) => {
                for (place, word) in words.iter().enumerate() {
                    f.write_str(match place {
                        0 => "",
                        _ if place + 1 == words.len() => " or ",
                        _ => ", ",
                    })?;
                    write!(f, "`\"{}\"`", word.escape_debug())?;
                }
                Ok(())
            }
            Self::StringOrList(what) => write!(f, "{what}, or a list of them"),
            Self::List(what) => write!(f, "list of {what}"),
            Self::Flag => f.write_str("`true` or `false`"),
            Self::Count => f.write_str("whole number from 1 on"),
            Self::Size { most: u64::MAX, .. } => f.write_str("size"),
            Self::Size { least, most } => {
                let (least, most) = (crate::format_bytes(least), crate::format_bytes(most));
                write!(f, "size from {least} to {most}")
            }
            Self::Duration { beside, zero } => {
                f.write_str(if zero { "duration" } else { "duration of more than 0" })?;
                beside.map_or(Ok(()), |word| write!(f, ", or `\"{word}\"`"))
            }
            Self::Names(what) => write!(f, "table of {what}"),
        }
    }
}

impl fmt::Display for Without {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { example } => write!(f, "required; for example `{example}`"),
            Self::Default(value) => write!(f, "default `{value}`"),
            Self::Means { text, example } => {
                write!(f, "without it: {text}; for example `{example}`")
            }
        }
    }
}

/// One stretch of a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stretch<'a> {
    /// Words.
    Plain(&'a str),
    /// What is typed as it stands.
    Literal(&'a str),
}

/// The stretches of a text: what stands in backquotes is literal.
pub fn stretches(text: &str) -> impl Iterator<Item = Stretch<'_>> {
    text.split('`').enumerate().filter(|(_, part)| !part.is_empty()).map(|(place, part)| {
        if place % 2 == 0 { Stretch::Plain(part) } else { Stretch::Literal(part) }
    })
}
