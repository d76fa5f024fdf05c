//! Records as CSV rows or lines of text. Each becomes a JSON object.
//!
//! Cells are as in RFC 4180, and as Logpush writes them: a quoted cell is a string and may contain line
//! ends; an unquoted cell is a JSON number, `true`, `false`, `null`, or else a string. Numbers are not
//! changed.

use std::{borrow::Cow, io};

use memchr::{memchr, memchr2};
use serde::de::IgnoredAny;

use super::{
    BLOCK_BYTES, Block, Limits,
    edition::Edition,
    format::{Delimiter, MAX_NAMES_BYTES},
    opening::BYTE_ORDER_MARK,
    record::RejectReason,
    totals::{End, Overlong, Totals},
};

/// The maximum number of rejects in a block: a row of two bytes needs 70 bytes as a reject.
const MAX_REJECTS: usize = 4096;

/// Cuts rows off a buffer.
pub(super) struct Rows {
    limits: Limits,
    form: Form,
    scan: Scan,
    overlong: Option<Overlong>,
    /// Whether only blank lines have been read.
    at_start: bool,
    edition: Edition,
}

enum Form {
    Text,
    Cells {
        delimiter: u8,
        /// The column names after they were read: in quotes, followed by a colon. Empty if they are
        /// invalid: then every row is rejected.
        names: Option<Vec<Vec<u8>>>,
        /// Whether the next row is the first after the names, which may repeat them.
        at_first: bool,
    },
}

/// The state of scanning the row at the start of the buffer.
#[derive(Default)]
struct Scan {
    /// The number of bytes scanned.
    bytes: usize,
    in_quotes: bool,
    /// The offset of the last closing quote. If another quote follows, the two are an escaped quote.
    closed: Option<usize>,
}

/// The result of looking for the end of a row.
enum RowEnd {
    /// The row is complete, with this length including its line end.
    Row(usize),
    TooLong,
    Incomplete,
}

impl Rows {
    pub(super) fn text(limits: Limits) -> Self {
        Self::new(limits, Form::Text, Edition::First)
    }

    pub(super) fn cells(limits: Limits, delimiter: Delimiter, edition: Edition) -> Self {
        let form = Form::Cells { delimiter: delimiter.byte(), names: None, at_first: false };
        Self::new(limits, form, edition)
    }

    fn new(limits: Limits, form: Form, edition: Edition) -> Self {
        Self { limits, form, scan: Scan::default(), overlong: None, at_start: true, edition }
    }

    /// Passes complete rows of `buffer` to `out`, and leaves an incomplete row in it, with room for more.
    /// Stops when the records exceed the limit on the body: a row of two bytes can become 64 KiB.
    pub(super) fn frame(
        &mut self,
        buffer: &mut Vec<u8>,
        end: End,
        totals: &mut Totals,
        out: &mut dyn FnMut(Block),
    ) {
        if end == End::Last && !buffer.is_empty() && !buffer.ends_with(b"\n") {
            buffer.push(b'\n');
        }
        let mut block = Block::default();
        let mut start = 0;
        while totals.made_bytes <= self.limits.inflated_bytes {
            if block.bytes.len() >= BLOCK_BYTES || block.rejects.len() >= MAX_REJECTS {
                out(std::mem::take(&mut block));
            }
            let rest = buffer.get(start..).unwrap_or_default();
            if let Some(mut overlong) = self.overlong.take() {
                let line_end = memchr(b'\n', rest);
                overlong.add(rest.get(..line_end.unwrap_or(rest.len())).unwrap_or_default());
                start += line_end.map_or(rest.len(), |at| at + 1);
                if line_end.is_none() && end == End::More {
                    self.overlong = Some(overlong);
                    break;
                }
                block.rejects.push(overlong.reject(totals));
                continue;
            }
            match self.find(rest, end) {
                RowEnd::Row(length) => {
                    let row = rest.get(..length).unwrap_or_default();
                    self.scan = Scan::default();
                    self.take(row.strip_suffix(b"\n").unwrap_or(row), &mut block, totals);
                    start += length;
                }
                RowEnd::TooLong => {
                    let long = rest.get(..self.longest()).unwrap_or(rest);
                    self.overlong = Some(Overlong::new(long));
                    self.scan = Scan::default();
                    start += long.len();
                }
                RowEnd::Incomplete => break,
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

    /// The length from which a row is too long, even if it ends with CRLF.
    fn longest(&self) -> usize {
        self.limits.record_bytes.saturating_add(2)
    }

    /// Looks for the end of the row at the start of `rest`.
    fn find(&mut self, rest: &[u8], end: End) -> RowEnd {
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
                _ => return RowEnd::Row(at + 1),
            }
        }
        match (rest.len() >= longest, end) {
            (true, _) => RowEnd::TooLong,
            // The quotes are not closed: the rest is one invalid row.
            (false, End::Last) if !rest.is_empty() => RowEnd::Row(rest.len()),
            (false, _) => RowEnd::Incomplete,
        }
    }

    /// Processes a quote. Quotes open only at the beginning of a cell.
    fn quote(&mut self, rest: &[u8], at: usize) {
        let Form::Cells { delimiter, at_first, .. } = self.form else { return };
        let scan = &mut self.scan;
        if scan.in_quotes {
            scan.in_quotes = false;
            scan.closed = Some(at);
            return;
        }
        let before = at.checked_sub(1);
        let is_doubled = before.is_some() && before == scan.closed;
        let begins = before.is_none_or(|before| rest.get(before) == Some(&delimiter));
        let may_have_mark = self.at_start || (at_first && self.edition == Edition::Second);
        let follows_mark = may_have_mark && rest.get(..at) == Some(BYTE_ORDER_MARK);
        scan.in_quotes = is_doubled || begins || follows_mark;
    }

    fn take(&mut self, row: &[u8], block: &mut Block, totals: &mut Totals) {
        let row = row.strip_suffix(b"\r").unwrap_or(row);
        let mut bare =
            if self.at_start { row.strip_prefix(BYTE_ORDER_MARK).unwrap_or(row) } else { row };
        if bare.trim_ascii().is_empty() {
            return;
        }
        self.at_start = false;
        if let Form::Cells { delimiter, names: Some(names), at_first } = &mut self.form
            && std::mem::take(at_first)
            && self.edition == Edition::Second
        {
            let after_mark = bare.strip_prefix(BYTE_ORDER_MARK);
            if after_mark.is_some() {
                totals.edition = Edition::Second;
            }
            bare = after_mark.unwrap_or(bare);
            if bare.trim_ascii().is_empty() {
                *at_first = true;
                return;
            }
            if repeats(names, bare, char::from(*delimiter)) {
                totals.edition = Edition::Second;
                return;
            }
        }
        let before = block.bytes.len();
        let made = self.record(bare, &mut block.bytes);
        // Rejects count as well: they were made of rows before they were rejected.
        totals.made_bytes += (block.bytes.len() - before) as u64;
        match made {
            Ok(RowOutput::Record) => {
                block.bytes.push(b'\n');
                block.records += 1;
                totals.records += 1;
                return;
            }
            Ok(RowOutput::Names) => {}
            Err(reason) => block.rejects.push(totals.reject(reason, row, row.len() as u64)),
        }
        block.bytes.truncate(before);
    }

    fn record(&mut self, row: &[u8], out: &mut Vec<u8>) -> Result<RowOutput, RejectReason> {
        let record_bytes = self.limits.record_bytes;
        let longest = match &self.form {
            Form::Cells { names: None, .. } => record_bytes.min(MAX_NAMES_BYTES),
            _ => record_bytes,
        };
        let text = if row.len() > longest {
            Err(RejectReason::TooLong)
        } else {
            std::str::from_utf8(row).map_err(|_| RejectReason::NotUtf8)
        };
        let mut record = Bounded { end: out.len().saturating_add(record_bytes), out };
        let Form::Cells { delimiter, names, at_first } = &mut self.form else {
            let text = text?;
            record.push(b"{\"message\":")?;
            record.string(text)?;
            record.push(b"}")?;
            return Ok(RowOutput::Record);
        };
        let delimiter = char::from(*delimiter);
        let Some(names) = names else {
            *names = Some(Vec::new());
            *names = Some(self::names(text?, delimiter)?);
            *at_first = true;
            return Ok(RowOutput::Names);
        };
        let mut rest = Some(text?);
        for (index, name) in names.iter().enumerate() {
            let cell;
            (cell, rest) = Cell::cut(rest.ok_or(RejectReason::NotCsv)?, delimiter)?;
            record.push(if index == 0 { b"{" } else { b"," })?;
            record.push(name)?;
            if cell.is_literal() {
                record.push(cell.text.as_bytes())?;
            } else {
                record.string(&cell.text)?;
            }
        }
        record.push(b"}")?;
        if rest.is_some() { Err(RejectReason::NotCsv) } else { Ok(RowOutput::Record) }
    }
}

/// The result of converting a row.
enum RowOutput {
    Record,
    /// The row contains the column names.
    Names,
}

struct Cell<'a> {
    text: Cow<'a, str>,
    in_quotes: bool,
}

impl<'a> Cell<'a> {
    /// Cuts the first cell off a row. Returns it and the rest, which is `None` after the last cell.
    fn cut(row: &'a str, delimiter: char) -> Result<(Self, Option<&'a str>), RejectReason> {
        let (cell, rest) = if let Some(quoted) = row.strip_prefix('"') {
            quoted_cell(quoted).ok_or(RejectReason::NotCsv)?
        } else {
            let length = row.find(delimiter).unwrap_or(row.len());
            let (text, rest) = row.split_at_checked(length).unwrap_or((row, ""));
            (Self { text: Cow::Borrowed(text), in_quotes: false }, rest)
        };
        if rest.is_empty() {
            return Ok((cell, None));
        }
        let rest = rest.strip_prefix(delimiter).ok_or(RejectReason::NotCsv)?;
        Ok((cell, Some(rest)))
    }

    /// Whether the cell is a JSON number, `true`, `false` or `null`.
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

/// Parses a row of column names. Returns each name in quotes, followed by a colon.
fn names(row: &str, delimiter: char) -> Result<Vec<Vec<u8>>, RejectReason> {
    let mut names = Vec::new();
    let mut rest = Some(row);
    while let Some(row) = rest {
        let cell;
        (cell, rest) = Cell::cut(row, delimiter)?;
        let mut name = Vec::new();
        let mut record = Bounded { out: &mut name, end: usize::MAX };
        record.string(&cell.text)?;
        record.push(b":")?;
        names.push(name);
    }
    Ok(names)
}

/// Whether a row contains the same column names.
fn repeats(names: &[Vec<u8>], row: &[u8], delimiter: char) -> bool {
    let text = std::str::from_utf8(row).ok().filter(|text| text.len() <= MAX_NAMES_BYTES);
    text.is_some_and(|text| self::names(text, delimiter).is_ok_and(|found| found == names))
}

/// Parses a quoted cell after its opening quote. Returns it and the text after its closing quote, or `None`
/// without a closing quote.
fn quoted_cell(quoted: &str) -> Option<(Cell<'_>, &str)> {
    let mut text = Cow::Borrowed("");
    let mut rest = quoted;
    loop {
        let (part, after) = rest.split_once('"')?;
        if text.is_empty() {
            text = Cow::Borrowed(part);
        } else {
            text.to_mut().push_str(part);
        }
        let Some(doubled) = after.strip_prefix('"') else {
            return Some((Cell { text, in_quotes: true }, after));
        };
        text.to_mut().push('"');
        rest = doubled;
    }
}

/// Builds a record up to its limit. A control character becomes six bytes, so the limit is enforced while
/// writing.
struct Bounded<'a> {
    out: &'a mut Vec<u8>,
    end: usize,
}

impl Bounded<'_> {
    fn push(&mut self, bytes: &[u8]) -> Result<(), RejectReason> {
        if bytes.len() > self.end.saturating_sub(self.out.len()) {
            return Err(RejectReason::TooLong);
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends a string as JSON.
    fn string(&mut self, text: &str) -> Result<(), RejectReason> {
        serde_json::to_writer(self, text).map_err(|_| RejectReason::TooLong)
    }
}

impl io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
