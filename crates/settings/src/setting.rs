//! What connects a type with the keys that it stands behind.

use std::path::Path;

use crate::{Context, Table, Value, reference, reference::Takes};

/// What may stand behind a key. A type that is read as itself implements it for itself; a marker such as
/// [`types::Size`](crate::types::Size) says how another type is written.
pub trait Setting {
    /// What the program works with.
    type Output;

    /// What the reference says of it.
    const TAKES: Takes;

    /// Reads the value. What is wrong with it is reported to `cx`, and there is no output then.
    fn read(value: &Value<'_>, cx: &mut Context) -> Option<Self::Output>;
}

/// A key that may be missing, and for which then nothing stands.
impl<T: Setting> Setting for Option<T> {
    type Output = Option<T::Output>;
    const TAKES: Takes = T::TAKES;

    fn read(value: &Value<'_>, cx: &mut Context) -> Option<Self::Output> {
        T::read(value, cx).map(Some)
    }
}

/// The keys of a table, as [`settings!`](crate::settings) declares them.
pub trait Settings: Sized {
    /// The table, for the reader and the reference.
    const TABLE: &'static reference::Table;

    /// Reads the keys of this table and checks what one demands of another. Other keys stay in `table`,
    /// so that several may share one; [`Table::finish`] reports those that are left.
    ///
    /// A required key that is missing or wrong is reported, and its example stands in for it:
    /// [`Table::is_whole`] tells. Nothing comes back only if a default cannot be read.
    fn draft(table: &mut Table<'_>, cx: &mut Context) -> Option<Self>;

    /// The same, and nothing if an example stands in.
    fn read(table: &mut Table<'_>, cx: &mut Context) -> Option<Self> {
        let settings = Self::draft(table, cx);
        settings.filter(|_| table.is_whole())
    }

    /// The defaults, and the examples of what is required. Nothing only if one of them cannot be read.
    fn sample() -> Option<Self> {
        Self::draft(&mut Table::absent(), &mut Context::of_text(Path::new("/")))
    }

    /// Takes the table of this name out of `root`, with all of its keys. One that is missing is empty.
    fn take_from(root: &mut Table<'_>, cx: &mut Context) -> Option<Self> {
        let mut table = root.table(Self::TABLE.name, cx);
        let settings = Self::read(&mut table, cx);
        table.finish(cx);
        settings
    }
}

/// A table within a table.
pub trait Section {
    /// What the program works with.
    type Output;

    /// The keys in it.
    const TABLE: &'static reference::Table;

    /// Takes the table behind `key`. Whether an example stands in, `parent` knows afterwards.
    fn take(parent: &mut Table<'_>, key: &'static str, cx: &mut Context) -> Option<Self::Output>;
}

/// A table that says something by being there.
impl<T: Settings> Section for Option<T> {
    type Output = Self;
    const TABLE: &'static reference::Table = T::TABLE;

    fn take(parent: &mut Table<'_>, key: &'static str, cx: &mut Context) -> Option<Self> {
        if parent.contains(key) { parent.section(key, true, cx).map(Some) } else { Some(None) }
    }
}
