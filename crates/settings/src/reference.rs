//! Declarations of tables and keys, for the reader and for the documentation.

use std::fmt;

use crate::{Context, Value};

/// The declaration of a table and its keys. Text in backquotes is literal.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// The name, such as `queue`. A part in capitals, as in `queue.NAME`, is the operator's choice. The name
    /// of an inner table is a suffix to that of the outer one, such as `.limits`, or empty if its keys are
    /// listed with those of the outer table.
    pub name: &'static str,
    /// The lines of its doc comment.
    pub text: &'static [&'static str],
    /// The keys and inner tables, the more important ones first.
    pub items: &'static [TableItem],
}

/// A key or an inner table.
#[derive(Clone, Copy, Debug)]
pub enum TableItem {
    /// A key.
    Key(Key),
    /// An inner table.
    Section {
        /// Its key in the outer table. Empty if its keys are keys of the outer table.
        name: &'static str,
        /// The lines of the doc comment of the field.
        text: &'static [&'static str],
        /// Its declaration.
        table: &'static Table,
    },
}

/// The declaration of a key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The name.
    pub name: &'static str,
    /// The values that it takes.
    pub takes: Takes,
    /// Whether it is required, and its default or example.
    pub presence: Presence,
    /// The lines of its doc comment. The first paragraph describes what it does; the others give details and
    /// advice.
    pub text: &'static [&'static str],
    /// Whether a value is valid. Problems are reported to the context.
    pub is_read: fn(&Value<'_>, &mut Context) -> bool,
}

/// A table in the reference.
#[derive(Clone, Debug)]
pub struct Chapter {
    /// The full name, such as `queue.limits`.
    pub name: String,
    /// The description. Its first paragraph can be used alone.
    pub text: String,
    /// The declaration.
    pub table: &'static Table,
}

/// The values that a key takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Takes {
    /// A string, with a description.
    String(&'static str),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A string or a list of strings, with a description of the string.
    StringOrList(&'static str),
    /// A list of strings, with a description of the string.
    List(&'static str),
    /// `true` or `false`.
    Flag,
    /// A whole number of at least 1.
    Count,
    /// A size such as `"64MiB"`.
    Size {
        /// The minimum in bytes.
        least: u64,
        /// The maximum in bytes; `u64::MAX` means no limit.
        most: u64,
    },
    /// A duration such as `"24h"`.
    Duration {
        /// A word that is allowed instead of a duration.
        beside: Option<&'static str>,
        /// Whether 0 is allowed.
        zero: bool,
    },
    /// A table with names of the operator's choice, with a description.
    Names(&'static str),
}

impl Takes {
    /// The type of a list of such values.
    #[must_use]
    pub const fn in_list(self) -> Self {
        match self {
            Self::String(description) => Self::List(description),
            other => other,
        }
    }

    /// The type of such a value or a list of them.
    #[must_use]
    pub const fn alone_or_in_list(self) -> Self {
        match self {
            Self::String(description) => Self::StringOrList(description),
            other => other,
        }
    }
}

/// Whether a key may be missing. Values are written as in the file.
#[derive(Clone, Copy, Debug)]
pub enum Presence {
    /// The key is required.
    Required {
        /// A valid value.
        example: &'static str,
    },
    /// A missing key has this value.
    Default(&'static str),
    /// A missing key has a meaning that no value has.
    Optional {
        /// The meaning.
        text: &'static str,
        /// A valid value.
        example: &'static str,
    },
}

impl Presence {
    /// A valid value: the default or the example.
    pub const fn example(&self) -> &'static str {
        match self {
            Self::Required { example } | Self::Optional { example, .. } => example,
            Self::Default(value) => value,
        }
    }
}

impl TableItem {
    /// The name of the key or inner table.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Key(key) => key.name,
            Self::Section { name, .. } => name,
        }
    }
}

impl Table {
    /// The keys with their names in this table. Keys of an inner table without its own chapter are named
    /// `INNER.KEY`.
    pub fn keys(&self) -> Vec<(String, &'static Key)> {
        let mut keys = Vec::new();
        for entry in self.items {
            match entry {
                TableItem::Key(key) => keys.push((key.name.to_owned(), key)),
                TableItem::Section { name: "", table, .. } => keys.extend(table.keys()),
                TableItem::Section { name, table, .. } if table.name.is_empty() => {
                    keys.extend(
                        table.keys().into_iter().map(|(key, of)| (format!("{name}.{key}"), of)),
                    );
                }
                TableItem::Section { .. } => {}
            }
        }
        keys
    }

    /// This table, followed by the inner tables with their own chapters.
    pub fn chapters(&'static self) -> Vec<Chapter> {
        let chapter =
            Chapter { name: self.name.to_owned(), text: paragraphs(self.text), table: self };
        let mut chapters = vec![chapter];
        for entry in self.items {
            let TableItem::Section { name, text, table } = entry else { continue };
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

    /// The required keys.
    pub fn required(&self) -> impl Iterator<Item = &'static Key> + use<> {
        let is_required = |key: &&Key| matches!(key.presence, Presence::Required { .. });
        self.own_keys().into_iter().filter(is_required)
    }

    /// The keys, including those of shared declarations.
    fn own_keys(&self) -> Vec<&'static Key> {
        let mut keys = Vec::new();
        for entry in self.items {
            match entry {
                TableItem::Key(key) => keys.push(key),
                TableItem::Section { name: "", table, .. } => keys.extend(table.own_keys()),
                TableItem::Section { .. } => {}
            }
        }
        keys
    }

    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.items.iter().find_map(|entry| match entry {
            TableItem::Key(key) if key.name == name => Some(key),
            _ => None,
        })
    }
}

impl Key {
    /// The description, with an empty line between paragraphs. The first paragraph can be used alone.
    pub fn text(&self) -> String {
        paragraphs(self.text)
    }

    /// Checks that its default or example is a valid value.
    ///
    /// # Errors
    /// The problems, which are defects of the declaration.
    pub fn check(&self) -> Result<(), String> {
        let mut cx = Context::without_files(std::path::Path::new("/"));
        let text = self.presence.example();
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

/// The first paragraph of the description of a key or table, without details.
pub fn first_paragraph(text: &str) -> &str {
    text.split("\n\n").next().unwrap_or(text)
}

impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::String(description) => f.write_str(description),
            Self::OneOf(words) => {
                for (index, word) in words.iter().enumerate() {
                    f.write_str(match index {
                        0 => "",
                        _ if index + 1 == words.len() => " or ",
                        _ => ", ",
                    })?;
                    write!(f, "`\"{}\"`", word.escape_debug())?;
                }
                Ok(())
            }
            Self::StringOrList(description) => write!(f, "{description}, or a list of them"),
            Self::List(description) => write!(f, "list of {description}"),
            Self::Flag => f.write_str("`true` or `false`"),
            Self::Count => f.write_str("whole number of at least 1"),
            Self::Size { most: u64::MAX, .. } => f.write_str("size"),
            Self::Size { least, most } => {
                let (least, most) = (crate::format_bytes(least), crate::format_bytes(most));
                write!(f, "size from {least} to {most}")
            }
            Self::Duration { beside, zero } => {
                f.write_str(if zero { "duration" } else { "duration greater than 0" })?;
                beside.map_or(Ok(()), |word| write!(f, ", or `\"{word}\"`"))
            }
            Self::Names(description) => write!(f, "table of {description}"),
        }
    }
}

impl fmt::Display for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Required { example } => write!(f, "required; for example `{example}`"),
            Self::Default(value) => write!(f, "default `{value}`"),
            Self::Optional { text, example } => {
                write!(f, "without it: {text}; for example `{example}`")
            }
        }
    }
}

/// A part of a description.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TextPart<'a> {
    /// Prose.
    Plain(&'a str),
    /// Literal text, such as the name of a key.
    Literal(&'a str),
}

/// Splits a description into prose and literal text, which is in backquotes.
pub fn text_parts(text: &str) -> impl Iterator<Item = TextPart<'_>> {
    text.split('`').enumerate().filter(|(_, part)| !part.is_empty()).map(|(index, part)| {
        if index % 2 == 0 { TextPart::Plain(part) } else { TextPart::Literal(part) }
    })
}
