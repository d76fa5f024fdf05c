//! A table: which keys it has, which are missing, and which nobody knows.

use std::{collections::BTreeMap, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Value, join,
    suggestion::{is_near, suggestion},
    value::{Entry, entries},
};
use crate::{Context, Diagnostic, Setting, Settings, reference};

/// A table of the file, of which keys are taken.
#[derive(Debug)]
pub struct Table<'i> {
    /// As the file says it: `queue.main.limits`; empty for the root.
    name: String,
    /// The header, or the braces; `None` for the root and for a table that is not there.
    span: Option<Range<usize>>,
    /// What nobody has asked for so far.
    entries: DeTable<'i>,
    /// The keys that were asked for and are there.
    found: BTreeMap<&'static str, Found<'i>>,
    /// The keys that were asked for, in that order.
    known: Vec<&'static str>,
    /// The declarations of those keys.
    declared: Vec<&'static reference::Table>,
    /// Keys that are missing, or have a value that cannot be read.
    faulty: Vec<&'static str>,
    /// Whether no example stands in for a required key.
    is_whole: bool,
    origin: Origin,
}

/// The value of a key.
#[derive(Debug)]
struct Found<'i> {
    span: Range<usize>,
    /// `None` once it was read.
    value: Option<Spanned<DeValue<'i>>>,
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
        Self::new(String::new(), None, entries)
    }

    /// A table that is not there.
    pub(crate) fn absent() -> Self {
        Self::root(DeTable::new())
    }

    fn new(name: String, span: Option<Range<usize>>, entries: DeTable<'i>) -> Self {
        Self {
            name,
            span,
            entries,
            found: BTreeMap::new(),
            known: Vec::new(),
            declared: Vec::new(),
            faulty: Vec::new(),
            is_whole: true,
            origin: Origin::File,
        }
    }

    /// The value as a table, if it is one.
    fn of(value: &Value<'i>) -> Option<Self> {
        let table = value.as_table()?.clone();
        Some(Self::new(value.name().to_owned(), Some(value.span()), table))
    }

    /// Sets the keys of a declaration aside. What is left is unknown.
    pub fn claim(&mut self, table: &'static reference::Table) {
        self.declared.push(table);
        self.is_whole = true;
        for entry in table.entries.iter().filter(|entry| !entry.name().is_empty()) {
            self.find(entry.name());
        }
    }

    fn find(&mut self, key: &'static str) {
        if self.known.contains(&key) {
            return;
        }
        self.known.push(key);
        if let Some(value) = self.entries.remove(key) {
            self.found.insert(key, Found { span: value.span(), value: Some(value) });
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Value<'i>> {
        self.find(key);
        let value = self.found.get_mut(key)?.value.take()?;
        let without = self.key(key).map_or(reference::Without::Default(""), |key| key.without);
        Some(Value::new(self.full(key), without, value))
    }

    fn key(&self, name: &str) -> Option<&'static reference::Key> {
        self.declared.iter().find_map(|table| table.key(name))
    }

    /// The value of a key, or nothing if it is not there or cannot be read.
    fn read<T: Setting>(&mut self, key: &'static str, cx: &mut Context) -> Option<T::Output> {
        let read = T::read(&self.take(key)?, cx);
        if read.is_none() {
            self.faulty.push(key);
        }
        read
    }

    /// What the declaration has for a key: its default, or its example.
    fn declared<T: Setting>(&self, key: &'static str, cx: &mut Context) -> Option<T::Output> {
        let text = self.key(key)?.without.example();
        T::read(&Value::parse(&self.full(key), text)?, cx)
    }

    /// The value of a key, or its default.
    pub fn value_or_default<T: Setting>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<T::Output> {
        self.read::<T>(key, cx).or_else(|| self.declared::<T>(key, cx))
    }

    /// The value of a key, or the default of its type.
    pub fn optional_value<T>(&mut self, key: &'static str, cx: &mut Context) -> T::Output
    where
        T: Setting<Output: Default>,
    {
        self.read::<T>(key, cx).unwrap_or_default()
    }

    /// Returns the value of a key. If the key is missing or its value cannot be read, reports that and
    /// returns the key's example.
    pub fn required_value<T: Setting>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<T::Output> {
        let read = self.read::<T>(key, cx);
        if read.is_some() {
            return read;
        }
        self.is_whole = false;
        if !self.contains(key) {
            self.faulty.push(key);
            let example = self.key(key).map_or("", |key| key.without.example());
            self.require(key, &format!("add `{key} = {example}`"), cx);
        }
        self.declared::<T>(key, &mut Context::of_text(cx.folder()))
    }

    /// The keys of a table within this one. One that is missing is empty; `demands` says whether it has to be a
    /// table, if it is there, for there to be anything.
    pub fn section<T: Settings>(
        &mut self,
        key: &'static str,
        demands: bool,
        cx: &mut Context,
    ) -> Option<T> {
        let mut table = if demands { self.optional_table(key, cx)? } else { self.table(key, cx) };
        let settings = T::draft(&mut table, cx);
        self.is_whole &= table.is_whole;
        table.finish(cx);
        settings
    }

    /// Takes a table; one that is absent is empty.
    #[must_use]
    pub fn table(&mut self, key: &'static str, cx: &mut Context) -> Self {
        let origin = if self.lacks(key) { self.origin } else { Origin::Mistake };
        self.optional_table(key, cx)
            .unwrap_or_else(|| Self { origin, ..Self::new(self.full(key), None, DeTable::new()) })
    }

    /// Takes a table that says something by being there.
    pub fn optional_table(&mut self, key: &'static str, cx: &mut Context) -> Option<Self> {
        let header = format!("begin it with a line [{}]", self.full(key));
        self.table_or(key, &header, cx)
    }

    fn table_or(&mut self, key: &'static str, hint: &str, cx: &mut Context) -> Option<Self> {
        let value = self.take(key)?;
        let table = Self::of(&value);
        if table.is_none() {
            cx.push(value.wrong_type("a table").hint(hint));
        }
        table
    }

    /// Takes a table of tables whose names the operator chooses, in the order of the names. If there
    /// is not one, that is the problem `none`. `headers` is how such a table begins, as `[queue.NAME]`.
    pub fn named_tables(
        &mut self,
        key: &'static str,
        headers: &str,
        none: Diagnostic,
        cx: &mut Context,
    ) -> Vec<(Spanned<String>, Self)> {
        let is_absent = self.lacks(key);
        let table = self.table_or(key, &format!("begin each with a line {headers}"), cx);
        if table.as_ref().map_or(is_absent, Self::is_empty) {
            cx.push_incomplete(none);
        }
        let Some(table) = table else { return Vec::new() };
        let named = |(name, value): Entry<'i>| {
            let table = Self::of(&value);
            if table.is_none() {
                cx.push(value.wrong_type("a table"));
            }
            Some((name, table?))
        };
        entries(&table.name, &table.entries).into_iter().filter_map(named).collect()
    }

    /// The keys of a declaration that several tables share, as keys of this table.
    pub fn shared<T: Settings>(&mut self, cx: &mut Context) -> Option<T> {
        let was_whole = self.is_whole;
        let settings = T::draft(self, cx);
        self.is_whole &= was_whole;
        settings
    }

    /// The names in a table that is not taken yet.
    pub fn names_in(&self, key: &str) -> Vec<String> {
        let table = self.entries.get(key).and_then(|value| value.get_ref().as_table());
        table
            .into_iter()
            .flat_map(|table| table.keys())
            .map(|key| key.get_ref().to_string())
            .collect()
    }

    /// Whether the file has the key here.
    pub fn contains(&self, key: &str) -> bool {
        self.found.contains_key(key) || self.entries.contains_key(key)
    }

    /// Whether the file has nothing here.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty() && self.entries.is_empty()
    }

    /// Whether the file has the table, by a header or in braces.
    pub fn is_there(&self) -> bool {
        self.span.is_some()
    }

    /// Whether no example stands in for a required key of the last declaration, or of a table within it.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Whether the value of a key is one that the operator wrote or left to the default: not if it is
    /// missing or wrong, which has been reported.
    pub fn is_sound(&self, key: &str) -> bool {
        !self.faulty.contains(&key)
    }

    /// Whether the key is not there, nor anything unknown that looks like a misspelling of it. That is
    /// reported by [`Table::finish`], and "missing" beside it would be noise.
    pub fn lacks(&self, key: &str) -> bool {
        self.origin == Origin::File
            && !self.found.contains_key(key)
            && !self.entries.keys().any(|found| is_near(found.get_ref(), key))
    }

    /// Reports a key that is lacking.
    pub fn require(&self, key: &str, hint: &str, cx: &mut Context) {
        if self.lacks(key) {
            cx.push_incomplete(self.problem(format!("`{}` is missing", self.full(key))).hint(hint));
        }
    }

    /// A problem with the table itself.
    pub fn problem(&self, message: impl Into<String>) -> Diagnostic {
        match &self.span {
            Some(span) => Diagnostic::at(span.clone(), message),
            None => Diagnostic::general(message),
        }
    }

    /// A problem with the value of a key; with the table, if the key is not there.
    pub fn problem_at(&self, key: &str, message: impl Into<String>) -> Diagnostic {
        match self.span_of(key) {
            Some(span) => Diagnostic::at(span, message),
            None => self.problem(message),
        }
    }

    /// Where the value of a key is, if it was taken.
    pub fn span_of(&self, key: &str) -> Option<Range<usize>> {
        self.found.get(key).map(|found| found.span.clone())
    }

    /// The full name of a key of this table.
    pub fn full(&self, key: &str) -> String {
        join(&self.name, key)
    }

    /// Reports every key that nobody asked for.
    pub fn finish(self, cx: &mut Context) {
        self.finish_explaining("the keys here are", cx);
    }

    /// The same, with other words before the list of what may stand here.
    pub fn finish_explaining(self, introduction: &str, cx: &mut Context) {
        for key in self.entries.keys() {
            let (span, key) = (key.span(), key.get_ref());
            let place =
                if self.name.is_empty() { String::new() } else { format!(" in `{}`", self.name) };
            let message = format!("unknown key `{}`{place}", key.escape_debug());
            cx.push(Diagnostic::at(span, message).hint(suggestion(key, &self.known, introduction)));
        }
    }
}
