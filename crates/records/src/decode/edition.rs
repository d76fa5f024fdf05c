//! The editions of the decoding rules. The spool stores the edition with each batch, so that a batch that
//! an earlier version of the program has received has the same records in a later version.

/// An edition of the decoding rules. Later editions accept more.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Edition {
    /// The rules of the first version.
    #[default]
    First,
    /// JSON: a line may contain several objects, a byte order mark is skipped, and a CR in a record becomes
    /// a space. CSV: a row that repeats the column names is skipped, as is a byte order mark between the
    /// two.
    Second,
}
