//! Which rules a body was read under. The spool keeps this with a batch, so that a batch that was received
//! by an earlier version of the program has the same records in a later one.

/// The rules for reading a body. Later ones take more.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Edition {
    /// Those of the first version.
    #[default]
    First,
    /// JSON: several objects in a line are as many records, a byte order mark is left out, and a CR
    /// within a record becomes a space. CSV: a row that repeats the names of the columns is left out,
    /// as is a byte order mark between the two.
    Second,
}
