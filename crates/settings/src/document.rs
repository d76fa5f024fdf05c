//! A configuration with its source text, so that checks after validation can refer to a key.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
};

use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Problems};

/// A valid configuration and its source.
#[derive(Clone, Debug)]
pub struct Document<C> {
    /// The configuration.
    pub config: C,
    path: PathBuf,
    source: String,
    spans: KeySpans,
    warnings: Vec<Diagnostic>,
}

impl<C> Document<C> {
    /// Joins a configuration with the text that it was read from, and the warnings of the reader.
    pub fn new(
        config: C,
        path: &Path,
        source: String,
        spans: KeySpans,
        warnings: Vec<Diagnostic>,
    ) -> Self {
        Self { config, path: path.to_owned(), source, spans, warnings }
    }

    /// The warnings of the reader.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// The path as on the command line.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The span of the value of a key such as `sink.archive.file.path`, or of a list item such as
    /// `server.address.0`. If the key is not in the file, the span of the table that it belongs to.
    pub fn span(&self, key: &str) -> Option<Range<usize>> {
        self.spans.find(key)
    }

    /// The source text of each value, by the full name of its key. A list is one value.
    pub fn texts(&self) -> BTreeMap<String, String> {
        let KeySpans(spans) = &self.spans;
        let is_item = |key: &str| {
            let last = key.rsplit('.').next().unwrap_or_default();
            last.bytes().all(|byte| byte.is_ascii_digit())
        };
        let is_table = |key: &str| {
            let below = format!("{key}.");
            let mut inner = spans.keys().filter(|other| other.starts_with(&below));
            inner.any(|other| !is_item(other))
        };
        let leaves = spans.iter().filter(|(key, _)| !is_item(key) && !is_table(key));
        let text = |span: &Range<usize>| self.source.get(span.clone()).unwrap_or_default();
        leaves.map(|(key, span)| (key.clone(), text(span).to_owned())).collect()
    }

    /// A warning at a key, or at the table that the key belongs to.
    pub fn warning(&self, key: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::warning(self.span(key), message)
    }

    /// An error at a key, or at the table that the key belongs to.
    pub fn error(&self, key: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic { span: self.span(key), ..Diagnostic::general(message) }
    }

    /// Joins diagnostics with the source of this configuration, for display.
    pub fn problems(&self, diagnostics: Vec<Diagnostic>) -> Problems {
        Problems::new(&self.path, self.source.clone(), diagnostics)
    }
}

/// The span of each value in a document, by the full name of its key.
#[derive(Clone, Debug, Default)]
pub struct KeySpans(BTreeMap<String, Range<usize>>);

impl KeySpans {
    /// Collects the spans of all values. Names are not quoted, since validation rejects names that need
    /// quotes.
    pub(crate) fn of(root: &DeTable<'_>) -> Self {
        let mut spans = Self::default();
        spans.add_table("", root);
        spans
    }

    fn add_table(&mut self, name: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let key = key.get_ref();
            let name = if name.is_empty() { key.to_string() } else { format!("{name}.{key}") };
            self.add(name, value.span(), value.get_ref());
        }
    }

    fn add(&mut self, name: String, span: Range<usize>, value: &DeValue<'_>) {
        match value {
            DeValue::Table(table) => self.add_table(&name, table),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.add(format!("{name}.{index}"), item.span(), item.get_ref());
                }
            }
            _ => {}
        }
        self.0.insert(name, span);
    }

    fn find(&self, mut key: &str) -> Option<Range<usize>> {
        loop {
            if let Some(span) = self.0.get(key) {
                return Some(span.clone());
            }
            (key, _) = key.rsplit_once('.')?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_span_of_a_missing_key_is_that_of_its_table() {
        let text = "[a.b]\nc = [1, 22]\n[d]\n";
        let spans = KeySpans::of(DeTable::parse(text).unwrap().get_ref());
        let find = |key: &str| spans.find(key).and_then(|span| text.get(span));
        assert_eq!(find("a.b.c"), Some("[1, 22]"));
        assert_eq!(find("a.b.c.1"), Some("22"));
        assert_eq!(find("a.b.x"), Some("[a.b]"));
        assert_eq!(find("d.x.y"), Some("[d]"));
        assert_eq!(find("x.y"), None);
    }
}
