//! Finds out how a body frames its records, and holds the buffer that they are found in.
//!
//! `output_options` of a Logpush job let a body be lines, an array (`batch_prefix` `[`), or an object
//! around an array (`{"events":[`, as in Cloudflare's own example).

use super::{
    BLOCK_BYTES, Block, Limits,
    array::{Array, Wrapping},
    edition::Edition,
    format::Format,
    lines::Lines,
    opening::{BYTE_ORDER_MARK, Opening, is_one_line},
    record::Trust,
    rows::Rows,
    tally::{End, Rules, Tally},
};

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
