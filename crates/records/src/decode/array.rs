//! Records as elements of a JSON array with any white space, or as concatenated values without an array.
//!
//! Elements are delimited by brackets and strings alone and then validated one by one, so that an invalid
//! element does not affect others. A line end in a string, which JSON forbids, ends the element; this
//! resynchronizes after a missing quote. Without an array, an element ends with its last bracket; without
//! a bracket it ends with its line; if it is too long, it ends where a line begins with an object.

use memchr::memchr3;

use super::{
    BLOCK_BYTES, Block,
    record::{self, PREVIEW_BYTES, RejectReason, Validation},
    totals::{End, Overlong, Rules, Totals},
};

/// Cuts elements off a buffer.
pub(super) struct Array {
    record_bytes: usize,
    validation: Validation,
    wrapping: Wrapping,
    state: State,
    depth: usize,
    /// The offset of the current element in the buffer.
    start: Option<usize>,
    /// The number of bytes of the buffer that have been scanned.
    read: usize,
    overlong: Option<Overlong>,
    block: Block,
}

/// The container of the elements.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wrapping {
    /// Concatenated arrays, or concatenated values without an array; not determined yet.
    Unopened,
    /// No array, up to the end of the body.
    None,
    /// An array that others may follow.
    Repeated,
    /// One array.
    Bare,
    /// An array in an object, whose end belongs to the framing.
    Envelope,
}

/// The position of the scanner.
enum State {
    /// Outside of strings.
    Between,
    String,
    /// After a backslash in a string.
    Escape,
    /// After a line end in an element without an array that is too long.
    LineStart,
    /// After the array in an envelope.
    Closing,
    Closed,
}

impl Array {
    pub(super) fn new(rules: Rules, wrapping: Wrapping) -> Self {
        Self {
            record_bytes: rules.record_bytes,
            validation: rules.validation,
            wrapping,
            state: State::Between,
            depth: 0,
            start: None,
            read: 0,
            overlong: None,
            block: Block::default(),
        }
    }

    /// Passes complete elements of `buffer` to `out`, and leaves an incomplete element in it, with room
    /// for more. Returns whether the last array is closed; the rest of the body is then left in the
    /// buffer.
    pub(super) fn frame(
        &mut self,
        buffer: &mut Vec<u8>,
        end: End,
        totals: &mut Totals,
        out: &mut dyn FnMut(Block),
    ) -> bool {
        while self.read < buffer.len() && !matches!(self.state, State::Closed) {
            self.step(buffer, totals);
            if self.block.bytes.len() >= BLOCK_BYTES {
                out(std::mem::take(&mut self.block));
            }
        }
        let closed = matches!(self.state, State::Closed);
        if end == End::Last && !closed {
            self.end_element(buffer, self.read, totals);
        }
        // A body can consist of rejects alone: they are not collected over the whole body.
        let hand_over = closed || end == End::Last || !self.block.rejects.is_empty();
        if hand_over && self.block != Block::default() {
            out(std::mem::take(&mut self.block));
        }
        // The preview of a reject must be complete before its bytes are discarded.
        if let Some(start) = self.start
            && self.read - start > self.record_bytes.max(PREVIEW_BYTES)
        {
            self.overlong = Some(Overlong::new(buffer.get(start..self.read).unwrap_or_default()));
            self.start = None;
        }
        buffer.drain(..self.start.unwrap_or(self.read));
        self.start = self.start.map(|_| 0);
        self.read = if self.start.is_some() { buffer.len() } else { 0 };
        if buffer.len() == buffer.capacity() {
            buffer.reserve_exact(buffer.len());
        }
        closed
    }

    /// Advances to the next byte that may change the state, and processes it.
    fn step(&mut self, buffer: &[u8], totals: &mut Totals) {
        let rest = buffer.get(self.read..).unwrap_or_default();
        let Some(&byte) = rest.first() else { return };
        match self.state {
            State::Closed => return,
            State::Closing => {
                if !byte.is_ascii_whitespace() {
                    self.state = State::Closed;
                    self.advance(usize::from(byte == b'}'));
                    return;
                }
            }
            State::Escape => {
                self.state = State::String;
                if byte == b'\n' {
                    return;
                }
            }
            // Probably a bracket is missing before: objects within a record of several lines are
            // indented.
            State::LineStart => {
                self.state = State::Between;
                if byte == b'{' {
                    self.end_element(buffer, self.read, totals);
                }
                return;
            }
            State::String => match memchr3(b'"', b'\\', b'\n', rest) {
                None => return self.advance(rest.len()),
                Some(at) => {
                    self.advance(at);
                    match rest.get(at) {
                        Some(b'"') => self.state = State::Between,
                        Some(b'\\') => self.state = State::Escape,
                        _ => self.end_element(buffer, self.read, totals),
                    }
                }
            },
            // Consecutive arrays are handled without leaving this loop: a body may contain millions of
            // them, and each must cost only its bytes.
            State::Between
                if self.wrapping == Wrapping::Unopened && !byte.is_ascii_whitespace() =>
            {
                if byte != b'[' {
                    self.wrapping = Wrapping::None;
                    return;
                }
                self.wrapping = Wrapping::Repeated;
            }
            State::Between => match byte {
                b',' if self.depth == 0 => {
                    self.end_element(buffer, self.read, totals);
                    self.read += 1;
                    return;
                }
                b']' if self.depth == 0 && self.wrapping != Wrapping::None => {
                    self.end_element(buffer, self.read, totals);
                    self.read += 1;
                    match self.wrapping {
                        Wrapping::Bare => self.state = State::Closed,
                        Wrapping::Envelope => self.state = State::Closing,
                        _ => self.wrapping = Wrapping::Unopened,
                    }
                    return;
                }
                // With a job without a record_delimiter, the next element follows without a comma.
                b'{' if self.depth == 0 && self.start.is_some() => {
                    self.end_element(buffer, self.read, totals);
                    return;
                }
                b'\n' if self.depth == 0 && self.wrapping == Wrapping::None => {
                    self.end_element(buffer, self.read, totals);
                }
                b'\n' if self.wrapping == Wrapping::None && self.is_too_long() => {
                    self.state = State::LineStart;
                }
                _ if byte.is_ascii_whitespace() && self.start.is_none() => {}
                _ => {
                    if self.overlong.is_none() {
                        self.start.get_or_insert(self.read);
                    }
                    match byte {
                        b'"' => self.state = State::String,
                        b'{' | b'[' => self.depth += 1,
                        b'}' | b']' => {
                            self.depth = self.depth.saturating_sub(1);
                            if self.depth == 0 && self.wrapping == Wrapping::None {
                                self.advance(1);
                                self.end_element(buffer, self.read, totals);
                                return;
                            }
                        }
                        _ => {}
                    }
                }
            },
        }
        self.advance(1);
    }

    /// Whether the part of the current element that has been scanned is over the limit.
    fn is_too_long(&self) -> bool {
        self.overlong.is_some()
            || self.start.is_some_and(|start| self.read - start > self.record_bytes)
    }

    fn advance(&mut self, bytes: usize) {
        self.read += bytes;
        if let Some(overlong) = &mut self.overlong {
            overlong.skip(bytes);
        }
    }

    fn end_element(&mut self, buffer: &[u8], end: usize, totals: &mut Totals) {
        self.state = State::Between;
        self.depth = 0;
        if let Some(overlong) = self.overlong.take() {
            self.block.rejects.push(overlong.reject(totals));
            return;
        }
        let Some(start) = self.start.take() else { return };
        let element = buffer.get(start..end).unwrap_or_default().trim_ascii();
        let verdict = if element.len() > self.record_bytes {
            Err(RejectReason::TooLong)
        } else if self.validation == Validation::Done {
            Ok(())
        } else {
            record::check(element)
        };
        match verdict {
            Ok(()) => {
                totals.records += 1;
                self.block.records += 1;
                self.push_line(element);
            }
            Err(reason) => {
                let reject = totals.reject(reason, element, element.len() as u64);
                self.block.rejects.push(reject);
            }
        }
    }

    /// Appends a record as one line: line ends between its tokens become spaces.
    fn push_line(&mut self, element: &[u8]) {
        let bytes = &mut self.block.bytes;
        let from = bytes.len();
        bytes.extend_from_slice(element);
        for byte in bytes.iter_mut().skip(from).filter(|byte| matches!(byte, b'\n' | b'\r')) {
            *byte = b' ';
        }
        bytes.push(b'\n');
    }
}
