//! Key tables: each key of a configuration is declared once, with its type, default, bounds and text.
//!
//! [`settings!`] declares a TOML table. The declaration is the struct that a program works with, the
//! reader that fills it in, and the [`reference::Table`] that the documentation is made of. What stands
//! behind a key is a [`Setting`]: [`types`] has those that every program needs, [`words!`] declares a
//! closed list of words, and other types implement the trait.
//!
//! Reading never ends at the first problem. Whatever is wrong becomes a [`Diagnostic`] in the
//! [`Context`], with its place in the file, and [`Problems`] shows all of them with the lines that they
//! point at. This crate knows nothing of what the keys are for.

mod context;
mod diagnostic;
mod document;
mod domain;
mod macros;
pub mod printable;
mod reader;
pub mod reference;
mod setting;
#[cfg(test)]
mod tests;
pub mod types;
mod units;

pub use toml::Spanned;

pub use self::{
    context::Context,
    diagnostic::{Diagnostic, Problems, Severity},
    document::{Document, Places},
    domain::check_domain,
    reader::{
        Entry, Pairs, Plain, Table, Value, check_readable, nearest, open_regular, parse, suggestion,
    },
    setting::{Section, Setting, Settings},
    units::{format_bytes, parse_bytes, parse_duration},
};
