//! Records as the elements of a JSON array, over any white space; or the same without the array, one behind
//! the other.
//!
//! Elements are told apart by brackets and strings alone, then checked one by one, so that a bad one
//! costs itself. A line end inside a string, which JSON forbids, ends the element: that finds the way
//! back after a quote that is missing. Without an array an element ends with its own last bracket, or, if it
//! has none, with the line, or, once it is too long, where a line begins with an object.

use memchr::memchr3;

use super::{
    BLOCK_BYTES, Block,
    record::{self, PREVIEW_BYTES, RejectReason, Trust},
    tally::{End, Overlong, Rules, Tally},
};

/// Cuts elements off a buffer.
pub(super) struct Array {
    record_bytes: usize,
    trust: Trust,
    wrapping: Wrapping,
    place: Place,
    depth: usize,
    /// Where in the buffer the current element begins.
    start: Option<usize>,
    /// How much of the buffer has been read.
    read: usize,
    overlong: Option<Overlong>,
    block: Block,
}

/// What stands around the elements.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wrapping {
    /// Arrays or no array, one behind the other; here neither has begun.
    Unopened,
    /// No array, up to the end of the body.
    None,
    /// An array behind which others may follow.
    Repeated,
    Bare,
    /// An object, whose end belongs to the framing.
    Envelope,
}

enum Place {
    Between,
    String,
    /// Behind a backslash in a string.
    Escape,
    /// Behind a line end in an element that is too long, where no array tells what is one.
    LineStart,
    /// Behind the array in an envelope.
    Closing,
    Closed,
}

impl Array {
    pub(super) fn new(rules: Rules, wrapping: Wrapping) -> Self {
        Self {
            record_bytes: rules.record_bytes,
            trust: rules.trust,
            wrapping,
            place: Place::Between,
            depth: 0,
            start: None,
            read: 0,
            overlong: None,
            block: Block::default(),
        }
    }

    /// Hands over the whole elements of `buffer`, leaves the last part of one in it, and room
    /// behind. Says whether the array is closed, and no other may follow; what does is then left in
    /// the buffer.
    pub(super) fn frame(
        &mut self,
        buffer: &mut Vec<u8>,
        end: End,
        tally: &mut Tally,
        out: &mut dyn FnMut(Block),
    ) -> bool {
        while self.read < buffer.len() && !matches!(self.place, Place::Closed) {
            self.step(buffer, tally);
            if self.block.bytes.len() >= BLOCK_BYTES {
                out(std::mem::take(&mut self.block));
            }
        }
        let closed = matches!(self.place, Place::Closed);
        if end == End::Last && !closed {
            self.end_element(buffer, self.read, tally);
        }
        // Rejects may be many and their records none: they are not gathered up over the whole body.
        let hand_over = closed || end == End::Last || !self.block.rejects.is_empty();
        if hand_over && self.block != Block::default() {
            out(std::mem::take(&mut self.block));
        }
        // Whether it is too long or not, its preview must be whole before it is let go.
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

    /// Reads on to the next byte that may matter.
    fn step(&mut self, buffer: &[u8], tally: &mut Tally) {
        let rest = buffer.get(self.read..).unwrap_or_default();
        let Some(&byte) = rest.first() else { return };
        match self.place {
            Place::Closed => return,
            Place::Closing => {
                if !byte.is_ascii_whitespace() {
                    self.place = Place::Closed;
                    self.advance(usize::from(byte == b'}'));
                    return;
                }
            }
            Place::Escape => {
                self.place = Place::String;
                if byte == b'\n' {
                    return;
                }
            }
            // Most likely a bracket is missing further up. Those of a record over several lines are
            // indented.
            Place::LineStart => {
                self.place = Place::Between;
                if byte == b'{' {
                    self.end_element(buffer, self.read, tally);
                }
                return;
            }
            Place::String => match memchr3(b'"', b'\\', b'\n', rest) {
                None => return self.advance(rest.len()),
                Some(at) => {
                    self.advance(at);
                    match rest.get(at) {
                        Some(b'"') => self.place = Place::Between,
                        Some(b'\\') => self.place = Place::Escape,
                        _ => self.end_element(buffer, self.read, tally),
                    }
                }
            },
            // The array does not end with its bracket but turns into the next: a body may hold
            // millions, and each may cost no more than its bytes.
            Place::Between
                if self.wrapping == Wrapping::Unopened && !byte.is_ascii_whitespace() =>
            {
                if byte != b'[' {
                    self.wrapping = Wrapping::None;
                    return;
                }
                self.wrapping = Wrapping::Repeated;
            }
            Place::Between => match byte {
                b',' if self.depth == 0 => {
                    self.end_element(buffer, self.read, tally);
                    self.read += 1;
                    return;
                }
                b']' if self.depth == 0 && self.wrapping != Wrapping::None => {
                    self.end_element(buffer, self.read, tally);
                    self.read += 1;
                    match self.wrapping {
                        Wrapping::Bare => self.place = Place::Closed,
                        Wrapping::Envelope => self.place = Place::Closing,
                        _ => self.wrapping = Wrapping::Unopened,
                    }
                    return;
                }
                // A job without a record_delimiter: the next element follows without a comma.
                b'{' if self.depth == 0 && self.start.is_some() => {
                    self.end_element(buffer, self.read, tally);
                    return;
                }
                b'\n' if self.depth == 0 && self.wrapping == Wrapping::None => {
                    self.end_element(buffer, self.read, tally);
                }
                b'\n' if self.wrapping == Wrapping::None && self.is_too_long() => {
                    self.place = Place::LineStart;
                }
                _ if byte.is_ascii_whitespace() && self.start.is_none() => {}
                _ => {
                    if self.overlong.is_none() {
                        self.start.get_or_insert(self.read);
                    }
                    match byte {
                        b'"' => self.place = Place::String,
                        b'{' | b'[' => self.depth += 1,
                        b'}' | b']' => {
                            self.depth = self.depth.saturating_sub(1);
                            if self.depth == 0 && self.wrapping == Wrapping::None {
                                self.advance(1);
                                self.end_element(buffer, self.read, tally);
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

    /// Whether the current element is, as far as it was read.
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

    fn end_element(&mut self, buffer: &[u8], end: usize, tally: &mut Tally) {
        self.place = Place::Between;
        self.depth = 0;
        if let Some(overlong) = self.overlong.take() {
            self.block.rejects.push(overlong.reject(tally));
            return;
        }
        let Some(start) = self.start.take() else { return };
        let element = buffer.get(start..end).unwrap_or_default().trim_ascii();
        let verdict = if element.len() > self.record_bytes {
            Err(RejectReason::TooLong)
        } else if self.trust == Trust::Passed {
            Ok(())
        } else {
            record::check(element)
        };
        match verdict {
            Ok(()) => {
                tally.records += 1;
                self.block.records += 1;
                self.push_line(element);
            }
            Err(reason) => {
                let reject = tally.reject(reason, element, element.len() as u64);
                self.block.rejects.push(reject);
            }
        }
    }

    /// A record is one line of the output: line ends between its tokens become spaces.
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
