//! Detects how a body frames its records, and cuts blocks of records off the buffer.
//!
//! With the `output_options` of a Logpush job, a body can be lines, an array (`batch_prefix` `[`), or an
//! object around an array (`{"events":[`, as in Cloudflare's example).

use super::{
    BLOCK_BYTES, Block, Limits,
    array::{Array, Wrapping},
    edition::Edition,
    format::Format,
    lines::Lines,
    opening::{BYTE_ORDER_MARK, Opening, is_one_line},
    record::Validation,
    rows::Rows,
    totals::{End, Rules, Totals},
};

/// Cuts a stream of inflated bytes into blocks of records.
///
/// It processes the buffer only when it is full or the body ends, so the blocks do not depend on the
/// chunks of the body.
pub(super) struct Framer {
    limits: Limits,
    rules: Rules,
    buffer: Vec<u8>,
    mode: Mode,
    /// Whether the buffer has not been processed yet.
    at_start: bool,
    totals: Totals,
}

enum Mode {
    /// The framing has not been detected yet.
    Unknown,
    Lines(Lines),
    Array(Array),
    Rows(Rows),
}

impl Framer {
    pub(super) fn new(limits: Limits, validation: Validation) -> Self {
        let record_bytes = limits.record_bytes;
        let edition = Edition::Second;
        let rules = Rules { record_bytes, validation, edition, split_bytes: record_bytes };
        let (buffer, mode, totals) = (Vec::new(), Mode::Unknown, Totals::default());
        Self { limits, rules, buffer, mode, at_start: true, totals }
    }

    /// Sets the edition of the rules. Call it before [`Framer::with_format`].
    pub(super) fn with_edition(self, edition: Edition) -> Self {
        Self { rules: Rules { edition, ..self.rules }, ..self }
    }

    /// Sets the record limit. Call it before [`Framer::with_format`].
    pub(super) fn with_record_limit(self, record_bytes: usize) -> Self {
        let limits = Limits { record_bytes, ..self.limits };
        Self { limits, rules: Rules { record_bytes, ..self.rules }, ..self }
    }

    /// Sets the format of the records.
    pub(super) fn with_format(self, format: Format) -> Self {
        let mode = match format {
            Format::Json => Mode::Unknown,
            // In this format, `events` is an ordinary field, not an envelope.
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

    /// The buffer to append the next bytes to, within its capacity.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Cuts blocks off the buffer if it is full.
    pub(super) fn make_room(&mut self, out: &mut dyn FnMut(Block)) {
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(BLOCK_BYTES);
        } else if self.buffer.len() == self.buffer.capacity() {
            self.frame(End::More, out);
        }
    }

    /// Cuts the rest of the buffer into blocks, and returns the totals.
    pub(super) fn finish(mut self, out: &mut dyn FnMut(Block)) -> Totals {
        self.frame(End::Last, out);
        self.totals
    }

    /// The size of the records that were made of rows or lines of text so far.
    pub(super) fn made_bytes(&self) -> u64 {
        self.totals.made_bytes
    }

    fn frame(&mut self, end: End, out: &mut dyn FnMut(Block)) {
        if std::mem::take(&mut self.at_start)
            && self.rules.edition == Edition::Second
            && !matches!(self.mode, Mode::Rows(_))
            && self.buffer.starts_with(BYTE_ORDER_MARK)
        {
            self.buffer.drain(..BYTE_ORDER_MARK.len());
            self.totals.edition = Edition::Second;
        }
        let rules = self.rules;
        loop {
            match &mut self.mode {
                Mode::Unknown => {
                    let opening = Opening::detect(&self.buffer);
                    let array = |wrapping| Mode::Array(Array::new(rules, wrapping));
                    self.mode = match opening {
                        Opening::Lines
                            if rules.edition == Edition::Second && is_one_line(&self.buffer) =>
                        {
                            self.totals.edition = Edition::Second;
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
                    rows.frame(&mut self.buffer, end, &mut self.totals, out);
                    return;
                }
                Mode::Lines(lines) => {
                    lines.frame(&mut self.buffer, end, &mut self.totals, out);
                    return;
                }
                Mode::Array(array) => {
                    if !array.frame(&mut self.buffer, end, &mut self.totals, out) {
                        return;
                    }
                    // The array is closed. The rest of the body is read as lines.
                    self.mode = Mode::Lines(Lines::new(rules));
                    if end == End::More && self.buffer.len() < self.buffer.capacity() {
                        return;
                    }
                }
            }
        }
    }
}
