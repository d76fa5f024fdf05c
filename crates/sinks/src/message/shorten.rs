//! Shortens a CEF or LEEF message by whole fields, so that it stays valid.
//!
//! Removes the longest fields first, so that the fewest are removed, and lists them in a field.

use super::line::Line;

/// The key of the field that lists the removed fields. Like the keys of members, it is in no
/// dictionary.
pub(super) const DROPPED_KEY: &str = "LogpushdDropped";

/// The maximum length of the list: names can be any text, and a record can have very many.
pub(super) const NAMES_BYTES: usize = 200;

/// The position of a field in a message: its separator, its key, its value, and its label if it has
/// one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: usize,
    /// The beginning and the end of the key.
    pub(super) key: (usize, usize),
    pub(super) end: usize,
}

impl Span {
    fn length(self) -> usize {
        self.end - self.start
    }

    fn key(self, message: &[u8]) -> &str {
        let key = message.get(self.key.0..self.key.1).unwrap_or_default();
        std::str::from_utf8(key).unwrap_or_default()
    }
}

/// Removes fields from the message at the end of the buffer until the buffer is at most `end` bytes
/// long. Returns whether that is possible with the fields in `spans`, which are in order.
pub(super) fn shorten(line: &mut Line<'_>, spans: &[Span], end: usize) -> bool {
    let out = line.written();
    let mut dropped =
        DroppedField { key: dropped_key(spans, out), names: String::new(), is_whole: true };
    let mut longest: Vec<_> = (0..spans.len()).collect();
    longest.sort_by_key(|index| spans.get(*index).map_or(0, |span| usize::MAX - span.length()));
    let mut is_left_out = vec![false; spans.len()];
    let mut length = out.len();
    for index in longest {
        if length + dropped.length() <= end && !dropped.names.is_empty() {
            break;
        }
        let (Some(span), Some(is_left_out)) = (spans.get(index), is_left_out.get_mut(index)) else {
            continue;
        };
        *is_left_out = true;
        length -= span.length();
        dropped.add(span.key(out));
    }
    if length + dropped.length() > end {
        return false;
    }
    let mut kept = Vec::with_capacity(length + dropped.length());
    let mut from = 0;
    for (span, _) in spans.iter().zip(is_left_out).filter(|(_, is_left_out)| *is_left_out) {
        kept.extend_from_slice(out.get(from..span.start).unwrap_or_default());
        from = span.end;
    }
    kept.extend_from_slice(out.get(from..).unwrap_or_default());
    line.replace(kept);
    line.pair(&dropped.key, &dropped.names);
    true
}

/// The field that lists the removed fields.
struct DroppedField {
    key: String,
    names: String,
    /// Whether all names are in the list.
    is_whole: bool,
}

impl DroppedField {
    fn add(&mut self, name: &str) {
        if !self.is_whole {
            return;
        }
        let comma = if self.names.is_empty() { "" } else { "," };
        self.is_whole = self.names.len() + name.len() < NAMES_BYTES;
        self.names.extend([comma, if self.is_whole { name } else { "..." }]);
    }

    /// The length of the field with its separator and equals sign.
    fn length(&self) -> usize {
        1 + self.key.len() + 1 + self.names.len()
    }
}

/// Returns a key that no field has.
fn dropped_key(spans: &[Span], out: &[u8]) -> String {
    let mut key = DROPPED_KEY.to_owned();
    for number in 2.. {
        if spans.iter().all(|span| span.key(out) != key) {
            break;
        }
        key = format!("{DROPPED_KEY}{number}");
    }
    key
}
