//! Makes untrusted text safe for terminals, logs and SIEMs: escapes control characters, invisible format
//! characters and the line separators of Unicode.
//!
//! All code that displays text of a client, a server or a record uses this module, so that the same list
//! of characters applies everywhere. It is independent of where the text is displayed.

use std::{
    fmt::{self, Write},
    io,
};

/// Whether `c` can control a terminal, reorder text, end a line in some programs, or be invisible: the
/// Unicode categories Cc (controls), Cf (format characters, including those for direction), Zl and Zp
/// (U+2028 and U+2029).
///
/// Joiners are included, so an emoji of several parts is displayed in parts. Exceptions would have to be
/// justified for every program that displays the text.
pub fn is_hidden(c: char) -> bool {
    // Unassigned code points in these ranges are included: Unicode reserves them for similar characters.
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

/// Escapes hidden characters as `\n`, `\t`, `\r` or `\u{9b}`. Other characters are not changed.
pub fn printable(text: &str) -> Printable<'_> {
    Printable { text, max_bytes: usize::MAX }
}

/// A text with hidden characters escaped. See [`printable`].
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a> {
    text: &'a str,
    max_bytes: usize,
}

impl Printable<'_> {
    /// Limits the output to about `max_bytes`. A longer text is cut and followed by `...` and its length.
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

/// The longest prefix of whole characters with at most `max_bytes`.
pub fn start(text: &str, max_bytes: usize) -> &str {
    let end = (0..=max_bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// Writes one character, escaped as by [`printable`].
pub fn write_printable(c: char, to: &mut impl Write) -> fmt::Result {
    if is_hidden(c) { write!(to, "{}", c.escape_default()) } else { to.write_char(c) }
}

/// Formats `value` with at most `max_chars` characters. An ellipsis replaces the rest. Does not escape.
pub fn clipped(value: impl fmt::Display, max_chars: usize) -> String {
    let mut clipped = Clipped { text: String::new(), room: max_chars, was_cut: false };
    // An error means that the limit is reached, or that the value cannot be formatted.
    write!(clipped, "{value}").ok();
    if clipped.was_cut {
        clipped.text.push('…');
    }
    clipped.text
}

/// Collects formatted text up to a number of characters, then returns an error.
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

/// Escapes hidden characters in the text that is written to it as `\u009b`, which does not change the
/// meaning of JSON. Line feeds and tabs are not changed; invalid UTF-8 becomes U+FFFD.
#[derive(Debug)]
pub struct Writer<W: io::Write> {
    to: W,
    /// The first bytes of a character that is not complete yet.
    incomplete: Vec<u8>,
}

impl<W: io::Write> Writer<W> {
    /// Creates a writer to `to`.
    pub fn new(to: W) -> Self {
        Self { to, incomplete: Vec::new() }
    }
}

impl<W: io::Write> io::Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let incomplete = std::mem::take(&mut self.incomplete);
        let joined = [&incomplete, bytes].concat();
        let mut text = String::with_capacity(joined.len());
        let mut seen = 0;
        for chunk in joined.utf8_chunks() {
            write_units(chunk.valid(), &['\n', '\t'], &mut text);
            let rest = chunk.invalid();
            seen += chunk.valid().len() + rest.len();
            if seen == joined.len() && is_incomplete(rest) {
                self.incomplete = rest.to_vec();
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

/// Whether these bytes can be the beginning of a character.
fn is_incomplete(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// Appends JSON to `out` with hidden characters escaped as `\u009b`, which does not change its meaning.
/// Line ends and tabs are not changed: valid JSON contains them only between tokens.
pub fn json(text: &str, out: &mut String) {
    write_units(text, &['\n', '\r', '\t'], out);
}

/// Appends `text` with hidden characters escaped by [`unit_escapes`], except those in `kept`.
fn write_units(text: &str, kept: &[char], out: &mut String) {
    for c in text.chars() {
        if is_hidden(c) && !kept.contains(&c) {
            unit_escapes(c, out);
        } else {
            out.push(c);
        }
    }
}

/// Appends `c` as JSON and most languages escape it in strings: as `\u009b`, or as two escapes if it is
/// greater than U+FFFF.
pub fn unit_escapes(c: char, out: &mut String) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        // Writing to a String does not fail.
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
    fn every_control_and_format_character_is_escaped() {
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
    fn escapes_are_those_of_rust_and_json() {
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
    fn a_prefix_consists_of_whole_characters() {
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

    fn written(chunks: &[&[u8]]) -> String {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        for chunk in chunks {
            io::Write::write_all(&mut writer, chunk).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn hidden_characters_are_escaped_however_the_text_is_split() {
        let hidden: String = ('\0'..=char::MAX).filter(|c| is_hidden(*c)).collect();
        let text = format!("\u{e9}{hidden}\u{1f600}");
        let whole = written(&[text.as_bytes()]);
        assert!(whole.starts_with("\u{e9}\\u0000\\u0001") && whole.ends_with('\u{1f600}'));
        assert!(!whole.contains(|c| is_hidden(c) && !matches!(c, '\n' | '\t')), "{whole}");
        let chunks: Vec<_> = text.as_bytes().chunks(1).collect();
        assert_eq!(written(&chunks), whole);
        let value = serde_json::json!({ "a": text, (text.clone()): [text] });
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        let read: serde_json::Value = serde_json::from_str(&written(&[pretty.as_bytes()])).unwrap();
        assert_eq!(read, value);
        assert_eq!(written(&[b"a\xff", b"\xe2\x80", b"b\xf0"]), "a\u{fffd}\u{fffd}b");
    }

    proptest! {
        // Compares with the Unicode tables of proptest's regular expressions.
        #[test]
        fn control_and_format_characters_are_hidden(text in "[\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]{1,40}") {
            prop_assert!(text.chars().all(is_hidden), "{:?}", text);
        }

        #[test]
        fn other_characters_are_not_changed(
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
