//! Records as rows of cells, or as lines of text: each is made into an object.
//!
//! Cells are as in RFC 4180, and as Logpush writes them: what is in quotes is a string, whatever
//! follows a line end within it; what is bare and a number, `true`, `false` or `null` in JSON is that.
//! Numbers stay as they are.

use std::borrow::Cow;

use memchr::{memchr, memchr2};
use serde::de::IgnoredAny;

use super::{
    BLOCK_BYTES, Block,
    format::Delimiter,
    framing::{End, Overlong, Tally},
    record::RejectReason,
};

/// Cuts rows off a buffer.
pub(super) struct Rows {
    record_bytes: usize,
    form: Form,
    scan: Scan,
    overlong: Option<Overlong>,
    /// Nothing but blank lines so far.
    at_start: bool,
}

enum Form {
    Text,
    Cells {
        delimiter: u8,
        /// The names of the columns, once they were read: in quotes, with a colon behind. None if
        /// they could not be read: then there is no record.
        names: Option<Vec<String>>,
    },
}

/// How far the row at the start of the buffer was looked at.
#[derive(Default)]
struct Scan {
    bytes: usize,
    in_quotes: bool,
    /// Where quotes were closed last: if another follows, they are not.
    closed: Option<usize>,
}

enum Found {
    /// The row's length, with its line end.
    Row(usize),
    TooLong,
    Part,
}

impl Rows {
    pub(super) fn text(record_bytes: usize) -> Self {
        Self::new(record_bytes, Form::Text)
    }

    pub(super) fn cells(record_bytes: usize, delimiter: Delimiter) -> Self {
        Self::new(record_bytes, Form::Cells { delimiter: delimiter.byte(), names: None })
    }

    fn new(record_bytes: usize, form: Form) -> Self {
        Self { record_bytes, form, scan: Scan::default(), overlong: None, at_start: true }
    }

    /// Hands over the whole rows of `buffer`, leaves the last part of one in it, and room behind.
    pub(super) fn frame(
        &mut self,
        buffer: &mut Vec<u8>,
        end: End,
        tally: &mut Tally,
        out: &mut dyn FnMut(Block),
    ) {
        if end == End::Last && !buffer.is_empty() && !buffer.ends_with(b"\n") {
            buffer.push(b'\n');
        }
        let mut block = Block::default();
        let mut start = 0;
        loop {
            let rest = buffer.get(start..).unwrap_or_default();
            if let Some(mut overlong) = self.overlong.take() {
                let line_end = memchr(b'\n', rest);
                overlong.add(rest.get(..line_end.unwrap_or(rest.len())).unwrap_or_default());
                start += line_end.map_or(rest.len(), |at| at + 1);
                if line_end.is_none() && end == End::More {
                    self.overlong = Some(overlong);
                    break;
                }
                block.rejects.push(overlong.reject(tally));
                continue;
            }
            match self.find(rest, end) {
                Found::Row(length) => {
                    let row = rest.get(..length).unwrap_or_default();
                    self.scan = Scan::default();
                    self.take(row.strip_suffix(b"\n").unwrap_or(row), &mut block, tally);
                    start += length;
                }
                Found::TooLong => {
                    let long = rest.get(..self.longest()).unwrap_or(rest);
                    self.overlong = Some(Overlong::new(long));
                    self.scan = Scan::default();
                    start += long.len();
                }
                Found::Part => break,
            }
            if block.bytes.len() >= BLOCK_BYTES {
                out(std::mem::take(&mut block));
            }
        }
        if block != Block::default() {
            out(block);
        }
        let tail = buffer.get(start..).unwrap_or_default();
        let mut next = Vec::new();
        if end == End::More {
            next.reserve_exact(BLOCK_BYTES.max(tail.len() * 2));
            next.extend_from_slice(tail);
        }
        *buffer = next;
    }

    /// A row of more bytes is too long, even if its last one is the CR of a CRLF.
    fn longest(&self) -> usize {
        self.record_bytes.saturating_add(2)
    }

    /// Looks for the end of the row that `rest` begins with.
    fn find(&mut self, rest: &[u8], end: End) -> Found {
        let longest = self.longest();
        while self.scan.bytes < longest {
            let from = self.scan.bytes;
            let unseen = rest.get(from..longest.min(rest.len())).unwrap_or_default();
            let found = match self.form {
                Form::Text => memchr(b'\n', unseen),
                Form::Cells { .. } => memchr2(b'\n', b'"', unseen),
            };
            let Some(at) = found.map(|at| from + at) else {
                self.scan.bytes = from + unseen.len();
                break;
            };
            self.scan.bytes = at + 1;
            match rest.get(at) {
                Some(b'"') => self.quote(rest, at),
                _ if self.scan.in_quotes => {}
                _ => return Found::Row(at + 1),
            }
        }
        match (rest.len() >= longest, end) {
            (true, _) => Found::TooLong,
            // Quotes that nobody closes: what is left is one row, and no good one.
            (false, End::Last) if !rest.is_empty() => Found::Row(rest.len()),
            (false, _) => Found::Part,
        }
    }

    /// Quotes open where a cell begins, and nowhere else.
    fn quote(&mut self, rest: &[u8], at: usize) {
        let Form::Cells { delimiter, .. } = self.form else { return };
        let scan = &mut self.scan;
        if scan.in_quotes {
            scan.in_quotes = false;
            scan.closed = Some(at);
            return;
        }
        let before = at.checked_sub(1);
        let is_doubled = before.is_some() && before == scan.closed;
        let begins = before.is_none_or(|before| rest.get(before) == Some(&delimiter));
        let behind_mark = self.at_start && rest.get(..at) == Some(BYTE_ORDER_MARK);
        scan.in_quotes = is_doubled || begins || behind_mark;
    }

    fn take(&mut self, row: &[u8], block: &mut Block, tally: &mut Tally) {
        let row = row.strip_suffix(b"\r").unwrap_or(row);
        let bare =
            if self.at_start { row.strip_prefix(BYTE_ORDER_MARK).unwrap_or(row) } else { row };
        if bare.trim_ascii().is_empty() {
            return;
        }
        self.at_start = false;
        let before = block.bytes.len();
        match self.record(bare, &mut block.bytes) {
            Ok(Made::Record) => {
                let made = block.bytes.get(before..).unwrap_or_default();
                if made.len() <= self.record_bytes {
                    block.bytes.push(b'\n');
                    block.records += 1;
                    tally.records += 1;
                    return;
                }
                let reject = tally.reject(RejectReason::TooLong, made, made.len() as u64);
                block.rejects.push(reject);
            }
            Ok(Made::Names) => {}
            Err(reason) => block.rejects.push(tally.reject(reason, row, row.len() as u64)),
        }
        block.bytes.truncate(before);
    }

    fn record(&mut self, row: &[u8], out: &mut Vec<u8>) -> Result<Made, RejectReason> {
        let text = if row.len() > self.record_bytes {
            Err(RejectReason::TooLong)
        } else {
            std::str::from_utf8(row).map_err(|_| RejectReason::NotUtf8)
        };
        let Form::Cells { delimiter, names } = &mut self.form else {
            out.extend_from_slice(b"{\"message\":");
            string(text?, out);
            out.push(b'}');
            return Ok(Made::Record);
        };
        let cells = text.and_then(|text| cells(text, char::from(*delimiter)));
        let Some(names) = names else {
            *names = Some(Vec::new());
            let cells = cells?;
            let named = cells.iter().map(|cell| {
                let mut name = Vec::new();
                string(&cell.text, &mut name);
                String::from_utf8_lossy(&name).into_owned() + ":"
            });
            *names = Some(named.collect());
            return Ok(Made::Names);
        };
        let cells = cells?;
        if cells.len() != names.len() {
            return Err(RejectReason::NotCsv);
        }
        for (place, (name, cell)) in names.iter().zip(cells).enumerate() {
            out.push(if place == 0 { b'{' } else { b',' });
            out.extend_from_slice(name.as_bytes());
            if cell.is_literal() {
                out.extend_from_slice(cell.text.as_bytes());
            } else {
                string(&cell.text, out);
            }
        }
        out.push(b'}');
        Ok(Made::Record)
    }
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What a row was made into.
enum Made {
    Record,
    /// The names of the columns.
    Names,
}

struct Cell<'a> {
    text: Cow<'a, str>,
    in_quotes: bool,
}

impl Cell<'_> {
    /// Whether it is JSON as it stands.
    fn is_literal(&self) -> bool {
        let text = self.text.as_bytes();
        !self.in_quotes
            && match (text.first(), text.last()) {
                (Some(b'-' | b'0'..=b'9'), Some(b'0'..=b'9')) => {
                    serde_json::from_slice::<IgnoredAny>(text).is_ok()
                }
                _ => matches!(text, b"true" | b"false" | b"null"),
            }
    }
}

/// Takes a row apart.
fn cells(mut row: &str, delimiter: char) -> Result<Vec<Cell<'_>>, RejectReason> {
    let mut cells = Vec::new();
    loop {
        let (cell, rest) = if let Some(quoted) = row.strip_prefix('"') {
            quoted_cell(quoted).ok_or(RejectReason::NotCsv)?
        } else {
            let length = row.find(delimiter).unwrap_or(row.len());
            let (text, rest) = row.split_at_checked(length).unwrap_or((row, ""));
            (Cell { text: Cow::Borrowed(text), in_quotes: false }, rest)
        };
        cells.push(cell);
        if rest.is_empty() {
            return Ok(cells);
        }
        row = rest.strip_prefix(delimiter).ok_or(RejectReason::NotCsv)?;
    }
}

/// A cell whose first quote is gone, and what is behind its last one. `None` if it has no last one.
fn quoted_cell(quoted: &str) -> Option<(Cell<'_>, &str)> {
    let mut text = Cow::Borrowed("");
    let mut rest = quoted;
    loop {
        let (part, behind) = rest.split_once('"')?;
        if text.is_empty() {
            text = Cow::Borrowed(part);
        } else {
            text.to_mut().push_str(part);
        }
        let Some(doubled) = behind.strip_prefix('"') else {
            return Some((Cell { text, in_quotes: true }, behind));
        };
        text.to_mut().push('"');
        rest = doubled;
    }
}

/// Appends a string as JSON.
fn string(text: &str, out: &mut Vec<u8>) {
    let before = out.len();
    // Nothing that is written to memory fails.
    if serde_json::to_writer(&mut *out, text).is_err() {
        out.truncate(before);
        out.extend_from_slice(b"\"\"");
    }
}

#[cfg(test)]
mod tests;
