//! Records as lines that end with LF or CRLF. The last line end may be missing; blank lines are skipped.
//!
//! A line may contain several objects, concatenated or separated by commas, and nothing else. A CR between
//! the tokens of a record becomes a space: some programs would treat it as a line end, and the rest of the
//! line as another record.

use memchr::{memchr, memchr_iter, memrchr};

use super::{
    BLOCK_BYTES, Block,
    edition::Edition,
    json::{self, JsonKind},
    opening::BYTE_ORDER_MARK,
    record::{self, RejectReason, Validation},
    totals::{End, Overlong, Rules, Totals},
};

/// Cuts lines off a buffer.
pub(super) struct Lines {
    rules: Rules,
    overlong: Option<Overlong>,
}

impl Lines {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, overlong: None }
    }

    /// Passes complete lines of `buffer` to `out`, and leaves an incomplete line in it, with room for more.
    pub(super) fn frame(
        &mut self,
        buffer: &mut Vec<u8>,
        end: End,
        totals: &mut Totals,
        out: &mut dyn FnMut(Block),
    ) {
        if let Some(mut overlong) = self.overlong.take() {
            let line_end = memchr(b'\n', buffer);
            overlong.skip(line_end.unwrap_or(buffer.len()));
            buffer.drain(..line_end.map_or(buffer.len(), |at| at + 1));
            if line_end.is_none() && end == End::More {
                self.overlong = Some(overlong);
                return;
            }
            let rejects = vec![overlong.reject(totals)];
            out(Block { rejects, ..Block::default() });
        }
        if end == End::Last && !buffer.is_empty() && !buffer.ends_with(b"\n") {
            buffer.push(b'\n');
        }
        match memrchr(b'\n', buffer) {
            Some(at) => {
                let tail = buffer.get(at + 1..).unwrap_or_default();
                let mut next = Vec::new();
                if end == End::More {
                    next.reserve_exact(BLOCK_BYTES.max(tail.len() * 2));
                    next.extend_from_slice(tail);
                }
                let mut whole = std::mem::replace(buffer, next);
                whole.truncate(at + 1);
                out(self.block(whole, totals));
            }
            // One byte over the limit may be the CR of a CRLF.
            None if buffer.len() > self.rules.record_bytes + 1 => {
                self.overlong = Some(Overlong::new(buffer));
                buffer.clear();
            }
            None if buffer.len() == buffer.capacity() => buffer.reserve_exact(buffer.len()),
            None => {}
        }
    }

    /// Validates complete lines. The bytes are not copied unless some must be removed or changed.
    fn block(&self, lines: Vec<u8>, totals: &mut Totals) -> Block {
        // One validation of UTF-8 for the block is cheaper than one for each line.
        let check: fn(&[u8]) -> _ = match self.rules.validation {
            Validation::Done => |_| Ok(()),
            Validation::Required if std::str::from_utf8(&lines).is_ok() => record::check_json,
            Validation::Required => record::check,
        };
        let may_have_cr = self.rules.edition == Edition::Second && memchr(b'\r', &lines).is_some();
        let mut block = Block::default();
        // The lines before this offset are unchanged.
        let mut unchanged = 0;
        let mut rebuilt: Option<Vec<u8>> = None;
        let mut start = 0;
        for at in memchr_iter(b'\n', &lines) {
            let line = lines.get(start..at).unwrap_or_default();
            let line_start = std::mem::replace(&mut start, at + 1);
            let record = line.strip_suffix(b"\r").unwrap_or(line);
            let verdict = match record.first() {
                Some(b'{') => self.check(record, check),
                _ if record.trim_ascii().is_empty() => {
                    rebuilt.get_or_insert_with(|| prefix(&lines, unchanged));
                    continue;
                }
                _ => self.check(record, check),
            };
            if let Err(reason) = verdict {
                if reason != RejectReason::TooLong && self.is_several(record) {
                    totals.edition = Edition::Second;
                    let rebuilt = rebuilt.get_or_insert_with(|| prefix(&lines, unchanged));
                    for object in Objects::of(record).flatten() {
                        totals.records += 1;
                        block.records += 1;
                        push_line(object, rebuilt);
                    }
                    continue;
                }
                block.rejects.push(totals.reject(reason, record, record.len() as u64));
                rebuilt.get_or_insert_with(|| prefix(&lines, unchanged));
                continue;
            }
            totals.records += 1;
            block.records += 1;
            let has_cr = may_have_cr && memchr(b'\r', record).is_some();
            if rebuilt.is_none() && record.len() == line.len() && !has_cr {
                unchanged = at + 1;
                continue;
            }
            debug_assert!(
                rebuilt.is_some() || unchanged == line_start,
                "a gap before the first change"
            );
            let rebuilt = rebuilt.get_or_insert_with(|| prefix(&lines, unchanged));
            if has_cr {
                totals.edition = Edition::Second;
                push_line(record, rebuilt);
            } else {
                rebuilt.extend_from_slice(record);
                rebuilt.push(b'\n');
            }
        }
        block.bytes = rebuilt.unwrap_or(lines);
        block
    }

    fn check(
        &self,
        record: &[u8],
        check: fn(&[u8]) -> Result<(), RejectReason>,
    ) -> Result<(), RejectReason> {
        if record.len() > self.rules.record_bytes {
            Err(RejectReason::TooLong)
        } else {
            check(record)
        }
    }

    /// Whether an invalid line consists of several objects.
    fn is_several(&self, line: &[u8]) -> bool {
        self.rules.edition == Edition::Second
            && line.len() <= self.rules.split_bytes
            && std::str::from_utf8(line).is_ok()
            && Objects::of(line).all(|object| object.is_some())
    }
}

/// Iterates over the objects of a line. Returns `None` as the last item if it contains anything else.
struct Objects<'a> {
    rest: &'a [u8],
}

impl<'a> Objects<'a> {
    fn of(line: &'a [u8]) -> Self {
        Self { rest: line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) }
    }
}

impl<'a> Iterator for Objects<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        let Some((JsonKind::Object, end)) = json::first(rest) else { return Some(None) };
        let (object, rest) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        self.rest = rest.strip_prefix(b",").unwrap_or(rest).trim_ascii_start();
        Some(Some(object.trim_ascii()))
    }
}

/// Appends a record as one line, also for programs that treat CR as a line end.
fn push_line(record: &[u8], out: &mut Vec<u8>) {
    let from = out.len();
    out.extend_from_slice(record);
    for byte in out.iter_mut().skip(from).filter(|byte| **byte == b'\r') {
        *byte = b' ';
    }
    out.push(b'\n');
}

fn prefix(lines: &[u8], end: usize) -> Vec<u8> {
    let mut rebuilt = Vec::with_capacity(lines.len());
    rebuilt.extend_from_slice(lines.get(..end).unwrap_or_default());
    rebuilt
}
