//! Reads keys of a TOML document by name and type, and records the span of each.
//!
//! Reading does not stop at the first problem: each one is recorded in the [`Context`]. A [`Table`]
//! returns [`Value`]s by key, and a value converts itself to a type. The declarations of the keys give
//! the values their meaning.
//!
//! [`Context`]: crate::Context

mod path;
mod suggestion;
mod syntax;
mod table;
mod value;

use toml::de::DeTable;

use crate::{diagnostic::Diagnostic, document::KeySpans};

pub(crate) use self::path::open_regular;
pub use self::{
    path::check_readable,
    suggestion::{nearest, suggestion},
    table::Table,
    value::{NamedValue, Pairs, PlainValue, Value},
};

/// Parses as much of `source` as possible. Returns the root table, the spans of its values, and the syntax
/// errors.
pub fn parse(source: &str) -> (Table<'_>, KeySpans, Vec<Diagnostic>) {
    let (document, errors) = DeTable::parse_recoverable(source);
    let spans = KeySpans::of(document.get_ref());
    (Table::root(document.into_inner()), spans, syntax::problems(source, &errors))
}

/// The full name of a key for display. A quoted key may contain any character, so it is escaped.
fn join(table: &str, key: &str) -> String {
    let key = key.escape_debug();
    if table.is_empty() { key.to_string() } else { format!("{table}.{key}") }
}
