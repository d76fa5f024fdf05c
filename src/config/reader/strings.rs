//! Tables of strings whose keys the operator chooses.

use toml::Spanned;

use super::Table;
use crate::config::{context::Context, diagnostic::Diagnostic};

/// Keys and values, in the order of the keys.
pub(in crate::config) type Strings = Vec<(Spanned<String>, Spanned<String>)>;

impl Table<'_> {
    /// Takes a table of strings whose names the operator chooses, in the order of the names.
    pub(in crate::config) fn string_table(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<Strings> {
        let table = self.optional_table(key, cx)?;
        Some(table.into_strings(cx))
    }

    /// Takes a table of such tables.
    pub(in crate::config) fn string_tables(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Vec<(Spanned<String>, Strings)> {
        if !self.contains(key) {
            self.asked.push(key);
            return Vec::new();
        }
        let empty = Diagnostic::general(String::new());
        let empty = self.entries.get(key).map_or(empty, |value| {
            Diagnostic::at(value.span(), format!("`{}` is empty", self.full(key)))
        });
        let tables = self.named_tables(key, empty, cx);
        tables.into_iter().map(|(name, table)| (name, table.into_strings(cx))).collect()
    }

    fn into_strings(self, cx: &mut Context) -> Strings {
        let mut strings = Vec::new();
        for (key, value) in &self.entries {
            let name = Spanned::new(key.span(), key.get_ref().to_string());
            if let Some(text) = self.as_string(name.get_ref(), value, "a string", cx) {
                strings.push((name, text));
            }
        }
        strings
    }
}
