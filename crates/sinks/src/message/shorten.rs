//! Makes a CEF or LEEF message shorter by whole fields, so that it stays one that readers take.
//!
//! The longest fields go first: then the fewest go. A field of its own names them.

use super::line::Line;

/// The key of the field that names what was left out. It begins as those of members do, which no
/// dictionary has.
pub(super) const NOTE: &str = "LogpushdDropped";

/// How long the names in it may be together. They may be any text, and a record may have very many.
pub(super) const NAMES_BYTES: usize = 200;

/// Where a field is in a message: what leads it in, its key, its value, and its label if it has one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: usize,
    /// Where the key begins, and where it ends.
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

/// Leaves fields out of the message at the end of `out` until it ends at `end` at the latest. Returns
/// whether that is possible with the fields of `spans`; they are in their order.
pub(super) fn shorten(line: &mut Line<'_>, spans: &[Span], end: usize) -> bool {
    let out = line.written();
    let mut note = Note { key: note_key(spans, out), names: String::new(), is_whole: true };
    let mut longest: Vec<_> = (0..spans.len()).collect();
    longest.sort_by_key(|place| spans.get(*place).map_or(0, |span| usize::MAX - span.length()));
    let mut is_left_out = vec![false; spans.len()];
    let mut length = out.len();
    for place in longest {
        if length + note.length() <= end && !note.names.is_empty() {
            break;
        }
        let (Some(span), Some(is_left_out)) = (spans.get(place), is_left_out.get_mut(place)) else {
            continue;
        };
        *is_left_out = true;
        length -= span.length();
        note.add(span.key(out));
    }
    if length + note.length() > end {
        return false;
    }
    let mut kept = Vec::with_capacity(length + note.length());
    let mut from = 0;
    for (span, _) in spans.iter().zip(is_left_out).filter(|(_, is_left_out)| *is_left_out) {
        kept.extend_from_slice(out.get(from..span.start).unwrap_or_default());
        from = span.end;
    }
    kept.extend_from_slice(out.get(from..).unwrap_or_default());
    line.replace(kept);
    line.pair(&note.key, &note.names);
    true
}

/// The field that names what was left out.
struct Note {
    key: String,
    names: String,
    /// Whether all names are in it.
    is_whole: bool,
}

impl Note {
    fn add(&mut self, name: &str) {
        if !self.is_whole {
            return;
        }
        let comma = if self.names.is_empty() { "" } else { "," };
        self.is_whole = self.names.len() + name.len() < NAMES_BYTES;
        self.names.extend([comma, if self.is_whole { name } else { "..." }]);
    }

    /// With what leads it in and the equals sign.
    fn length(&self) -> usize {
        1 + self.key.len() + 1 + self.names.len()
    }
}

/// A key that no field has.
fn note_key(spans: &[Span], out: &[u8]) -> String {
    let mut key = NOTE.to_owned();
    for number in 2.. {
        if spans.iter().all(|span| span.key(out) != key) {
            break;
        }
        key = format!("{NOTE}{number}");
    }
    key
}
