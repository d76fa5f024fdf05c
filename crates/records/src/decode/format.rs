//! What stands in a body: records of JSON, in lines or one behind the other, rows of cells, or lines of
//! text.

use std::io;

use super::gunzip;

/// How long the row with the names of the columns may be: every record repeats them. Those of all fields of a
/// dataset are a few KiB.
pub const MAX_NAMES_BYTES: usize = 64 * 1024;

/// The form of the records in a body.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// JSON objects: in lines, in an array, or in an object around one.
    #[default]
    Json,
    /// JSON objects one behind the other, over any white space or none, or in an array: events of Splunk's
    /// HTTP Event Collector.
    Concatenated,
    /// Rows of cells, the first of which holds the names of the columns.
    Csv(Delimiter),
    /// Lines of anything: each becomes the field `message` of a record.
    Text,
}

/// What stands between two cells: `field_delimiter` of the Logpush job.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delimiter {
    /// `,`
    Comma,
    /// `;`
    Semicolon,
    /// A tab.
    Tab,
    /// `|`
    Pipe,
}

impl Delimiter {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Comma, Self::Semicolon, Self::Tab, Self::Pipe];

    /// As it stands between cells.
    pub fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
            Self::Pipe => b'|',
        }
    }
}

impl Format {
    /// The row that names these columns; nothing if there are none.
    pub fn header_row(self, columns: &[String]) -> Vec<u8> {
        let Self::Csv(delimiter) = self else { return Vec::new() };
        if columns.is_empty() {
            return Vec::new();
        }
        let cells: Vec<_> =
            columns.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
        let mut row = cells.join(&char::from(delimiter.byte()).to_string());
        row.push('\n');
        row.into_bytes()
    }
}

/// `head`, so that it can stand before a body that begins with `first`: both are gzip, or neither.
///
/// # Errors
/// None: memory is written to.
pub fn before(head: &[u8], first: &[u8]) -> io::Result<Vec<u8>> {
    if first.starts_with(&gunzip::MAGIC) { gunzip::member(head) } else { Ok(head.to_vec()) }
}
