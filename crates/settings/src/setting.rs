//! The traits that connect a type with keys and tables of a configuration.

use std::path::Path;

use crate::{Context, Table, Value, reference, reference::Takes};

/// The type of a key. It may be its own output; a marker such as [`types::Size`](crate::types::Size)
/// describes how another type is written.
pub trait Setting {
    /// The type of the field in the struct.
    type Output;

    /// The values that the key takes, for the reference.
    const TAKES: Takes;

    /// Reads the value. Reports problems to `cx` and returns `None` if it is invalid.
    fn read(value: &Value<'_>, cx: &mut Context) -> Option<Self::Output>;
}

/// An optional key without a default.
impl<T: Setting> Setting for Option<T> {
    type Output = Option<T::Output>;
    const TAKES: Takes = T::TAKES;

    fn read(value: &Value<'_>, cx: &mut Context) -> Option<Self::Output> {
        T::read(value, cx).map(Some)
    }
}

/// The keys of a table, as declared with [`settings!`](crate::settings).
pub trait Settings: Sized {
    /// The declaration, for the reader and the reference.
    const TABLE: &'static reference::Table;

    /// Reads the keys of this declaration and checks them against each other. Other keys stay in `table`,
    /// so that several declarations may share one; [`Table::finish`] reports the keys that are left.
    ///
    /// If a required key is missing or invalid, reports that and uses its example:
    /// [`Table::is_complete`] returns `false` then. Returns `None` only if a default cannot be read.
    fn draft(table: &mut Table<'_>, cx: &mut Context) -> Option<Self>;

    /// Reads the keys as [`Self::draft`] does, but returns `None` if a required key is missing or invalid.
    fn read(table: &mut Table<'_>, cx: &mut Context) -> Option<Self> {
        let settings = Self::draft(table, cx);
        settings.filter(|_| table.is_complete())
    }

    /// Returns the defaults, and the examples of required keys. `None` only if one of them cannot be read.
    fn sample() -> Option<Self> {
        Self::draft(&mut Table::absent(), &mut Context::without_files(Path::new("/")))
    }

    /// Removes the table of this name from `root` and reads all of its keys. A missing table is empty.
    fn take_from(root: &mut Table<'_>, cx: &mut Context) -> Option<Self> {
        let mut table = root.table(Self::TABLE.name, cx);
        let settings = Self::read(&mut table, cx);
        table.finish(cx);
        settings
    }
}

/// A table within a table.
pub trait Section {
    /// The type of the field in the struct.
    type Output;

    /// The declaration of its keys.
    const TABLE: &'static reference::Table;

    /// Removes the table `key` from `parent` and reads it. If a required key is missing or invalid,
    /// `parent` is no longer complete.
    fn take(parent: &mut Table<'_>, key: &'static str, cx: &mut Context) -> Option<Self::Output>;
}

/// An optional table: its presence has a meaning.
impl<T: Settings> Section for Option<T> {
    type Output = Self;
    const TABLE: &'static reference::Table = T::TABLE;

    fn take(parent: &mut Table<'_>, key: &'static str, cx: &mut Context) -> Option<Self> {
        if parent.contains(key) { parent.section(key, true, cx).map(Some) } else { Some(None) }
    }
}
