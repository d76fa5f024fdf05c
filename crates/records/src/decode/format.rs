//! The formats of a body: JSON, CSV and text.

use std::io;

use super::gunzip;

/// The maximum size of the row with the column names, since every record repeats them. The names of all
/// fields of a dataset have a few KiB.
pub const MAX_NAMES_BYTES: usize = 64 * 1024;

/// The format of the records in a body.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// JSON objects: in lines, in an array, or in an object around one.
    #[default]
    Json,
    /// Concatenated JSON objects, with or without white space between them, or in an array: events of
    /// Splunk's HTTP Event Collector.
    Concatenated,
    /// CSV, with the column names in the first row.
    Csv(Delimiter),
    /// Lines of text. Each line becomes the field `message` of a record.
    Text,
}

/// The delimiter between two cells: `field_delimiter` of the Logpush job.
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
    /// All delimiters.
    pub const ALL: [Self; 4] = [Self::Comma, Self::Semicolon, Self::Tab, Self::Pipe];

    /// The byte of the delimiter.
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
    /// The row with these column names. Empty without columns, and for other formats than CSV.
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

/// Encodes `head` so that it can precede a body that begins with `first`: as a gzip member if the body is
/// gzip, else unchanged.
///
/// # Errors
/// Does not occur: it writes to memory.
pub fn match_encoding(head: &[u8], first: &[u8]) -> io::Result<Vec<u8>> {
    if first.starts_with(&gunzip::MAGIC) { gunzip::member(head) } else { Ok(head.to_vec()) }
}
