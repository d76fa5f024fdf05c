//! Takes keys out of a TOML document by name and type, and keeps the place of each.
//!
//! Nothing here fails at the first problem: whatever is wrong is pushed to the [`Context`] and the
//! reading goes on. A [`Table`] gives its [`Value`]s out by key, and a value gives itself out as a
//! type. What it means is the business of those who declare the keys.
//!
//! [`Context`]: crate::Context

mod path;
mod suggestion;
mod syntax;
mod table;
mod value;

use toml::de::DeTable;

use crate::{diagnostic::Diagnostic, document::Places};

pub use self::{
    path::{check_readable, open_regular},
    suggestion::{nearest, suggestion},
    table::Table,
    value::{Entry, Pairs, Plain, Value},
};

/// Parses as much of `source` as can be: the root table, where its values are, and what is wrong with
/// the syntax.
pub fn parse(source: &str) -> (Table<'_>, Places, Vec<Diagnostic>) {
    let (document, errors) = DeTable::parse_recoverable(source);
    let places = Places::of(document.get_ref());
    (Table::root(document.into_inner()), places, syntax::problems(source, &errors))
}

/// The full name of a key, to be shown: it may hold anything in quotes.
fn join(table: &str, key: &str) -> String {
    let key = key.escape_debug();
    if table.is_empty() { key.to_string() } else { format!("{table}.{key}") }
}
