//! A table: which keys were asked for, which are missing, and which nobody knows.

use std::{ops::Range, path::PathBuf, time::Duration};

use toml::{Spanned, de::DeTable};

use super::{
    Value, join,
    suggestion::{is_near, suggestion},
    value::{Entry, Pairs, Strings, entries, pairs},
};
use crate::config::{context::Context, diagnostic::Diagnostic};

/// A table whose keys are taken one by one.
pub(in crate::config) struct Table<'i> {
    /// As the file says it: `sink.archive.file`; empty for the root.
    name: String,
    /// As the documentation says it: `sink.*.file`.
    pattern: String,
    /// The header, or the braces; `None` for the root and for a table that is not there.
    span: Option<Range<usize>>,
    entries: DeTable<'i>,
    asked: Vec<&'static str>,
    origin: Origin,
}

/// What a table stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Origin {
    /// What the file has, if anything.
    File,
    /// Something that is no table, or has a misspelled name. That is reported: what is missing here may be
    /// there.
    Mistake,
}

impl<'i> Table<'i> {
    pub(super) fn root(entries: DeTable<'i>) -> Self {
        Self::new(String::new(), String::new(), None, entries)
    }

    fn new(
        name: String,
        pattern: String,
        span: Option<Range<usize>>,
        entries: DeTable<'i>,
    ) -> Self {
        Self { name, pattern, span, entries, asked: Vec::new(), origin: Origin::File }
    }

    /// The value as a table, if it is one.
    fn of(value: Value<'i>, pattern: String) -> Result<Self, Value<'i>> {
        let span = value.span();
        value.into_table().map(|(name, entries)| Self::new(name, pattern, Some(span), entries))
    }

    fn take(&mut self, key: &'static str) -> Option<Value<'i>> {
        self.asked.push(key);
        self.entries.remove(key).map(|value| Value::new(self.full(key), value))
    }

    /// Takes a table; one that is absent is empty.
    pub(in crate::config) fn table(&mut self, key: &'static str, cx: &mut Context) -> Self {
        let origin = if self.lacks(key) { Origin::File } else { Origin::Mistake };
        self.optional_table(key, cx).unwrap_or_else(|| Self {
            origin,
            ..Self::new(self.full(key), join(&self.pattern, key), None, DeTable::new())
        })
    }

    /// Takes a table that says something by being there.
    pub(in crate::config) fn optional_table(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<Self> {
        let value = self.take(key)?;
        let not_a_table = |value: Value<'_>| {
            let hint = match value.name() {
                "endpoint" => "begin each with a line [endpoint.NAME]".to_owned(),
                "sink" => {
                    "begin each with a line [sink.NAME.file] or [sink.NAME.stdout]".to_owned()
                }
                name => format!("begin it with a line [{name}]"),
            };
            cx.push(value.wrong_type("a table").hint(hint));
        };
        Self::of(value, join(&self.pattern, key)).map_err(not_a_table).ok()
    }

    /// Takes a table of tables whose names the operator chooses, in the order of the names. If there
    /// is not one, that is the problem `none`.
    pub(in crate::config) fn named_tables(
        &mut self,
        key: &'static str,
        none: Diagnostic,
        cx: &mut Context,
    ) -> Vec<(Spanned<String>, Self)> {
        let is_absent = self.lacks(key);
        let table = self.optional_table(key, cx);
        if table.as_ref().map_or(is_absent, Self::is_empty) {
            cx.push_incomplete(none);
        }
        table.map(|table| table.into_tables(cx)).unwrap_or_default()
    }

    fn into_tables(self, cx: &mut Context) -> Vec<(Spanned<String>, Self)> {
        let pattern = join(&self.pattern, "*");
        let table = |(name, value)| match Self::of(value, pattern.clone()) {
            Ok(table) => Some((name, table)),
            Err(value) => {
                cx.push(value.wrong_type("a table"));
                None
            }
        };
        entries(&self.name, self.entries).into_iter().filter_map(table).collect()
    }

    /// Takes a table of values whose names the operator chooses, in the order of the names.
    pub(in crate::config) fn entries(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<Spanned<Vec<Entry<'i>>>> {
        let value = self.take(key)?;
        let span = value.span();
        match value.into_entries() {
            Ok(entries) => Some(Spanned::new(span, entries)),
            Err(value) => {
                cx.push(value.wrong_type("a table such as { NAME = \"value\" }"));
                None
            }
        }
    }

    /// Takes a table of strings whose names the operator chooses, in the order of the names.
    pub(in crate::config) fn string_table(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<Pairs> {
        self.optional_table(key, cx).map(|table| table.into_pairs(cx))
    }

    /// Takes a table of such tables; it has at least one if it is there.
    pub(in crate::config) fn string_tables(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Vec<(Spanned<String>, Pairs)> {
        let Some(table) = self.optional_table(key, cx) else { return Vec::new() };
        if table.is_empty() {
            cx.push_incomplete(table.problem(format!("`{}` is empty", table.name)));
        }
        let tables = table.into_tables(cx);
        tables.into_iter().map(|(name, table)| (name, table.into_pairs(cx))).collect()
    }

    fn into_pairs(self, cx: &mut Context) -> Pairs {
        pairs(entries(&self.name, self.entries), cx)
    }

    /// Takes a string.
    pub(in crate::config) fn string(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<Spanned<String>> {
        self.take(key)?.string(cx)
    }

    /// Takes a list of strings.
    pub(in crate::config) fn strings(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<Strings> {
        self.take(key)?.strings("a list of strings", cx)
    }

    /// Takes a string or a list of them.
    pub(in crate::config) fn string_or_strings(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<Strings> {
        self.take(key)?.string_or_strings(cx)
    }

    /// Takes `true` or `false`.
    pub(in crate::config) fn boolean(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<bool> {
        self.take(key)?.boolean(cx)
    }

    /// Takes a whole number from 1 on.
    pub(in crate::config) fn count(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<usize> {
        self.take(key)?.count(cx)
    }

    /// Takes a size of at least one byte: `"64MiB"`, or a number of bytes.
    pub(in crate::config) fn size(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<Spanned<u64>> {
        self.take(key)?.size(cx)
    }

    /// Takes a duration or this word, which is [`Duration::MAX`].
    pub(in crate::config) fn duration_or(
        &mut self,
        key: &'static str,
        word: &str,
        cx: &mut Context,
    ) -> Option<Duration> {
        self.take(key)?.duration_or(word, cx)
    }

    /// Takes a duration: `"24h"`.
    pub(in crate::config) fn duration(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<Duration> {
        self.take(key)?.duration(cx)
    }

    /// Takes a path; a relative one begins at the folder of the file.
    pub(in crate::config) fn path(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<Spanned<PathBuf>> {
        self.take(key)?.path(cx)
    }

    /// Takes the path of a file that is read: it may be among the credentials.
    pub(in crate::config) fn input(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<Spanned<PathBuf>> {
        self.take(key)?.input(cx)
    }

    /// Takes one of a closed list of words.
    pub(in crate::config) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
        cx: &mut Context,
    ) -> Option<T> {
        self.take(key)?.choice(choices, cx)
    }

    /// The names in a table that is not taken yet.
    pub(in crate::config) fn names_in(&self, key: &str) -> Vec<String> {
        let table = self.entries.get(key).and_then(|value| value.get_ref().as_table());
        table
            .into_iter()
            .flat_map(|table| table.keys())
            .map(|key| key.get_ref().to_string())
            .collect()
    }

    /// Whether the key is there and was not taken.
    pub(in crate::config) fn contains(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether no key is left.
    pub(in crate::config) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether none of the keys that were not taken is this one, or looks like a misspelling of it.
    /// That is reported by [`Table::finish`], and "missing" beside it would be noise.
    pub(in crate::config) fn lacks(&self, key: &str) -> bool {
        self.origin == Origin::File
            && !self.entries.keys().any(|found| is_near(found.get_ref(), key))
    }

    /// Reports a key that is lacking and has no default.
    pub(in crate::config) fn require(&self, key: &str, hint: &str, cx: &mut Context) {
        if self.lacks(key) {
            cx.push_incomplete(self.problem(format!("`{}` is missing", self.full(key))).hint(hint));
        }
    }

    /// A problem with the table itself.
    pub(in crate::config) fn problem(&self, message: impl Into<String>) -> Diagnostic {
        match &self.span {
            Some(span) => Diagnostic::at(span.clone(), message),
            None => Diagnostic::general(message),
        }
    }

    /// The full name of a key of this table.
    pub(in crate::config) fn full(&self, key: &str) -> String {
        join(&self.name, key)
    }

    /// Reports every key that nobody asked for.
    pub(in crate::config) fn finish(self, cx: &mut Context) {
        self.finish_explaining("the keys here are", cx);
    }

    /// The same, with other words before the list of what may stand here.
    pub(in crate::config) fn finish_explaining(self, introduction: &str, cx: &mut Context) {
        #[cfg(test)]
        cx.asked.extend(self.asked.iter().map(|key| join(&self.pattern, key)));
        for key in self.entries.keys() {
            let (span, key) = (key.span(), key.get_ref());
            let place =
                if self.name.is_empty() { String::new() } else { format!(" in `{}`", self.name) };
            let message = format!("unknown key `{}`{place}", key.escape_debug());
            cx.push(Diagnostic::at(span, message).hint(suggestion(key, &self.asked, introduction)));
        }
    }
}
