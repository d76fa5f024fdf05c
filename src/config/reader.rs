//! Takes keys out of a TOML document by name and type, and keeps the place of each.
//!
//! Nothing here fails at the first problem: whatever is wrong is pushed to the [`Context`] and the
//! reading goes on. A [`Table`] knows which keys were asked for; what is left in the end is unknown.
//! What the values mean is the business of `validate`.

pub(super) mod entries;
mod inputs;
mod strings;

use std::{ops::Range, path::PathBuf, time::Duration};

use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use super::{
    context::{Context, line},
    diagnostic::Diagnostic,
    units::{parse_bytes, parse_duration},
};

/// Parses as much of `source` as can be: the root table, and what is wrong with the syntax.
pub(super) fn parse(source: &str) -> (Table<'_>, Vec<Diagnostic>) {
    let (document, errors) = DeTable::parse_recoverable(source);
    let mut syntax: Vec<Diagnostic> =
        errors.iter().map(|error| syntax_problem(source, error)).collect();
    // Once it has lost its way in a line, the parser finds more in it that nobody wrote.
    syntax.dedup_by_key(|problem| line(source, problem));
    (Table::new(String::new(), String::new(), None, document.into_inner()), syntax)
}

fn syntax_problem(source: &str, error: &toml::de::Error) -> Diagnostic {
    const QUOTES: &str = "text stands in quotes, as in address = \"0.0.0.0:8443\"";
    let Some(span) = error.span() else {
        return Diagnostic::general(format!("not valid TOML: {}", error.message()));
    };
    let message = error.message();
    let message = message.strip_suffix(", expected nothing").unwrap_or(message);
    if message == "duplicate key" {
        let key = source.get(span.clone()).unwrap_or_default();
        return Diagnostic::at(span, format!("`{}` stands here a second time", key.escape_debug()))
            .hint("a key or a table may stand only once: merge the two, or rename one");
    }
    let problem = Diagnostic::at(span, format!("not valid TOML: {message}"));
    if message.starts_with("string values must be quoted")
        || ["float", "integer", "datetime", "date-time"]
            .iter()
            .any(|kind| message.starts_with("invalid ") && message.contains(kind))
    {
        problem.hint(QUOTES)
    } else if message.starts_with("missing comma between array") {
        problem.hint("perhaps a list further up is never closed with `]`")
    } else {
        problem
    }
}

/// A table whose keys are taken one by one.
pub(super) struct Table<'i> {
    /// As the file says it: `sink.archive.file`; empty for the root.
    name: String,
    /// As the documentation says it: `sink.*.file`.
    pattern: String,
    /// The header, or the braces; `None` for the root and for a table that is not there.
    span: Option<Range<usize>>,
    entries: DeTable<'i>,
    asked: Vec<&'static str>,
}

impl<'i> Table<'i> {
    fn new(
        name: String,
        pattern: String,
        span: Option<Range<usize>>,
        entries: DeTable<'i>,
    ) -> Self {
        Self { name, pattern, span, entries, asked: Vec::new() }
    }

    /// Takes a table; one that is absent is empty.
    pub(super) fn table(&mut self, key: &'static str, cx: &mut Context) -> Self {
        self.optional_table(key, cx).unwrap_or_else(|| {
            Self::new(self.full(key), join(&self.pattern, key), None, DeTable::new())
        })
    }

    /// Takes a table that says something by being there.
    pub(super) fn optional_table(&mut self, key: &'static str, cx: &mut Context) -> Option<Self> {
        let value = self.take(key)?;
        let (name, pattern) = (self.full(key), join(&self.pattern, key));
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(entries) => Some(Self::new(name, pattern, Some(span), entries)),
            other => {
                let hint = match name.as_str() {
                    "endpoint" => "begin each with a line [endpoint.NAME]".to_owned(),
                    "sink" => {
                        "begin each with a line [sink.NAME.file] or [sink.NAME.stdout]".to_owned()
                    }
                    _ => format!("begin it with a line [{name}]"),
                };
                cx.push(wrong_type("a table", &name, span, &other).hint(hint));
                None
            }
        }
    }

    /// Takes a table of tables whose names the operator chooses, in the order of the names. If there
    /// is not one, that is the problem `none`.
    pub(super) fn named_tables(
        &mut self,
        key: &'static str,
        none: Diagnostic,
        cx: &mut Context,
    ) -> Vec<(Spanned<String>, Self)> {
        let is_absent = !self.contains(key) && !self.is_misspelt(key);
        let table = self.optional_table(key, cx);
        if table.as_ref().map_or(is_absent, Self::is_empty) {
            cx.push_incomplete(none);
        }
        let Some(table) = table else { return Vec::new() };
        let pattern = join(&table.pattern, "*");
        let mut tables = Vec::new();
        for (key, value) in table.entries {
            let name = join(&table.name, key.get_ref());
            let span = value.span();
            match value.into_inner() {
                DeValue::Table(entries) => tables.push((
                    Spanned::new(key.span(), key.get_ref().to_string()),
                    Self::new(name, pattern.clone(), Some(span), entries),
                )),
                other => cx.push(wrong_type("a table", &name, span, &other)),
            }
        }
        tables
    }

    /// Takes a string.
    pub(super) fn string(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<Spanned<String>> {
        let value = self.take(key)?;
        self.as_string(key, &value, "a string", cx)
    }

    /// Takes a list of strings.
    pub(super) fn strings(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<Spanned<Vec<Spanned<String>>>> {
        let value = self.take(key)?;
        self.as_strings(key, &value, "a list of strings", cx)
    }

    /// Takes a string or a list of them.
    pub(super) fn string_or_strings(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<Spanned<Vec<Spanned<String>>>> {
        let value = self.take(key)?;
        if value.get_ref().is_str() {
            let string = self.as_string(key, &value, "a string", cx)?;
            return Some(Spanned::new(string.span(), vec![string]));
        }
        self.as_strings(key, &value, "a string or a list of strings", cx)
    }

    /// Takes `true` or `false`.
    pub(super) fn boolean(&mut self, key: &'static str, cx: &mut Context) -> Option<bool> {
        let value = self.take(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            cx.push(wrong_type("true or false", &self.full(key), value.span(), value.get_ref()));
        }
        flag
    }

    /// Takes a whole number from 1 on.
    pub(super) fn count(&mut self, key: &'static str, cx: &mut Context) -> Option<usize> {
        let value = self.take(key)?;
        let name = self.full(key);
        let DeValue::Integer(number) = value.get_ref() else {
            cx.push(wrong_type("a whole number", &name, value.span(), value.get_ref()));
            return None;
        };
        let count = unsigned(number).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        if count.is_none() {
            let message = format!("`{name}` must be a whole number from 1 on, found {number}");
            cx.push(Diagnostic::at(value.span(), message));
        }
        count
    }

    /// Takes a size of at least one byte: `"64MiB"`, or a number of bytes.
    pub(super) fn size(&mut self, key: &'static str, cx: &mut Context) -> Option<Spanned<u64>> {
        let value = self.take(key)?;
        let name = self.full(key);
        let size = match value.get_ref() {
            DeValue::Integer(number) => unsigned(number).ok_or_else(|| {
                format!("`{number}` is not a size: write a number of bytes from 1 on")
            }),
            DeValue::String(text) => {
                parse_bytes(text).map_err(|reason| format!("`{}` {reason}", text.escape_debug()))
            }
            other => {
                cx.push(wrong_type("a size such as \"64MiB\"", &name, value.span(), other));
                return None;
            }
        };
        match size {
            Ok(0) => {
                cx.push(Diagnostic::at(value.span(), format!("`{name}` must be more than 0")));
                None
            }
            Ok(size) => Some(Spanned::new(value.span(), size)),
            Err(message) => {
                cx.push(Diagnostic::at(value.span(), message));
                None
            }
        }
    }

    /// Takes a duration: `"24h"`.
    pub(super) fn duration(&mut self, key: &'static str, cx: &mut Context) -> Option<Duration> {
        let value = self.take(key)?;
        let text = self.as_string(key, &value, "a duration such as \"24h\"", cx)?;
        match parse_duration(text.get_ref()) {
            Ok(duration) => Some(duration),
            Err(reason) => {
                let message = format!("`{}` {reason}", text.get_ref().escape_debug());
                cx.push(Diagnostic::at(text.span(), message));
                None
            }
        }
    }

    /// Takes a path; a relative one begins at the folder of the file.
    pub(super) fn path(&mut self, key: &'static str, cx: &mut Context) -> Option<Spanned<PathBuf>> {
        let text = self.string(key, cx)?;
        if text.get_ref().is_empty() || text.get_ref().contains(char::is_control) {
            let message = format!("`{}` is not a usable path", self.full(key));
            cx.push(Diagnostic::at(text.span(), message));
            return None;
        }
        let (folder, rest) = cx.begin(text.get_ref());
        Some(Spanned::new(text.span(), folder.join(rest)))
    }

    /// Takes one of a closed list of words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
        cx: &mut Context,
    ) -> Option<T> {
        let text = self.string(key, cx)?;
        let word = text.get_ref().as_str();
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == word) {
            return Some(*choice);
        }
        let names: Vec<String> =
            choices.iter().map(|(name, _)| format!("\"{}\"", name.escape_debug())).collect();
        let message = format!("`{}` is not a value of `{}`", word.escape_debug(), self.full(key));
        cx.push(
            Diagnostic::at(text.span(), message)
                .hint(format!("the values are {}", names.join(", "))),
        );
        None
    }

    /// Whether the key is there and was not taken.
    pub(super) fn contains(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether no key is left.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a key that was not taken looks like a misspelling of this one. That is reported by
    /// [`Table::finish`], and "missing" beside it would be noise.
    pub(super) fn is_misspelt(&self, key: &str) -> bool {
        self.entries.keys().any(|found| found.get_ref() != key && is_near(found.get_ref(), key))
    }

    /// A problem with the table itself.
    pub(super) fn problem(&self, message: impl Into<String>) -> Diagnostic {
        match &self.span {
            Some(span) => Diagnostic::at(span.clone(), message),
            None => Diagnostic::general(message),
        }
    }

    /// The full name of a key of this table.
    pub(super) fn full(&self, key: &str) -> String {
        join(&self.name, key)
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self, cx: &mut Context) {
        self.finish_explaining("the keys here are", cx);
    }

    /// The same, with other words before the list of what may stand here.
    pub(super) fn finish_explaining(self, introduction: &str, cx: &mut Context) {
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

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'i>>> {
        self.asked.push(key);
        self.entries.remove(key)
    }

    fn as_string(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        expected: &str,
        cx: &mut Context,
    ) -> Option<Spanned<String>> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            cx.push(wrong_type(expected, &self.full(key), value.span(), value.get_ref()));
        }
        text.map(|text| Spanned::new(value.span(), text.to_owned()))
    }

    fn as_strings(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        expected: &str,
        cx: &mut Context,
    ) -> Option<Spanned<Vec<Spanned<String>>>> {
        let DeValue::Array(items) = value.get_ref() else {
            cx.push(wrong_type(expected, &self.full(key), value.span(), value.get_ref()));
            return None;
        };
        let strings: Vec<_> =
            items.iter().filter_map(|item| self.as_string(key, item, "only strings", cx)).collect();
        (strings.len() == items.len()).then(|| Spanned::new(value.span(), strings))
    }
}

/// "did you mean" if a name is near, else all of them.
pub(super) fn suggestion(found: &str, names: &[&str], otherwise: &str) -> String {
    let near = names
        .iter()
        .filter(|name| is_near(found, name))
        .min_by_key(|name| strsim::damerau_levenshtein(found, name));
    match near {
        Some(name) => format!("did you mean `{name}`?"),
        None if names.is_empty() => "leave it out: this table has no keys".into(),
        None => format!("{otherwise} `{}`", names.join("`, `")),
    }
}

fn is_near(found: &str, name: &str) -> bool {
    // As rustc: one slip in three letters.
    let slips = (found.len().max(name.len()) / 3).max(1);
    found.len() < 80
        && strsim::damerau_levenshtein(&found.to_ascii_lowercase(), &name.to_ascii_lowercase())
            <= slips
}

fn wrong_type(expected: &str, name: &str, span: Range<usize>, found: &DeValue<'_>) -> Diagnostic {
    let article = if matches!(found, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
    let kind = found.type_str();
    Diagnostic::at(span, format!("expected {expected} for `{name}`, found {article} {kind}"))
}

fn unsigned(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn join(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}
