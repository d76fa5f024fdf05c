//! Values, and their conversion to types. A value of another type is reported.

use std::{borrow::Cow, ops::Range, time::Duration};

use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use super::join;
use crate::{
    context::Context,
    diagnostic::Diagnostic,
    reference::Presence,
    units::{parse_bytes, parse_duration},
};

/// A value and the full name of its key. An item of a list has the name of the list.
#[derive(Clone, Debug)]
pub struct Value<'i> {
    name: String,
    presence: Presence,
    is_item: bool,
    found: Spanned<DeValue<'i>>,
}

/// A string, a number, `true` or `false`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PlainValue {
    /// A string, without quotes and escapes.
    String(String),
    /// A number, as in JSON.
    Number(String),
    /// `true` or `false`.
    Bool(bool),
}

/// A name of the operator's choice and its value.
pub type NamedValue<'i> = (Spanned<String>, Value<'i>);

/// Names and their strings.
pub type Pairs = Vec<(Spanned<String>, Spanned<String>)>;

impl<'i> Value<'i> {
    pub(super) fn new(name: String, presence: Presence, found: Spanned<DeValue<'i>>) -> Self {
        Self { name, presence, is_item: false, found }
    }

    /// Parses the default or example of a declaration. `None` if it is not valid TOML.
    pub(crate) fn parse(name: &str, text: &'static str) -> Option<Value<'static>> {
        let value = DeValue::parse(text).ok()?;
        Some(Value::new(name.to_owned(), Presence::Default(text), value))
    }

    /// The full name of its key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The default or the example of the key, as in the file.
    pub fn example(&self) -> &'static str {
        self.presence.example()
    }

    /// The byte range in the source.
    pub fn span(&self) -> Range<usize> {
        self.found.span()
    }

    /// A problem with the value.
    pub fn problem(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::at(self.span(), message)
    }

    /// A problem with the type of the value. `expected` describes the right type.
    pub fn wrong_type(&self, expected: &str) -> Diagnostic {
        let found = self.found.get_ref();
        let article =
            if matches!(found, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
        let (name, kind) = (&self.name, found.type_str());
        self.problem(format!("expected {expected} for `{name}`, found {article} {kind}"))
    }

    /// The table, if the value is one.
    pub(super) fn as_table(&self) -> Option<&DeTable<'i>> {
        self.found.get_ref().as_table()
    }

    /// The entries of a table, in the order of their names. `None` if the value is not a table.
    pub fn as_entries(&self) -> Option<Vec<NamedValue<'i>>> {
        Some(entries(&self.name, self.as_table()?))
    }

    /// The entries of a table. Reports any other value.
    pub fn entries(&self, cx: &mut Context) -> Option<Vec<NamedValue<'i>>> {
        let entries = self.as_entries();
        if entries.is_none() {
            cx.push(self.wrong_type("a table such as { NAME = \"value\" }"));
        }
        entries
    }

    /// The strings of a table, in the order of their names. Reports any other value.
    pub fn pairs(&self, cx: &mut Context) -> Option<Pairs> {
        let entries = self.entries(cx)?.into_iter();
        Some(entries.filter_map(|(name, value)| Some((name, value.string(cx)?))).collect())
    }

    /// The items of a list. `None` if the value is not a list.
    pub fn as_list(&self) -> Option<Vec<Self>> {
        let item = |found: &Spanned<DeValue<'i>>| Self {
            name: self.name.clone(),
            presence: self.presence,
            is_item: true,
            found: found.clone(),
        };
        Some(self.found.get_ref().as_array()?.iter().map(item).collect())
    }

    /// The items of a non-empty list. Reports any other value.
    pub fn items(&self, cx: &mut Context) -> Option<Vec<Self>> {
        self.items_of("a list of strings", cx)
    }

    /// The value itself if it is a string, or the items of a non-empty list. Reports any other value.
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
            // An empty list is ambiguous: it could mean none or all.
            let otherwise = match self.presence {
                Presence::Required { .. } => String::new(),
                Presence::Default(_) => ", or remove the key".to_owned(),
                Presence::Optional { text, .. } => format!(", or remove the key: {text}"),
            };
            let empty = self.problem(format!("`{}` is an empty list", self.name));
            let hint = format!("list at least one item, such as {}{otherwise}", self.example());
            cx.push(empty.hint(hint));
            return None;
        }
        Some(list)
    }

    /// Reads a string.
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

    /// Reads `true` or `false`.
    pub fn boolean(&self, cx: &mut Context) -> Option<bool> {
        let boolean = self.found.get_ref().as_bool();
        if boolean.is_none() {
            cx.push(self.wrong_type("true or false"));
        }
        boolean
    }

    /// Reads a whole number of at least 1.
    pub fn count(&self, cx: &mut Context) -> Option<usize> {
        let DeValue::Integer(number) = self.found.get_ref() else {
            cx.push(self.wrong_type("a whole number"));
            return None;
        };
        let count = unsigned(number).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        if count.is_none() {
            let message =
                format!("`{}` must be a whole number of at least 1, found {number}", self.name);
            cx.push(self.problem(message));
        }
        count
    }

    /// Reads a size of at least one byte: `"64MiB"`, or a number of bytes.
    pub fn size(&self, cx: &mut Context) -> Option<Spanned<u64>> {
        let size = match self.found.get_ref() {
            DeValue::Integer(number) => unsigned(number).ok_or_else(|| {
                format!("`{number}` is not a size: write a number of bytes, at least 1")
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
            Ok(0) => format!("`{}` must be greater than 0", self.name),
            Ok(size) => return Some(Spanned::new(self.span(), size)),
            Err(fault) => fault,
        };
        cx.push(self.problem(fault));
        None
    }

    /// Reads a duration such as `"24h"`.
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

    /// Reads a duration, or `word`, which is [`Duration::MAX`].
    pub fn duration_or(&self, word: &str, cx: &mut Context) -> Option<Duration> {
        if self.found.get_ref().as_str() == Some(word) {
            return Some(Duration::MAX);
        }
        self.duration(cx)
    }

    /// Reads one of a closed list of words.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)], cx: &mut Context) -> Option<T> {
        let text = self.string(cx)?;
        let word = text.get_ref().as_str();
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == word) {
            return Some(*choice);
        }
        let names: Vec<String> =
            choices.iter().map(|(name, _)| format!("\"{}\"", name.escape_debug())).collect();
        let message = format!("`{}` is not a valid value of `{}`", word.escape_debug(), self.name);
        cx.push(self.problem(message).hint(format!("valid values are {}", names.join(", "))));
        None
    }

    /// Reads a string, a number, `true` or `false`.
    pub fn plain(&self, cx: &mut Context) -> Option<PlainValue> {
        match self.found.get_ref() {
            DeValue::String(text) => Some(PlainValue::String(text.to_string())),
            DeValue::Boolean(flag) => Some(PlainValue::Bool(*flag)),
            DeValue::Integer(_) | DeValue::Float(_) => self.number(cx).map(PlainValue::Number),
            other => {
                let mut problem = self.wrong_type("a string, a number, true or false");
                if matches!(other, DeValue::Datetime(_)) {
                    problem = problem.hint("write a time as in the record, usually in quotes");
                }
                cx.push(problem);
                None
            }
        }
    }

    /// Reads a number. Returns it as in JSON.
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
            let message = format!("`{}` has a number that JSON cannot represent", self.name);
            cx.push(self.problem(message).hint("write it in decimal, such as 500 or 0.25"));
        }
        text
    }
}

/// The entries of the table `name`, in the order of their names.
pub(super) fn entries<'i>(name: &str, table: &DeTable<'i>) -> Vec<NamedValue<'i>> {
    let entry = |(key, value): (&Spanned<Cow<'i, str>>, &Spanned<DeValue<'i>>)| {
        let text = key.get_ref().to_string();
        let value = Value::new(join(name, &text), Presence::Default(""), value.clone());
        (Spanned::new(key.span(), text), value)
    };
    table.iter().map(entry).collect()
}

fn unsigned(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// Converts a number to base 10. `None` if it is written in another base and exceeds the range of `i128`.
fn decimal(number: &DeInteger<'_>) -> Option<String> {
    if number.radix() == 10 {
        return as_json(number.as_str());
    }
    i128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
}

/// Converts a number in base 10 to JSON. `None` for `inf` and `nan`.
fn as_json(text: &str) -> Option<String> {
    let text = text.strip_prefix('+').unwrap_or(text);
    text.ends_with(|last: char| last.is_ascii_digit()).then(|| text.to_owned())
}
