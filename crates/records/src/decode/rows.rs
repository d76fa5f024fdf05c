//! Records as rows of cells, or as lines of text: each is made into an object.
//!
//! Cells are as in RFC 4180, and as Logpush writes them: what is in quotes is a string, whatever
//! follows a line end within it; what is bare and a number, `true`, `false` or `null` in JSON is that.
//! Numbers stay as they are.

use std::{borrow::Cow, io};

use memchr::{memchr, memchr2};
use serde::de::IgnoredAny;

use super::{
    BLOCK_BYTES, Block, Limits,
    edition::Edition,
    format::{Delimiter, MAX_NAMES_BYTES},
    opening::BYTE_ORDER_MARK,
    record::RejectReason,
    tally::{End, Overlong, Tally},
};

/// A block with as many rejects is handed over: a row of two bytes costs seventy as a reject.
const MAX_REJECTS: usize = 4096;

/// Cuts rows off a buffer.
pub(super) struct Rows {
    limits: Limits,
    form: Form,
    scan: Scan,
    overlong: Option<Overlong>,
    /// Nothing but blank lines so far.
    at_start: bool,
    edition: Edition,
}

enum Form {
    Text,
    Cells {
        delimiter: u8,
        /// The names of the columns, once they were read: in quotes, with a colon behind. None if
        /// they could not be read: then there is no record.
        names: Option<Vec<Vec<u8>>>,
        /// No row has come after the names, so the next may repeat them.
        at_first: bool,
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

    /// Hands over the whole rows of `buffer`, leaves the last part of one in it, and room behind. It
    /// stops where the records come to more than the body may: a row of two bytes can become 64 KiB.
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
        while tally.made_bytes <= self.limits.inflated_bytes {
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
        self.limits.record_bytes.saturating_add(2)
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
        let behind_mark = may_have_mark && rest.get(..at) == Some(BYTE_ORDER_MARK);
        scan.in_quotes = is_doubled || begins || behind_mark;
    }

    fn take(&mut self, row: &[u8], block: &mut Block, tally: &mut Tally) {
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
                tally.edition = Edition::Second;
            }
            bare = after_mark.unwrap_or(bare);
            if bare.trim_ascii().is_empty() {
                *at_first = true;
                return;
            }
            if repeats(names, bare, char::from(*delimiter)) {
                tally.edition = Edition::Second;
                return;
            }
        }
        let before = block.bytes.len();
        let made = self.record(bare, &mut block.bytes);
        // Of rejects, too, since it is work.
        tally.made_bytes += (block.bytes.len() - before) as u64;
        match made {
            Ok(Made::Record) => {
                block.bytes.push(b'\n');
                block.records += 1;
                tally.records += 1;
                return;
            }
            Ok(Made::Names) => {}
            Err(reason) => block.rejects.push(tally.reject(reason, row, row.len() as u64)),
        }
        block.bytes.truncate(before);
    }

    fn record(&mut self, row: &[u8], out: &mut Vec<u8>) -> Result<Made, RejectReason> {
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
            return Ok(Made::Record);
        };
        let delimiter = char::from(*delimiter);
        let Some(names) = names else {
            *names = Some(Vec::new());
            *names = Some(self::names(text?, delimiter)?);
            *at_first = true;
            return Ok(Made::Names);
        };
        let mut rest = Some(text?);
        for (place, name) in names.iter().enumerate() {
            let cell;
            (cell, rest) = Cell::cut(rest.ok_or(RejectReason::NotCsv)?, delimiter)?;
            record.push(if place == 0 { b"{" } else { b"," })?;
            record.push(name)?;
            if cell.is_literal() {
                record.push(cell.text.as_bytes())?;
            } else {
                record.string(&cell.text)?;
            }
        }
        record.push(b"}")?;
        if rest.is_some() { Err(RejectReason::NotCsv) } else { Ok(Made::Record) }
    }
}

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

impl<'a> Cell<'a> {
    /// Cuts a cell off a row. What is left is `None` behind the last one.
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

/// The names that a row holds: in quotes, with a colon behind.
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

/// Whether a row names the same columns.
fn repeats(names: &[Vec<u8>], row: &[u8], delimiter: char) -> bool {
    let text = std::str::from_utf8(row).ok().filter(|text| text.len() <= MAX_NAMES_BYTES);
    text.is_some_and(|text| self::names(text, delimiter).is_ok_and(|found| found == names))
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

/// A record that is being made: a control character becomes six bytes, so it is stopped at its limit
/// rather than measured afterwards.
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
