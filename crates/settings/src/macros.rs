//! The declarations: [`settings!`](crate::settings), [`words!`](crate::words) and
//! [`setting!`](crate::setting).

/// Declares a table of keys: the struct, its reader ([`Settings`](crate::Settings)) and its description
/// in the reference, in one definition.
///
/// ```
/// use settings::types::{Count, Size, Span};
///
/// settings::words! {
///     /// The entries to keep when the queue is full.
///     pub enum WhenFull {
///         /// The entries in the queue.
///         Old = "old",
///         /// The new entries.
///         New = "new",
///     }
/// }
///
/// settings::settings! {
///     /// The queue of unsent entries.
///     pub struct Queue in "queue" {
///         /// The maximum size of all entries.
///         pub max_bytes: Size = "10GiB",
///         /// The maximum number of entries.
///         pub max_entries: Option<Count> as 1000 else "no limit",
///         /// The delay before an entry is sent.
///         pub delay: Span as "30s",
///         /// The entries to keep when the queue is full.
///         pub when_full: WhenFull = "old",
///     }
/// }
/// ```
///
/// The doc comments are the texts of the reference. The type of a key is a [`Setting`](crate::Setting).
/// Values are written as in TOML:
///
/// - `KEY: TYPE = DEFAULT`: the default is read like a value in the file.
/// - `KEY: TYPE as EXAMPLE`: the key is required.
/// - `KEY: TYPE as EXAMPLE else "meaning"`: the key is optional and has no default value; the text
///   describes the behavior without it. The field is then the default of its type: `None`, or an empty
///   list.
/// - `KEY: TYPE`, where the type is a [`Section`](crate::Section): a table within the table. If the inner
///   table has a name (`in ".limits"`), it is a chapter of the reference. Otherwise its keys are listed
///   with those of the outer table.
/// - `FIELD "": TYPE`, where the type is a [`Section`](crate::Section) without a name: its keys are keys
///   of this table. Several tables can share keys in this way.
///
/// A field may have another name than its key: `pub conditions "where": TYPE`. A function of
/// `(&Self, &Table, &mut Context)` checks keys against each other:
/// `pub struct Queue in "queue", checked by check_queue { ... }`. It runs even if a required key is
/// missing or invalid, so that all problems are reported at once. In this case, the value is an example,
/// and [`Table::is_valid`](crate::Table::is_valid) returns `false`. The struct derives `Clone`, `Debug`
/// and `PartialEq`, and more with `pub struct Queue in "queue" derive(Copy, Eq) { ... }`.
#[macro_export]
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        $vis:vis struct $name:ident
        $(in $table:literal)? $(derive($($derive:ident),+))? $(, checked by $check:path)? {
            $(
                $(#[doc = $text:literal])+
                $field_vis:vis $field:ident $($key:literal)? : $kind:ty
                $(= $default:tt)? $(as $example:tt $(else $without:literal)?)?
            ),* $(,)?
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq $($(, $derive)+)?)]
        $vis struct $name {
            $(
                $(#[doc = $text])+
                $field_vis $field:
                    $crate::settings!(@output $kind; $(= $default)? $(as $example)?),
            )*
        }

        impl $crate::Settings for $name {
            const TABLE: &'static $crate::reference::Table = &$crate::reference::Table {
                name: concat!("" $(, $table)?),
                text: &[$($about),+],
                items: &[$(
                    $crate::settings!(
                        @entry $crate::settings!(@key $field $($key)?), [$($text),+], $kind;
                        $(= $default)? $(as $example $(else $without)?)?
                    )
                ),*],
            };

            fn draft(table: &mut $crate::Table<'_>, cx: &mut $crate::Context) -> Option<Self> {
                table.declare(Self::TABLE);
                $(
                    let $field = $crate::settings!(
                        @read table, cx, $crate::settings!(@key $field $($key)?), $kind;
                        $(= $default)? $(as $example $(else $without)?)?
                    );
                )*
                let settings = Self { $($field: $field?),* };
                $($check(&settings, table, cx);)?
                Some(settings)
            }
        }

        impl $crate::Section for $name {
            type Output = Self;
            const TABLE: &'static $crate::reference::Table = <Self as $crate::Settings>::TABLE;

            fn take(
                parent: &mut $crate::Table<'_>,
                key: &'static str,
                cx: &mut $crate::Context,
            ) -> Option<Self> {
                if key.is_empty() {
                    parent.shared(cx)
                } else {
                    parent.section(key, false, cx)
                }
            }
        }
    };

    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };

    (@output $kind:ty;) => { <$kind as $crate::Section>::Output };
    (@output $kind:ty; $($rest:tt)+) => { <$kind as $crate::Setting>::Output };

    (@entry $key:expr, $text:tt, $kind:ty;) => {
        $crate::reference::TableItem::Section {
            name: $key,
            text: &$text,
            table: <$kind as $crate::Section>::TABLE,
        }
    };
    (@entry $key:expr, $text:tt, $kind:ty; $($without:tt)+) => {
        $crate::reference::TableItem::Key($crate::reference::Key {
            name: $key,
            takes: <$kind as $crate::Setting>::TAKES,
            presence: $crate::settings!(@without $($without)+),
            text: &$text,
            is_read: |value, cx| <$kind as $crate::Setting>::read(value, cx).is_some(),
        })
    };

    (@without = $default:tt) => { $crate::reference::Presence::Default(stringify!($default)) };
    (@without as $example:tt) => {
        $crate::reference::Presence::Required { example: stringify!($example) }
    };
    (@without as $example:tt else $without:literal) => {
        $crate::reference::Presence::Optional { text: $without, example: stringify!($example) }
    };

    (@read $table:ident, $cx:ident, $key:expr, $kind:ty;) => {
        <$kind as $crate::Section>::take($table, $key, $cx)
    };
    (@read $table:ident, $cx:ident, $key:expr, $kind:ty; = $default:tt) => {
        $table.value_or_default::<$kind>($key, $cx)
    };
    (@read $table:ident, $cx:ident, $key:expr, $kind:ty; as $example:tt) => {
        $table.required_value::<$kind>($key, $cx)
    };
    (@read $table:ident, $cx:ident, $key:expr, $kind:ty; as $example:tt else $without:literal) => {
        Some($table.optional_value::<$kind>($key, $cx))
    };
}

/// Declares a closed list of words as an enum that implements [`Setting`](crate::Setting).
///
/// See [`settings!`](crate::settings) for an example.
#[macro_export]
macro_rules! words {
    (
        $(#[doc = $about:literal])+
        $vis:vis enum $name:ident {
            $(
                $(#[doc = $text:literal])+
                $variant:ident = $word:literal
            ),+ $(,)?
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        $vis enum $name {
            $(
                $(#[doc = $text])+
                $variant,
            )+
        }

        impl $crate::Setting for $name {
            type Output = Self;
            const TAKES: $crate::reference::Takes =
                $crate::reference::Takes::OneOf(&[$($word),+]);

            fn read(value: &$crate::Value<'_>, cx: &mut $crate::Context) -> Option<Self> {
                value.choice(&[$(($word, Self::$variant)),+], cx)
            }
        }
    };
}

/// Declares a marker type that implements [`Setting`](crate::Setting): its output type, its description in
/// the reference, and the function of `(Value, &mut Context)` that reads it.
///
/// ```
/// use settings::{Context, Value, reference::Takes, setting};
///
/// setting! {
///     /// The letter of a drive.
///     pub struct Drive(char): Takes::String("letter"), read by drive;
/// }
///
/// fn drive(value: &Value<'_>, cx: &mut Context) -> Option<char> {
///     value.string(cx)?.get_ref().chars().next()
/// }
/// ```
#[macro_export]
macro_rules! setting {
    (
        $(#[doc = $about:literal])+
        $vis:vis struct $name:ident($output:ty): $takes:expr, read by $read:path;
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug)]
        $vis struct $name;

        impl $crate::Setting for $name {
            type Output = $output;
            const TAKES: $crate::reference::Takes = $takes;

            fn read(value: &$crate::Value<'_>, cx: &mut $crate::Context) -> Option<$output> {
                $read(value, cx)
            }
        }
    };
}
