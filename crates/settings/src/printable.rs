//! Text from outside as a terminal, a log or a SIEM may show it: with its control characters, its
//! invisible format characters and the line separators of Unicode written out.
//!
//! Every part of the project that shows text of a client, a server or a record uses this module, so
//! that one list of characters holds everywhere. It knows nothing of where the text goes.

use std::{
    fmt::{self, Write},
    io,
};

/// Whether `c` can steer a terminal, change the order in which text is shown, end a line for some
/// readers, or be invisible: all of the Unicode categories Cc (controls), Cf (format characters, among
/// them those for direction), Zl and Zp (U+2028 and U+2029).
///
/// Joiners are included, so an emoji of several parts is shown in parts. A list with exceptions
/// would have to be argued for every reader.
pub fn is_hidden(c: char) -> bool {
    // What is unassigned between them is included: Unicode reserves it for more of the kind.
    c.is_control()
        || matches!(c,
            '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Shows a text for people: hidden characters as `\n`, `\t`, `\r` or `\u{9b}`, all else as it is.
pub fn printable(text: &str) -> Printable<'_> {
    Printable { text, max_bytes: usize::MAX }
}

/// A text that is shown for people. See [`printable`].
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a> {
    text: &'a str,
    max_bytes: usize,
}

impl Printable<'_> {
    /// Shows only a start of the text, at most about `max_bytes` long, then `...` and how long the
    /// text is. The rest is not looked at.
    #[must_use]
    pub fn up_to(self, max_bytes: usize) -> Self {
        Self { max_bytes, ..self }
    }
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.max_bytes;
        for c in self.text.chars() {
            let length = if is_hidden(c) { c.escape_default().len() } else { c.len_utf8() };
            let Some(rest) = left.checked_sub(length) else {
                return write!(f, "... ({} bytes)", self.text.len());
            };
            left = rest;
            write_printable(c, f)?;
        }
        Ok(())
    }
}

/// The start of a text: as many whole characters as fit into `max_bytes`.
pub fn start(text: &str, max_bytes: usize) -> &str {
    let end = (0..=max_bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// Writes one character as [`printable`] shows it.
pub fn write_printable(c: char, to: &mut impl Write) -> fmt::Result {
    if is_hidden(c) { write!(to, "{}", c.escape_default()) } else { to.write_char(c) }
}

/// Formats `value`, whatever its length, into at most `most_chars` characters. An ellipsis stands for
/// the rest. Nothing is escaped.
pub fn clipped(value: impl fmt::Display, most_chars: usize) -> String {
    let mut clipped = Clipped { text: String::new(), room: most_chars, was_cut: false };
    // An error is the end of the room, or a value that cannot be formatted.
    write!(clipped, "{value}").ok();
    if clipped.was_cut {
        clipped.text.push('…');
    }
    clipped.text
}

/// Collects formatted text up to a number of characters, then refuses the rest.
struct Clipped {
    text: String,
    room: usize,
    was_cut: bool,
}

impl Write for Clipped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut ends = text.char_indices().skip(self.room);
        if let Some((end, _)) = ends.next() {
            self.text.push_str(text.get(..end).unwrap_or_default());
            self.was_cut = true;
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        self.room -= text.chars().count();
        Ok(())
    }
}

/// Writes text without hidden characters: they come out as `\u009b`, so that JSON stays what it means. Line ends
/// and tabs stay; bytes that are no UTF-8 become U+FFFD.
#[derive(Debug)]
pub struct Writer<W: io::Write> {
    to: W,
    /// The start of a character whose end has not been written yet.
    begun: Vec<u8>,
}

impl<W: io::Write> Writer<W> {
    /// Writes to `to`.
    pub fn new(to: W) -> Self {
        Self { to, begun: Vec::new() }
    }
}

impl<W: io::Write> io::Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let begun = std::mem::take(&mut self.begun);
        let joined = [&begun, bytes].concat();
        let mut text = String::with_capacity(joined.len());
        let mut seen = 0;
        for chunk in joined.utf8_chunks() {
            write_units(chunk.valid(), &['\n', '\t'], &mut text);
            let rest = chunk.invalid();
            seen += chunk.valid().len() + rest.len();
            if seen == joined.len() && may_go_on(rest) {
                self.begun = rest.to_vec();
            } else if !rest.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.to.write_all(text.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Whether these bytes can be the start of a character.
fn may_go_on(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// Appends JSON to `out` with the hidden characters of its strings as `\u009b`, so that it means the
/// same. Line ends and tabs, which valid JSON has between tokens only, stay.
pub fn json(text: &str, out: &mut String) {
    write_units(text, &['\n', '\r', '\t'], out);
}

/// Appends `text` with its hidden characters as [`unit_escapes`] writes them, but for those in `kept`.
fn write_units(text: &str, kept: &[char], out: &mut String) {
    for c in text.chars() {
        if is_hidden(c) && !kept.contains(&c) {
            unit_escapes(c, out);
        } else {
            out.push(c);
        }
    }
}

/// Appends `c` as JSON and most languages write it in strings: `\u009b`, two of them beyond U+FFFF.
pub fn unit_escapes(c: char, out: &mut String) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        // A String takes everything.
        write!(out, "\\u{unit:04x}").ok();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of_json(text: &str) -> String {
        let mut out = String::new();
        json(text, &mut out);
        out
    }

    #[test]
    fn every_control_and_format_character_is_written_out() {
        let hidden: Vec<char> = ('\0'..=char::MAX).filter(|c| is_hidden(*c)).collect();
        // 65 Cc, 170 Cf, Zl and Zp in Unicode 16, and the 32 unassigned code points among them.
        assert_eq!(hidden.len(), 65 + 170 + 2 + 32);
        for c in hidden {
            let text = format!("a{c}b");
            let shown = printable(&text).to_string();
            assert!(shown.starts_with("a\\") && shown.ends_with('b'), "{shown}");
            assert!(!shown.contains(is_hidden), "{shown}");
            let value = serde_json::Value::from(text);
            let shown = of_json(&value.to_string());
            assert!(!shown.contains(is_hidden), "{shown}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }

    #[test]
    fn text_is_shown_as_it_is_written_in_code() {
        let text = "\u{1b}[2J\u{9b}\n\t\u{202e}\u{2028}\u{e0041} \\ \u{e9}\u{1f600}\u{200d}";
        let shown = r"\u{1b}[2J\u{9b}\n\t\u{202e}\u{2028}\u{e0041} \ ";
        assert_eq!(printable(text).to_string(), format!("{shown}\u{e9}\u{1f600}\\u{{200d}}"));
        assert_eq!(
            of_json("{\"a\":\n\t\"\u{7f}\u{e0041}\"}"),
            "{\"a\":\n\t\"\\u007f\\udb40\\udc41\"}"
        );
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(printable("abc").up_to(3).to_string(), "abc");
        assert_eq!(printable("abcd").up_to(3).to_string(), "abc... (4 bytes)");
        assert_eq!(printable("a\u{1b}b").up_to(3).to_string(), "a... (3 bytes)");
        assert_eq!(printable("a\u{e9}").up_to(2).to_string(), "a... (3 bytes)");
        assert_eq!(printable("a").up_to(0).to_string(), "... (1 bytes)");
    }

    #[test]
    fn a_start_is_whole_characters() {
        let starts = [0, 1, 2, 3, 4].map(|bytes| start("a\u{e9}b", bytes));
        assert_eq!(starts, ["", "a", "a", "a\u{e9}", "a\u{e9}b"]);
        assert_eq!(start("ab", 9), "ab");
    }

    #[test]
    fn a_clipped_value_ends_with_an_ellipsis() {
        assert_eq!(clipped("äöü", 3), "äöü");
        assert_eq!(clipped(format_args!("ä{}{}", "öü", '!'), 3), "äöü…");
        assert_eq!(clipped(format_args!("{}{}", "abc", "d"), 3), "abc…");
        assert_eq!(clipped("x".repeat(1 << 20), 2), "xx…");
    }

    fn written(pieces: &[&[u8]]) -> String {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        for piece in pieces {
            io::Write::write_all(&mut writer, piece).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_hidden_is_written_in_whatever_pieces_it_comes() {
        let hidden: String = ('\0'..=char::MAX).filter(|c| is_hidden(*c)).collect();
        let text = format!("\u{e9}{hidden}\u{1f600}");
        let whole = written(&[text.as_bytes()]);
        assert!(whole.starts_with("\u{e9}\\u0000\\u0001") && whole.ends_with('\u{1f600}'));
        assert!(!whole.contains(|c| is_hidden(c) && !matches!(c, '\n' | '\t')), "{whole}");
        let pieces: Vec<_> = text.as_bytes().chunks(1).collect();
        assert_eq!(written(&pieces), whole);
        let value = serde_json::json!({ "a": text, (text.clone()): [text] });
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let read: serde_json::Value = serde_json::from_str(&written(&[pretty.as_bytes()])).unwrap();
        assert_eq!(read, value);
        assert_eq!(written(&[b"a\xff", b"\xe2\x80", b"b\xf0"]), "a\u{fffd}\u{fffd}b");
    }

    proptest! {
        // The tables of another crate: those of the regular expressions that proptest reads.
        #[test]
        fn what_unicode_calls_a_control_is_hidden(text in "[\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]{1,40}") {
            prop_assert!(text.chars().all(is_hidden), "{:?}", text);
        }

        #[test]
        fn what_unicode_calls_a_letter_a_mark_or_a_sign_stays(
            text in "[\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}\\p{Zs}\\p{Co}]{0,40}",
        ) {
            prop_assert_eq!(&printable(&text).to_string(), &text);
            prop_assert_eq!(of_json(&text), text);
        }

        #[test]
        fn a_cut_text_is_short(text in any::<String>(), max_bytes in 0_usize..40) {
            let shown = printable(&text).up_to(max_bytes).to_string();
            prop_assert!(shown.len() <= max_bytes + "... (99999 bytes)".len());
            prop_assert!(!shown.contains(is_hidden));
        }
    }
}
