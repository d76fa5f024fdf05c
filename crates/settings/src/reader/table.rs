//! Tables: reads declared keys, and reports missing and unknown ones.

use std::{collections::BTreeMap, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Value, join,
    suggestion::{is_near, suggestion},
    value::{NamedValue, entries},
};
use crate::{Context, Diagnostic, Setting, Settings, reference};

/// A table of the file. Reading a key removes it.
#[derive(Debug)]
pub struct Table<'i> {
    /// The full name, such as `queue.main.limits`; empty for the root.
    name: String,
    /// The span of the header or the braces; `None` for the root and for a missing table.
    span: Option<Range<usize>>,
    /// The entries that are not declared.
    entries: DeTable<'i>,
    /// The declared keys in the file.
    found: BTreeMap<&'static str, DeclaredValue<'i>>,
    /// All declared keys, in their order.
    known: Vec<&'static str>,
    /// The declarations of those keys.
    declared: Vec<&'static reference::Table>,
    /// Keys that are missing or have an invalid value.
    faulty: Vec<&'static str>,
    /// Whether all required keys have a valid value.
    is_complete: bool,
    state: TableState,
}

/// The value of a declared key.
#[derive(Debug)]
struct DeclaredValue<'i> {
    span: Range<usize>,
    /// `None` after it was read.
    value: Option<Spanned<DeValue<'i>>>,
}

/// Whether missing keys of a table can be reported.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum TableState {
    /// The table has the content of the file, or is not in the file.
    Reliable,
    /// The table in the file has a misspelled name, or is not a table, which is reported. Keys that are
    /// missing here may be in it.
    Unreliable,
}

impl<'i> Table<'i> {
    pub(super) fn root(entries: DeTable<'i>) -> Self {
        Self::new(String::new(), None, entries)
    }

    /// A table that is not in the file.
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
            is_complete: true,
            state: TableState::Reliable,
        }
    }

    /// Converts a value to a table, if it is one.
    fn of(value: &Value<'i>) -> Option<Self> {
        let table = value.as_table()?.clone();
        Some(Self::new(value.name().to_owned(), Some(value.span()), table))
    }

    /// Declares keys. Keys without a declaration are unknown.
    pub fn declare(&mut self, table: &'static reference::Table) {
        self.declared.push(table);
        self.is_complete = true;
        for item in table.items.iter().filter(|item| !item.name().is_empty()) {
            self.find(item.name());
        }
    }

    fn find(&mut self, key: &'static str) {
        if self.known.contains(&key) {
            return;
        }
        self.known.push(key);
        if let Some(value) = self.entries.remove(key) {
            self.found.insert(key, DeclaredValue { span: value.span(), value: Some(value) });
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Value<'i>> {
        self.find(key);
        let value = self.found.get_mut(key)?.value.take()?;
        let presence = self.key(key).map_or(reference::Presence::Default(""), |key| key.presence);
        Some(Value::new(self.full_name(key), presence, value))
    }

    fn key(&self, name: &str) -> Option<&'static reference::Key> {
        self.declared.iter().find_map(|table| table.key(name))
    }

    /// Reads the value of a key. Returns `None` if it is missing or invalid.
    fn read<T: Setting>(&mut self, key: &'static str, cx: &mut Context) -> Option<T::Output> {
        let read = T::read(&self.take(key)?, cx);
        if read.is_none() {
            self.faulty.push(key);
        }
        read
    }

    /// Reads the default or the example in the declaration of a key.
    fn declared<T: Setting>(&self, key: &'static str, cx: &mut Context) -> Option<T::Output> {
        let text = self.key(key)?.presence.example();
        T::read(&Value::parse(&self.full_name(key), text)?, cx)
    }

    /// Reads the value of a key. If it is missing or invalid, returns the default.
    pub fn value_or_default<T: Setting>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<T::Output> {
        self.read::<T>(key, cx).or_else(|| self.declared::<T>(key, cx))
    }

    /// Reads the value of a key. If it is missing or invalid, returns the default of the type.
    pub fn optional_value<T>(&mut self, key: &'static str, cx: &mut Context) -> T::Output
    where
        T: Setting<Output: Default>,
    {
        self.read::<T>(key, cx).unwrap_or_default()
    }

    /// Reads the value of a required key. If it is missing or invalid, reports that and returns the
    /// example.
    pub fn required_value<T: Setting>(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<T::Output> {
        let read = self.read::<T>(key, cx);
        if read.is_some() {
            return read;
        }
        self.is_complete = false;
        if !self.contains(key) {
            self.faulty.push(key);
            let example = self.key(key).map_or("", |key| key.presence.example());
            self.require(key, &format!("add `{key} = {example}`"), cx);
        }
        self.declared::<T>(key, &mut Context::without_files(cx.dir()))
    }

    /// Reads a table within this one. If it is missing or not a table, it is read as an empty table; with
    /// `must_exist`, the result is `None` instead.
    pub fn section<T: Settings>(
        &mut self,
        key: &'static str,
        must_exist: bool,
        cx: &mut Context,
    ) -> Option<T> {
        let mut table =
            if must_exist { self.optional_table(key, cx)? } else { self.table(key, cx) };
        let settings = T::draft(&mut table, cx);
        self.is_complete &= table.is_complete;
        table.finish(cx);
        settings
    }

    /// Removes a table. A missing table is empty.
    #[must_use]
    pub fn table(&mut self, key: &'static str, cx: &mut Context) -> Self {
        let state = if self.is_missing(key) { self.state } else { TableState::Unreliable };
        self.optional_table(key, cx).unwrap_or_else(|| Self {
            state,
            ..Self::new(self.full_name(key), None, DeTable::new())
        })
    }

    /// Removes a table. Returns `None` if it is missing or not a table.
    pub fn optional_table(&mut self, key: &'static str, cx: &mut Context) -> Option<Self> {
        let header = format!("begin the table with the line [{}]", self.full_name(key));
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

    /// Removes a table of tables with names of the operator's choice, in the order of the names. Reports
    /// the problem `none` if it is empty or missing. `headers` is the header of such a table, for example
    /// `[queue.NAME]`.
    pub fn named_tables(
        &mut self,
        key: &'static str,
        headers: &str,
        none: Diagnostic,
        cx: &mut Context,
    ) -> Vec<(Spanned<String>, Self)> {
        let is_absent = self.is_missing(key);
        let table = self.table_or(key, &format!("begin each table with a line {headers}"), cx);
        if table.as_ref().map_or(is_absent, Self::is_empty) {
            cx.push_incomplete(none);
        }
        let Some(table) = table else { return Vec::new() };
        let named = |(name, value): NamedValue<'i>| {
            let table = Self::of(&value);
            if table.is_none() {
                cx.push(value.wrong_type("a table"));
            }
            Some((name, table?))
        };
        entries(&table.name, &table.entries).into_iter().filter_map(named).collect()
    }

    /// Reads the keys of a declaration that several tables share, as keys of this table.
    pub fn shared<T: Settings>(&mut self, cx: &mut Context) -> Option<T> {
        let was_whole = self.is_complete;
        let settings = T::draft(self, cx);
        self.is_complete &= was_whole;
        settings
    }

    /// The names in a table that has not been removed yet.
    pub fn names_in(&self, key: &str) -> Vec<String> {
        let table = self.entries.get(key).and_then(|value| value.get_ref().as_table());
        table
            .into_iter()
            .flat_map(|table| table.keys())
            .map(|key| key.get_ref().to_string())
            .collect()
    }

    /// Whether the file contains the key in this table.
    pub fn contains(&self, key: &str) -> bool {
        self.found.contains_key(key) || self.entries.contains_key(key)
    }

    /// Whether the table is empty or missing.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty() && self.entries.is_empty()
    }

    /// Whether the file contains the table, with a header or in braces.
    pub fn exists(&self) -> bool {
        self.span.is_some()
    }

    /// Whether all required keys of the last declaration, and of the tables within it, have valid values.
    /// Otherwise some values are examples.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether the value of a key is from the file or is its default. Otherwise the key is missing or
    /// invalid, which has been reported, and its value is an example.
    pub fn is_valid(&self, key: &str) -> bool {
        !self.faulty.contains(&key)
    }

    /// Whether the key is missing, and no unknown key looks like a misspelling of it. [`Table::finish`]
    /// reports a misspelled key, so it is not reported as missing as well.
    pub fn is_missing(&self, key: &str) -> bool {
        self.state == TableState::Reliable
            && !self.found.contains_key(key)
            && !self.entries.keys().any(|found| is_near(found.get_ref(), key))
    }

    /// Reports a missing key.
    pub fn require(&self, key: &str, hint: &str, cx: &mut Context) {
        if self.is_missing(key) {
            cx.push_incomplete(
                self.problem(format!("`{}` is missing", self.full_name(key))).hint(hint),
            );
        }
    }

    /// A problem with the table itself.
    pub fn problem(&self, message: impl Into<String>) -> Diagnostic {
        match &self.span {
            Some(span) => Diagnostic::at(span.clone(), message),
            None => Diagnostic::general(message),
        }
    }

    /// A problem with the value of a key, or with the table if the key is missing.
    pub fn problem_at(&self, key: &str, message: impl Into<String>) -> Diagnostic {
        match self.span_of(key) {
            Some(span) => Diagnostic::at(span, message),
            None => self.problem(message),
        }
    }

    /// The span of the value of a declared key, if it is in the file.
    pub fn span_of(&self, key: &str) -> Option<Range<usize>> {
        self.found.get(key).map(|found| found.span.clone())
    }

    /// The full name of a key of this table.
    pub fn full_name(&self, key: &str) -> String {
        join(&self.name, key)
    }

    /// Reports every unknown key.
    pub fn finish(self, cx: &mut Context) {
        self.finish_explaining("valid keys are", cx);
    }

    /// Reports every unknown key. `introduction` precedes the list of valid keys in the hint.
    pub fn finish_explaining(self, introduction: &str, cx: &mut Context) {
        for key in self.entries.keys() {
            let (span, key) = (key.span(), key.get_ref());
            let table =
                if self.name.is_empty() { String::new() } else { format!(" in `{}`", self.name) };
            let message = format!("unknown key `{}`{table}", key.escape_debug());
            cx.push(Diagnostic::at(span, message).hint(suggestion(key, &self.known, introduction)));
        }
    }
}
