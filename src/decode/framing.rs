//! Finds out how a body frames its records, and holds the buffer that they are found in.
//!
//! `output_options` of a Logpush job let a body be lines, an array (`batch_prefix` `[`), or an object
//! around an array (`{"events":[`, as in Cloudflare's own example).

use super::{
    BLOCK_BYTES, Block, Limits,
    array::{Array, Wrapping},
    edition::Edition,
    format::Format,
    json,
    lines::Lines,
    record::{PREVIEW_BYTES, Reject, RejectReason, Trust},
    rows::Rows,
};

/// What some editors and Windows programs write before text in UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// An envelope's key is looked for in this many bytes.
const MAX_ENVELOPE_BYTES: usize = 1024;

/// Cuts a stream of inflated bytes into blocks of records.
///
/// It looks at the bytes only when the buffer is full or the body ends, so what comes out does not
/// depend on the pieces that came in.
pub(super) struct Framer {
    limits: Limits,
    rules: Rules,
    buffer: Vec<u8>,
    mode: Mode,
    /// Nothing has been cut off yet.
    at_start: bool,
    tally: Tally,
}

/// How records are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) record_bytes: usize,
    pub(super) trust: Trust,
    pub(super) edition: Edition,
    /// Only shorter lines may hold several objects. It is the limit on a record that the body was
    /// received under, so that a body that is read under a higher one has the same positions.
    pub(super) split_bytes: usize,
}

enum Mode {
    /// Nothing was looked at yet.
    Unknown,
    Lines(Lines),
    Array(Array),
    Rows(Rows),
}

impl Framer {
    pub(super) fn new(limits: Limits, trust: Trust) -> Self {
        let record_bytes = limits.record_bytes;
        let edition = Edition::Second;
        let rules = Rules { record_bytes, trust, edition, split_bytes: record_bytes };
        let (buffer, mode, tally) = (Vec::new(), Mode::Unknown, Tally::default());
        Self { limits, rules, buffer, mode, at_start: true, tally }
    }

    /// The same with the rules of `edition`; before [`Framer::of`].
    pub(super) fn under(self, edition: Edition) -> Self {
        Self { rules: Rules { edition, ..self.rules }, ..self }
    }

    /// The same with another limit on a record; before [`Framer::of`].
    pub(super) fn taking(self, record_bytes: usize) -> Self {
        let limits = Limits { record_bytes, ..self.limits };
        Self { limits, rules: Rules { record_bytes, ..self.rules }, ..self }
    }

    /// The same for records of another form.
    pub(super) fn of(self, format: Format) -> Self {
        let mode = match format {
            Format::Json => Mode::Unknown,
            // There, `events` is the name of a field like any other, and no envelope.
            Format::Concatenated => {
                let array = Array::new(self.rules, Wrapping::Unopened);
                Mode::Array(array)
            }
            Format::Csv(delimiter) => {
                Mode::Rows(Rows::cells(self.limits, delimiter, self.rules.edition))
            }
            Format::Text => Mode::Rows(Rows::text(self.limits)),
        };
        Self { mode, ..self }
    }

    /// Where the next bytes go; never beyond its capacity.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Makes room in the buffer, by cutting blocks off it if it is full.
    pub(super) fn make_room(&mut self, out: &mut dyn FnMut(Block)) {
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(BLOCK_BYTES);
        } else if self.buffer.len() == self.buffer.capacity() {
            self.frame(End::More, out);
        }
    }

    /// Cuts what is left, and says what there was in all.
    pub(super) fn finish(mut self, out: &mut dyn FnMut(Block)) -> Tally {
        self.frame(End::Last, out);
        self.tally
    }

    /// Bytes that were made of rows and of lines of text so far.
    pub(super) fn made_bytes(&self) -> u64 {
        self.tally.made_bytes
    }

    fn frame(&mut self, end: End, out: &mut dyn FnMut(Block)) {
        if std::mem::take(&mut self.at_start)
            && self.rules.edition == Edition::Second
            && !matches!(self.mode, Mode::Rows(_))
            && self.buffer.starts_with(BYTE_ORDER_MARK)
        {
            self.buffer.drain(..BYTE_ORDER_MARK.len());
            self.tally.edition = Edition::Second;
        }
        let rules = self.rules;
        loop {
            match &mut self.mode {
                Mode::Unknown => {
                    let opening = Opening::of(&self.buffer);
                    let array = |wrapping| Mode::Array(Array::new(rules, wrapping));
                    self.mode = match opening {
                        Opening::Lines
                            if rules.edition == Edition::Second && is_one_line(&self.buffer) =>
                        {
                            self.tally.edition = Edition::Second;
                            array(Wrapping::None)
                        }
                        Opening::Lines => Mode::Lines(Lines::new(rules)),
                        Opening::Array { .. } => array(Wrapping::Bare),
                        Opening::Envelope { .. } => array(Wrapping::Envelope),
                    };
                    if let Opening::Array { bytes } | Opening::Envelope { bytes } = opening {
                        self.buffer.drain(..bytes);
                    }
                }
                Mode::Rows(rows) => {
                    rows.frame(&mut self.buffer, end, &mut self.tally, out);
                    return;
                }
                Mode::Lines(lines) => {
                    lines.frame(&mut self.buffer, end, &mut self.tally, out);
                    return;
                }
                Mode::Array(array) => {
                    if !array.frame(&mut self.buffer, end, &mut self.tally, out) {
                        return;
                    }
                    // The array is closed: what follows it is read as lines.
                    self.mode = Mode::Lines(Lines::new(rules));
                    if end == End::More && self.buffer.len() < self.buffer.capacity() {
                        return;
                    }
                }
            }
        }
    }
}

/// Whether the buffer holds the end of the body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    More,
    Last,
}

/// Counts records, and with them their positions.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) records: u64,
    pub(super) rejected: u64,
    /// Bytes that were made of rows and of lines of text. What passes through as it came is not made.
    pub(super) made_bytes: u64,
    /// The first edition whose rules read the body like this.
    pub(super) edition: Edition,
}

impl Tally {
    /// Counts one reject and describes it.
    pub(super) fn reject(&mut self, reason: RejectReason, bytes: &[u8], length: u64) -> Reject {
        self.rejected += 1;
        let kept = match reason {
            RejectReason::TooLong => bytes.get(..PREVIEW_BYTES).unwrap_or(bytes),
            _ => bytes,
        };
        Reject { reason, position: self.records + self.rejected, length, bytes: kept.into() }
    }
}

/// A record that is over the limit and still goes on: its start and its length so far.
#[derive(Debug)]
pub(super) struct Overlong {
    start: Vec<u8>,
    length: u64,
}

impl Overlong {
    pub(super) fn new(record: &[u8]) -> Self {
        let start = record.get(..PREVIEW_BYTES).unwrap_or(record).to_vec();
        Self { start, length: record.len() as u64 }
    }

    pub(super) fn skip(&mut self, bytes: usize) {
        self.length += bytes as u64;
    }

    /// The same, and keeps what is still missing of the start.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let missing = PREVIEW_BYTES.saturating_sub(self.start.len());
        self.start.extend_from_slice(bytes.get(..missing).unwrap_or(bytes));
        self.skip(bytes.len());
    }

    pub(super) fn reject(self, tally: &mut Tally) -> Reject {
        tally.reject(RejectReason::TooLong, &self.start, self.length)
    }
}

/// How a body opens, and the bytes to leave out before its first record.
#[derive(Debug, Eq, PartialEq)]
enum Opening {
    Lines,
    Array { bytes: usize },
    Envelope { bytes: usize },
}

impl Opening {
    fn of(body: &[u8]) -> Self {
        let blank = body.len() - body.trim_ascii_start().len();
        match body.get(blank) {
            Some(b'[') => Self::Array { bytes: blank + 1 },
            Some(b'{') => {
                let head = body.get(blank..).unwrap_or_default();
                let head = head.get(..MAX_ENVELOPE_BYTES).unwrap_or(head);
                match envelope(head) {
                    Some(bytes) => Self::Envelope { bytes: blank + bytes },
                    None => Self::Lines,
                }
            }
            _ => Self::Lines,
        }
    }
}

/// Whether a body that begins like this has objects one behind the other and no line ends: that of a
/// job whose `record_suffix` has none. Such a body can be longer than any limit on a line.
fn is_one_line(body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    body.first() == Some(&b'{')
        && memchr::memchr(b'\n', body).is_none()
        && json::first(body).is_some_and(|(_, end)| {
            let rest = body.get(end..).unwrap_or_default();
            let next = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
            next.first() == Some(&b'{')
        })
}

/// The length of `{"key":[`, if `head` opens an envelope rather than a record whose first field is
/// an array (`{"Logs":[{..}],"Outcome":..}` is one of `workers_trace_events`).
///
/// The key `events` is taken for an envelope; any other only if the line ends behind the bracket,
/// since no record is broken over lines.
fn envelope(head: &[u8]) -> Option<usize> {
    let rest = head.strip_prefix(b"{")?.trim_ascii_start().strip_prefix(b"\"")?;
    let key_bytes = memchr::memchr2(b'"', b'\\', rest)?;
    let (key, rest) = rest.split_at(key_bytes);
    let rest = rest.strip_prefix(b"\"")?.trim_ascii_start().strip_prefix(b":")?;
    let rest = rest.trim_ascii_start().strip_prefix(b"[")?;
    let bytes = head.len() - rest.len();
    let line = rest.get(..memchr::memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or(rest);
    let ends_line = line.len() < rest.len() && line.trim_ascii().is_empty();
    let holds_objects = matches!(rest.trim_ascii_start().first(), Some(b'{' | b']'));
    (holds_objects && (key == b"events" || ends_line)).then_some(bytes)
}

/// Whether a body whose first line is `record` is read as lines, whatever the second is.
pub(super) fn opens_as_lines(record: &[u8]) -> bool {
    let record = record.trim_ascii_start();
    let head = record.get(..2 * MAX_ENVELOPE_BYTES).unwrap_or(record);
    Opening::of(&[head, b"\n{"].concat()) == Opening::Lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_known_by_its_opening() {
        for (body, want) in [
            ("", Opening::Lines),
            ("  \n", Opening::Lines),
            ("{\"a\":1}\n", Opening::Lines),
            ("garbage", Opening::Lines),
            (" \r\n[", Opening::Array { bytes: 4 }),
            ("[{\"a\":1}]", Opening::Array { bytes: 1 }),
            ("{\"events\":[{\"a\":1}]}", Opening::Envelope { bytes: 11 }),
            ("{\"events\":[]}", Opening::Envelope { bytes: 11 }),
            ("{ \"events\" : [\n  {", Opening::Envelope { bytes: 14 }),
            ("{\"logs\":[\r\n{\"a\":1}", Opening::Envelope { bytes: 9 }),
            ("\n{\n  \"x\": [\n  {", Opening::Envelope { bytes: 11 }),
            ("{\"Logs\":[{\"a\":1}],\"Outcome\":\"ok\"}\n", Opening::Lines),
            ("{\"Logs\":[],\"Outcome\":\"ok\"}\n{", Opening::Lines),
            ("{\"events\":[1,2]}\n", Opening::Lines),
            ("{\"events\":\"[\"}\n", Opening::Lines),
            ("{\"events", Opening::Lines),
        ] {
            assert_eq!(Opening::of(body.as_bytes()), want, "{body:?}");
        }
    }
}
