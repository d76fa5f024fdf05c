//! A value: what it can be read as, and what to say if it is something else.

use std::{ops::Range, time::Duration};

use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use super::join;
use crate::{
    config::{
        context::Context,
        diagnostic::Diagnostic,
        units::{parse_bytes, parse_duration},
    },
    select::Scalar,
};

/// A value, and the full name of the key that it stands behind. An item of a list has that of the list.
pub(in crate::config) struct Value<'i> {
    name: String,
    value: Spanned<DeValue<'i>>,
}

/// A name of the operator's choosing, and what stands behind it.
pub(in crate::config) type Entry<'i> = (Spanned<String>, Value<'i>);

/// A list of strings.
pub(in crate::config) type Strings = Spanned<Vec<Spanned<String>>>;

/// Names and strings.
pub(in crate::config) type Pairs = Vec<(Spanned<String>, Spanned<String>)>;

impl<'i> Value<'i> {
    pub(super) fn new(name: String, value: Spanned<DeValue<'i>>) -> Self {
        Self { name, value }
    }

    pub(in crate::config) fn name(&self) -> &str {
        &self.name
    }

    pub(in crate::config) fn span(&self) -> Range<usize> {
        self.value.span()
    }

    /// A problem with the value.
    pub(in crate::config) fn problem(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::at(self.span(), message)
    }

    pub(super) fn wrong_type(&self, expected: &str) -> Diagnostic {
        let found = self.value.get_ref();
        let article =
            if matches!(found, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
        let (name, kind) = (&self.name, found.type_str());
        self.problem(format!("expected {expected} for `{name}`, found {article} {kind}"))
    }

    /// Its name and its keys, if it is a table.
    pub(super) fn into_table(self) -> Result<(String, DeTable<'i>), Self> {
        let span = self.span();
        match self.value.into_inner() {
            DeValue::Table(table) => Ok((self.name, table)),
            other => Err(Self::new(self.name, Spanned::new(span, other))),
        }
    }

    /// What is in it, if it is a table, in the order of the names.
    pub(in crate::config) fn into_entries(self) -> Result<Vec<Entry<'i>>, Self> {
        self.into_table().map(|(name, table)| entries(&name, table))
    }

    /// What is in it, if it is a list.
    pub(in crate::config) fn into_list(self) -> Result<Vec<Self>, Self> {
        let span = self.span();
        match self.value.into_inner() {
            DeValue::Array(items) => {
                let item = |item| Self::new(self.name.clone(), item);
                Ok(items.into_iter().map(item).collect())
            }
            other => Err(Self::new(self.name, Spanned::new(span, other))),
        }
    }

    /// A string.
    pub(in crate::config) fn string(&self, cx: &mut Context) -> Option<Spanned<String>> {
        self.text("a string", cx)
    }

    fn text(&self, expected: &str, cx: &mut Context) -> Option<Spanned<String>> {
        let text = self.value.get_ref().as_str();
        if text.is_none() {
            cx.push(self.wrong_type(expected));
        }
        text.map(|text| Spanned::new(self.span(), text.to_owned()))
    }

    /// A list of strings; `expected` is what to call that.
    pub(super) fn strings(self, expected: &str, cx: &mut Context) -> Option<Strings> {
        let span = self.span();
        let list = self.into_list().map_err(|value| cx.push(value.wrong_type(expected))).ok()?;
        let strings: Vec<_> =
            list.iter().filter_map(|item| item.text("only strings", cx)).collect();
        (strings.len() == list.len()).then(|| Spanned::new(span, strings))
    }

    /// A string or a list of them.
    pub(super) fn string_or_strings(self, cx: &mut Context) -> Option<Strings> {
        if self.value.get_ref().is_str() {
            let string = self.string(cx)?;
            return Some(Spanned::new(string.span(), vec![string]));
        }
        self.strings("a string or a list of strings", cx)
    }

    /// `true` or `false`.
    pub(in crate::config) fn boolean(&self, cx: &mut Context) -> Option<bool> {
        let boolean = self.value.get_ref().as_bool();
        if boolean.is_none() {
            cx.push(self.wrong_type("true or false"));
        }
        boolean
    }

    /// A whole number from 1 on.
    pub(super) fn count(&self, cx: &mut Context) -> Option<usize> {
        let DeValue::Integer(number) = self.value.get_ref() else {
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
    pub(super) fn size(&self, cx: &mut Context) -> Option<Spanned<u64>> {
        let size = match self.value.get_ref() {
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
    pub(super) fn duration(&self, cx: &mut Context) -> Option<Duration> {
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
    pub(super) fn duration_or(&self, word: &str, cx: &mut Context) -> Option<Duration> {
        if self.value.get_ref().as_str() == Some(word) {
            return Some(Duration::MAX);
        }
        self.duration(cx)
    }

    /// One of a closed list of words.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)], cx: &mut Context) -> Option<T> {
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
    pub(in crate::config) fn scalar(&self, cx: &mut Context) -> Option<Scalar> {
        match self.value.get_ref() {
            DeValue::String(text) => Some(Scalar::String(text.to_string())),
            DeValue::Boolean(flag) => Some(Scalar::Bool(*flag)),
            DeValue::Integer(_) | DeValue::Float(_) => self.number(cx).map(Scalar::Number),
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
    pub(in crate::config) fn number(&self, cx: &mut Context) -> Option<String> {
        let text = match self.value.get_ref() {
            DeValue::Integer(number) => decimal(number),
            DeValue::Float(number) => plain(number.as_str()),
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
pub(super) fn entries<'i>(name: &str, table: DeTable<'i>) -> Vec<Entry<'i>> {
    let entry = |(key, value): (Spanned<_>, _)| {
        let span = key.span();
        let key = String::from(key.into_inner());
        let value = Value::new(join(name, &key), value);
        (Spanned::new(span, key), value)
    };
    table.into_iter().map(entry).collect()
}

/// The entries that are strings.
pub(in crate::config) fn pairs(entries: Vec<Entry<'_>>, cx: &mut Context) -> Pairs {
    entries.into_iter().filter_map(|(name, value)| Some((name, value.string(cx)?))).collect()
}

fn unsigned(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// The number in base 10. `None` if it is written in another and does not fit.
fn decimal(number: &DeInteger<'_>) -> Option<String> {
    if number.radix() == 10 {
        return plain(number.as_str());
    }
    i128::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
}

/// `None` for `inf` and `nan`.
fn plain(text: &str) -> Option<String> {
    let text = text.strip_prefix('+').unwrap_or(text);
    text.ends_with(|last: char| last.is_ascii_digit()).then(|| text.to_owned())
}
