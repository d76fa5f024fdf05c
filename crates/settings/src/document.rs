//! A configuration together with the text that it was read from, so that a check that runs after
//! validation can point at a key.

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
    /// What the text says.
    pub config: C,
    path: PathBuf,
    source: String,
    places: Places,
}

impl<C> Document<C> {
    /// `places` and `config` are those of `source`, which `path` holds.
    pub fn new(config: C, path: &Path, source: String, places: Places) -> Self {
        Self { config, path: path.to_owned(), source, places }
    }

    /// The file, as it was named on the command line.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The value of a key such as `sink.archive.file.path`, or an item of a list such as
    /// `server.address.0`. If the key is not in the file, the table that it belongs to.
    pub fn span(&self, key: &str) -> Option<Range<usize>> {
        self.places.find(key)
    }

    /// The text of each value, by the full name of its key; lists as a whole.
    pub fn texts(&self) -> BTreeMap<String, String> {
        let Places(places) = &self.places;
        let is_item = |key: &str| {
            let last = key.rsplit('.').next().unwrap_or_default();
            last.bytes().all(|byte| byte.is_ascii_digit())
        };
        let is_table = |key: &str| {
            let below = format!("{key}.");
            let mut inner = places.keys().filter(|other| other.starts_with(&below));
            inner.any(|other| !is_item(other))
        };
        let leaves = places.iter().filter(|(key, _)| !is_item(key) && !is_table(key));
        let text = |span: &Range<usize>| self.source.get(span.clone()).unwrap_or_default();
        leaves.map(|(key, span)| (key.clone(), text(span).to_owned())).collect()
    }

    /// Whether the file names the key.
    pub fn has(&self, key: &str) -> bool {
        self.places.0.contains_key(key)
    }

    /// A warning that points at a key, or at the table that the key belongs to.
    pub fn warning(&self, key: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::warning(self.span(key), message)
    }

    /// An error that points at a key, or at the table that the key belongs to.
    pub fn error(&self, key: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic { span: self.span(key), ..Diagnostic::general(message) }
    }

    /// Puts diagnostics of this configuration in order, to be printed with the lines they point at.
    pub fn problems(&self, diagnostics: Vec<Diagnostic>) -> Problems {
        Problems::new(&self.path, self.source.clone(), diagnostics)
    }
}

/// Where each value of a document is, by the full name of its key.
#[derive(Clone, Debug, Default)]
pub struct Places(BTreeMap<String, Range<usize>>);

impl Places {
    /// Names that need quotes belong to configurations that validation refuses.
    pub(crate) fn of(root: &DeTable<'_>) -> Self {
        let mut places = Self::default();
        places.add_table("", root);
        places
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
    fn a_key_is_found_and_a_missing_one_leads_to_its_table() {
        let text = "[a.b]\nc = [1, 22]\n[d]\n";
        let places = Places::of(DeTable::parse(text).unwrap().get_ref());
        let cited = |key: &str| places.find(key).and_then(|span| text.get(span));
        assert_eq!(cited("a.b.c"), Some("[1, 22]"));
        assert_eq!(cited("a.b.c.1"), Some("22"));
        assert_eq!(cited("a.b.x"), Some("[a.b]"));
        assert_eq!(cited("d.x.y"), Some("[d]"));
        assert_eq!(cited("x.y"), None);
    }
}
