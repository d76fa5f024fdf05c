//! Key tables: each key of a configuration is declared once, with its type, default, bounds and text.
//!
//! [`settings!`] declares a TOML table. The declaration generates the struct for the program, the reader
//! that fills it in, and the [`reference::Table`] for the documentation. The type of a value is a
//! [`Setting`]: [`types`] contains the common ones, [`words!`] declares a closed list of words, and other
//! types implement the trait.
//!
//! Reading does not stop at the first problem. Each problem becomes a [`Diagnostic`] in the [`Context`],
//! with its position in the file, and [`Problems`] displays all of them with the lines that they refer
//! to. This crate is independent of what the keys are for.

mod context;
mod diagnostic;
mod document;
mod domain;
mod macros;
pub mod printable;
mod reader;
pub mod reference;
pub mod secret_file;
mod setting;
#[cfg(test)]
mod tests;
pub mod types;
mod units;

pub use toml::Spanned;

pub use self::{
    context::Context,
    diagnostic::{Diagnostic, Problems, Severity},
    document::{Document, KeySpans},
    domain::check_domain,
    reader::{
        NamedValue, Pairs, PlainValue, Table, Value, check_readable, nearest, parse, suggestion,
    },
    setting::{Section, Setting, Settings},
    units::{format_bytes, parse_bytes, parse_duration},
};
