//! Tables whose keys are names of the operator's choosing, and the values that stand in them.

use std::borrow::Cow;

use toml::{
    Spanned,
    de::{DeInteger, DeValue},
};

use super::{Table, join, wrong_type};
use crate::config::{Scalar, context::Context, diagnostic::Diagnostic};

/// What a key of such a table holds.
pub(in crate::config) type Entry<'i> = (Spanned<String>, Spanned<DeValue<'i>>);

impl<'i> Table<'i> {
    /// The names in a table that is not taken yet.
    pub(in crate::config) fn names_in(&self, key: &str) -> Vec<String> {
        let table = self.entries.get(key).and_then(|value| value.get_ref().as_table());
        table
            .into_iter()
            .flat_map(|table| table.keys())
            .map(|key| key.get_ref().to_string())
            .collect()
    }

    /// Takes a table of names and values, in the order of the names.
    pub(in crate::config) fn entries(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<Spanned<Vec<Entry<'i>>>> {
        let value = self.take(key)?;
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(entries) => {
                let name = |key: Spanned<Cow<'_, str>>| {
                    Spanned::new(key.span(), key.into_inner().into_owned())
                };
                let entries = entries.into_iter().map(|(key, value)| (name(key), value));
                Some(Spanned::new(span, entries.collect()))
            }
            other => {
                let expected = "a table such as { NAME = \"value\" }";
                cx.push(wrong_type(expected, &self.full(key), span, &other));
                None
            }
        }
    }

    /// The value of an entry of the table `key` as a string.
    pub(in crate::config) fn entry_string(
        &self,
        key: &str,
        (name, value): &Entry<'_>,
        cx: &mut Context,
    ) -> Option<Spanned<String>> {
        self.as_string(&join(key, name.get_ref()), value, "a string", cx)
    }
}

/// A string, a number, `true` or `false`. A problem is pushed if it is anything else.
pub(in crate::config) fn scalar(
    name: &str,
    value: &Spanned<DeValue<'_>>,
    cx: &mut Context,
) -> Option<Scalar> {
    match value.get_ref() {
        DeValue::String(text) => Some(Scalar::String(text.to_string())),
        DeValue::Boolean(flag) => Some(Scalar::Bool(*flag)),
        DeValue::Integer(_) | DeValue::Float(_) => number(name, value, cx).map(Scalar::Number),
        other => {
            let expected = "a string, a number, true or false";
            let mut problem = wrong_type(expected, name, value.span(), other);
            if matches!(other, DeValue::Datetime(_)) {
                problem = problem.hint("write a time as the record has it, mostly in quotes");
            }
            cx.push(problem);
            None
        }
    }
}

/// `true` or `false`. A problem is pushed if it is anything else.
pub(in crate::config) fn flag(
    name: &str,
    value: &Spanned<DeValue<'_>>,
    cx: &mut Context,
) -> Option<bool> {
    let flag = value.get_ref().as_bool();
    if flag.is_none() {
        cx.push(wrong_type("true or false", name, value.span(), value.get_ref()));
    }
    flag
}

/// A number, as JSON would write it. A problem is pushed if it is anything else.
pub(in crate::config) fn number(
    name: &str,
    value: &Spanned<DeValue<'_>>,
    cx: &mut Context,
) -> Option<String> {
    let text = match value.get_ref() {
        DeValue::Integer(number) => decimal(number),
        DeValue::Float(number) => plain(number.as_str()),
        other => {
            cx.push(wrong_type("a number", name, value.span(), other));
            return None;
        }
    };
    if text.is_none() {
        let message = format!("no record holds the number that stands here for `{name}`");
        cx.push(Diagnostic::at(value.span(), message).hint("write it in decimal, as 500 or 0.25"));
    }
    text
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
