//! A value: what it can be read as, and what to say if it is something else.

use std::{borrow::Cow, ops::Range, time::Duration};

use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use super::join;
use crate::{
    context::Context,
    diagnostic::Diagnostic,
    reference::Without,
    units::{parse_bytes, parse_duration},
};

/// A value, and the full name of the key that it stands behind. An item of a list has that of the list.
#[derive(Clone, Debug)]
pub struct Value<'i> {
    name: String,
    /// What holds without the key.
    without: Without,
    is_item: bool,
    found: Spanned<DeValue<'i>>,
}

/// A string, a number, `true` or `false`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Plain {
    /// A text, without quotes and escapes.
    String(String),
    /// As in JSON.
    Number(String),
    /// `true` or `false`
    Bool(bool),
}

/// A name of the operator's choosing, and what stands behind it.
pub type Entry<'i> = (Spanned<String>, Value<'i>);

/// Names and strings.
pub type Pairs = Vec<(Spanned<String>, Spanned<String>)>;

impl<'i> Value<'i> {
    pub(super) fn new(name: String, without: Without, found: Spanned<DeValue<'i>>) -> Self {
        Self { name, without, is_item: false, found }
    }

    /// A value as a declaration has it. `None` if it is no TOML.
    pub(crate) fn parse(name: &str, text: &'static str) -> Option<Value<'static>> {
        let value = DeValue::parse(text).ok()?;
        Some(Value::new(name.to_owned(), Without::Default(text), value))
    }

    /// The full name of its key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What may stand behind the key, as in the file: its default, or its example.
    pub fn example(&self) -> &'static str {
        self.without.example()
    }

    /// Where it is.
    pub fn span(&self) -> Range<usize> {
        self.found.span()
    }

    /// A problem with the value.
    pub fn problem(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::at(self.span(), message)
    }

    /// That it is something else than `expected`, which is what to call that.
    pub fn wrong_type(&self, expected: &str) -> Diagnostic {
        let found = self.found.get_ref();
        let article =
            if matches!(found, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
        let (name, kind) = (&self.name, found.type_str());
        self.problem(format!("expected {expected} for `{name}`, found {article} {kind}"))
    }

    /// Its keys, if it is a table.
    pub(super) fn as_table(&self) -> Option<&DeTable<'i>> {
        self.found.get_ref().as_table()
    }

    /// What is in it, if it is a table, in the order of the names.
    pub fn as_entries(&self) -> Option<Vec<Entry<'i>>> {
        Some(entries(&self.name, self.as_table()?))
    }

    /// What is in it, if it is a table; else that is reported.
    pub fn entries(&self, cx: &mut Context) -> Option<Vec<Entry<'i>>> {
        let entries = self.as_entries();
        if entries.is_none() {
            cx.push(self.wrong_type("a table such as { NAME = \"value\" }"));
        }
        entries
    }

    /// The strings in it, if it is a table, in the order of their names. What is none is reported.
    pub fn pairs(&self, cx: &mut Context) -> Option<Pairs> {
        let entries = self.entries(cx)?.into_iter();
        Some(entries.filter_map(|(name, value)| Some((name, value.string(cx)?))).collect())
    }

    /// What is in it, if it is a list.
    pub fn as_list(&self) -> Option<Vec<Self>> {
        let item = |found: &Spanned<DeValue<'i>>| Self {
            name: self.name.clone(),
            without: self.without,
            is_item: true,
            found: found.clone(),
        };
        Some(self.found.get_ref().as_array()?.iter().map(item).collect())
    }

    /// What is in it, if it is a list of at least one; else that is reported.
    pub fn items(&self, cx: &mut Context) -> Option<Vec<Self>> {
        self.items_of("a list of strings", cx)
    }

    /// The value alone if it is a string, or what is in it, if it is a list of at least one.
    pub fn one_or_items(&self, cx: &mut Context) -> Option<Vec<Self>> {
        if self.found.get_ref().is_str() {
            return Some(vec![self.clone()]);
        }
        self.items_of("a string or a list of strings", cx)
    }

    fn items_of(&self, expected: &str, cx: &mut Context) -> Option<Vec<Self>> {
        let Some(list) = self.as_list() else {
            cx.push(self.wrong_type(expected));
            return None;
        };
        if list.is_empty() {
            // To some, an empty list is none, to others all: nothing may be guessed here.
            let otherwise = match self.without {
                Without::Refused { .. } => String::new(),
                Without::Default(_) => ", or leave it out".to_owned(),
                Without::Means { text, .. } => format!(", or leave it out: {text}"),
            };
            let empty = self.problem(format!("`{}` is an empty list", self.name));
            cx.push(empty.hint(format!("name at least one, as {}{otherwise}", self.example())));
            return None;
        }
        Some(list)
    }

    /// A string.
    pub fn string(&self, cx: &mut Context) -> Option<Spanned<String>> {
        self.text(if self.is_item { "only strings" } else { "a string" }, cx)
    }

    fn text(&self, expected: &str, cx: &mut Context) -> Option<Spanned<String>> {
        let text = self.found.get_ref().as_str();
        if text.is_none() {
            cx.push(self.wrong_type(expected));
        }
        text.map(|text| Spanned::new(self.span(), text.to_owned()))
    }

    /// `true` or `false`.
    pub fn boolean(&self, cx: &mut Context) -> Option<bool> {
        let boolean = self.found.get_ref().as_bool();
        if boolean.is_none() {
            cx.push(self.wrong_type("true or false"));
        }
        boolean
    }

    /// A whole number from 1 on.
    pub fn count(&self, cx: &mut Context) -> Option<usize> {
        let DeValue::Integer(number) = self.found.get_ref() else {
            cx.push(self.wrong_type("a whole number"));
            return None;
        };
        let count = unsigned(number).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        if count.is_none() {
            let message =
                format!("`{}` must be a whole number from 1 on, found {number}", self.name);
            cx.push(self.problem(message));
        }
        count
    }

    /// A size of at least one byte: `"64MiB"`, or a number of bytes.
    pub fn size(&self, cx: &mut Context) -> Option<Spanned<u64>> {
        let size = match self.found.get_ref() {
            DeValue::Integer(number) => unsigned(number).ok_or_else(|| {
                format!("`{number}` is not a size: write a number of bytes from 1 on")
            }),
            DeValue::String(text) => {
                parse_bytes(text).map_err(|reason| format!("`{}` {reason}", text.escape_debug()))
            }
            _ => {
                cx.push(self.wrong_type("a size such as \"64MiB\""));
                return None;
            }
        };
        let fault = match size {
            Ok(0) => format!("`{}` must be more than 0", self.name),
            Ok(size) => return Some(Spanned::new(self.span(), size)),
            Err(fault) => fault,
        };
        cx.push(self.problem(fault));
        None
    }

    /// A duration: `"24h"`.
    pub fn duration(&self, cx: &mut Context) -> Option<Duration> {
        let text = self.text("a duration such as \"24h\"", cx)?;
        match parse_duration(text.get_ref()) {
            Ok(duration) => Some(duration),
            Err(reason) => {
                cx.push(self.problem(format!("`{}` {reason}", text.get_ref().escape_debug())));
                None
            }
        }
    }

    /// A duration, or this word, which is [`Duration::MAX`].
    pub fn duration_or(&self, word: &str, cx: &mut Context) -> Option<Duration> {
        if self.found.get_ref().as_str() == Some(word) {
            return Some(Duration::MAX);
        }
        self.duration(cx)
    }

    /// One of a closed list of words.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)], cx: &mut Context) -> Option<T> {
        let text = self.string(cx)?;
        let word = text.get_ref().as_str();
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == word) {
            return Some(*choice);
        }
        let names: Vec<String> =
            choices.iter().map(|(name, _)| format!("\"{}\"", name.escape_debug())).collect();
        let message = format!("`{}` is not a value of `{}`", word.escape_debug(), self.name);
        cx.push(self.problem(message).hint(format!("the values are {}", names.join(", "))));
        None
    }

    /// A string, a number, `true` or `false`.
    pub fn plain(&self, cx: &mut Context) -> Option<Plain> {
        match self.found.get_ref() {
            DeValue::String(text) => Some(Plain::String(text.to_string())),
            DeValue::Boolean(flag) => Some(Plain::Bool(*flag)),
            DeValue::Integer(_) | DeValue::Float(_) => self.number(cx).map(Plain::Number),
            other => {
                let mut problem = self.wrong_type("a string, a number, true or false");
                if matches!(other, DeValue::Datetime(_)) {
                    problem = problem.hint("write a time as the record has it, mostly in quotes");
                }
                cx.push(problem);
                None
            }
        }
    }

    /// A number, as JSON would write it.
    pub fn number(&self, cx: &mut Context) -> Option<String> {
        let text = match self.found.get_ref() {
            DeValue::Integer(number) => decimal(number),
            DeValue::Float(number) => as_json(number.as_str()),
            _ => {
                cx.push(self.wrong_type("a number"));
                return None;
            }
        };
        if text.is_none() {
            let message =
                format!("no record holds the number that stands here for `{}`", self.name);
            cx.push(self.problem(message).hint("write it in decimal, as 500 or 0.25"));
        }
        text
    }
}

/// What is in the table `name`.
pub(super) fn entries<'i>(name: &str, table: &DeTable<'i>) -> Vec<Entry<'i>> {
    let entry = |(key, value): (&Spanned<Cow<'i, str>>, &Spanned<DeValue<'i>>)| {
        let text = key.get_ref().to_string();
        let value = Value::new(join(name, &text), Without::Default(""), value.clone());
        (Spanned::new(key.span(), text), value)
    };
    table.iter().map(entry).collect()
}

fn unsigned(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// The number in base 10. `None` if it is written in another and does not fit.
fn decimal(number: &DeInteger<'_>) -> Option<String> {
    if number.radix() == 10 {
        return as_json(number.as_str());
    }
    i128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
}

/// `None` for `inf` and `nan`.
fn as_json(text: &str) -> Option<String> {
    let text = text.strip_prefix('+').unwrap_or(text);
    text.ends_with(|last: char| last.is_ascii_digit()).then(|| text.to_owned())
}
