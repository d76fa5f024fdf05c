//! Validates JSON (RFC 8259).
//!
//! Every record is validated here, so it only checks the grammar: it builds no value and decodes no text.
//! It accepts the same text as `serde_json`, which the tests and the fuzz target verify.

/// The type of a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum JsonKind {
    Object,
    Other,
}

/// Validates `text` as one value. The caller must check the UTF-8. Returns `None` if it is invalid.
pub(super) fn kind(text: &[u8]) -> Option<JsonKind> {
    let (kind, end) = first(text)?;
    (end == text.len()).then_some(kind)
}

/// Validates the value at the beginning of `text`. Returns its type and the offset after it and its
/// white space, or `None` if `text` does not begin with a valid value.
pub(super) fn first(text: &[u8]) -> Option<(JsonKind, usize)> {
    let mut open = Open::default();
    let mut at = blank(text, 0);
    let kind = if text.get(at) == Some(&b'{') { JsonKind::Object } else { JsonKind::Other };
    loop {
        // A value begins.
        at = match *text.get(at)? {
            b'"' => string(text, at + 1)?,
            b'{' => match blank(text, at + 1) {
                end if text.get(end) == Some(&b'}') => end + 1,
                first => {
                    open.push(Container::Object);
                    at = member(text, first)?;
                    continue;
                }
            },
            b'[' => match blank(text, at + 1) {
                end if text.get(end) == Some(&b']') => end + 1,
                first => {
                    open.push(Container::Array);
                    at = first;
                    continue;
                }
            },
            b'-' => number(text, at + 1)?,
            b'0'..=b'9' => number(text, at)?,
            b't' => word(text, at, b"true")?,
            b'f' => word(text, at, b"false")?,
            b'n' => word(text, at, b"null")?,
            _ => return None,
        };
        // A value ends, and possibly the values that contain it.
        loop {
            at = blank(text, at);
            let next = text.get(at);
            match (open.last(), next) {
                (None, _) => return Some((kind, at)),
                (Some(Container::Object), Some(b',')) => {
                    at = member(text, blank(text, at + 1))?;
                    break;
                }
                (Some(Container::Array), Some(b',')) => {
                    at = blank(text, at + 1);
                    break;
                }
                (Some(Container::Object), Some(b'}')) | (Some(Container::Array), Some(b']')) => {
                    open.pop();
                    at += 1;
                }
                _ => return None,
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Container {
    Array,
    Object,
}

/// The stack of open containers as bits, with the innermost one in the lowest bit. The outer containers
/// of a deep value are spilled, 64 at a time.
#[derive(Default)]
struct Open {
    depth: usize,
    bits: u64,
    spilled: Vec<u64>,
}

impl Open {
    fn push(&mut self, container: Container) {
        if self.depth.is_multiple_of(64) && self.depth > 0 {
            self.spilled.push(self.bits);
        }
        self.bits = self.bits << 1 | container as u64;
        self.depth += 1;
    }

    fn last(&self) -> Option<Container> {
        match (self.depth, self.bits & 1) {
            (0, _) => None,
            (_, 0) => Some(Container::Array),
            _ => Some(Container::Object),
        }
    }

    fn pop(&mut self) {
        self.bits >>= 1;
        self.depth -= 1;
        if self.depth.is_multiple_of(64) && self.depth > 0 {
            self.bits = self.spilled.pop().unwrap_or_default();
        }
    }
}

/// The next offset that is not white space.
#[inline]
fn blank(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = text.get(at) {
        at += 1;
    }
    at
}

/// The offset of a member's value: after its name, the colon and white space.
#[inline]
fn member(text: &[u8], at: usize) -> Option<usize> {
    if *text.get(at)? != b'"' {
        return None;
    }
    let colon = blank(text, string(text, at + 1)?);
    (*text.get(colon)? == b':').then(|| blank(text, colon + 1))
}

/// The offset after the string whose opening quote is before `at`.
#[inline]
fn string(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at = plain(text, at);
        match *text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at = escape(text, at + 1)?,
            _ => return None,
        }
    }
}

/// The next offset of a quote, a backslash or a control character, or the end.
#[inline]
fn plain(text: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    while let Some(eight) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let eight = u64::from_le_bytes(*eight);
        let zero = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes;
        let quote = zero(eight ^ (ONES * u64::from(b'"')));
        let backslash = zero(eight ^ (ONES * u64::from(b'\\')));
        let control = eight.wrapping_sub(ONES * 0x20) & !eight;
        // A borrow can set a wrong bit only after a right one, so the first bit is right.
        let found = (quote | backslash | control) & HIGHS;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(byte) = text.get(at)
        && !matches!(byte, b'"' | b'\\' | 0..0x20)
    {
        at += 1;
    }
    at
}

#[cold]
fn escape(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 1),
        b'u' => {
            let digits = text.get(at + 1..at + 5)?;
            digits.iter().all(u8::is_ascii_hexdigit).then_some(at + 5)
        }
        _ => None,
    }
}

/// The offset after the number whose first digit is at `at`.
#[inline]
fn number(text: &[u8], at: usize) -> Option<usize> {
    let mut end = digits(text, at)?;
    if text.get(at) == Some(&b'0') && end > at + 1 {
        return None;
    }
    if text.get(end) == Some(&b'.') {
        end = digits(text, end + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(end) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        end = digits(text, end + 1 + sign)?;
    }
    Some(end)
}

/// The offset after the digits at `at`; `None` if there are none.
#[inline]
fn digits(text: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    while let Some(b'0'..=b'9') = text.get(end) {
        end += 1;
    }
    (end > at).then_some(end)
}

fn word(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    text.get(at..)?.starts_with(word).then(|| at + word.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn serde_json(text: &[u8]) -> Option<JsonKind> {
        serde_json::from_slice::<IgnoredAny>(text).ok()?;
        let object = text.trim_ascii_start().starts_with(b"{");
        Some(if object { JsonKind::Object } else { JsonKind::Other })
    }

    #[test]
    fn valid_and_invalid_values() {
        let deep = format!("{}1{}", "[{\"a\":".repeat(200), "}]".repeat(200));
        let crossed = format!("{}1{}", "[{\"a\":".repeat(200), "]}".repeat(200));
        let good = [
            "{}",
            " { } ",
            "[]",
            "0",
            "-0",
            "-12.50e+3",
            "1e400",
            "12345678901234567890123",
            "\"\"",
            "true",
            "false",
            "null",
            "[1,\"a\",null , {\"b\":[[]]}]",
            "\"a\\u00e4\\ud800\\\"\\\\/\\n\"",
            "{\"a\":1,\"a\":{\"b\":\"}\"}}",
            "\"\u{7f}\u{20ac}\u{1f600}\"",
            "\t\r\n1\n",
            deep.as_str(),
        ];
        let bad = [
            "",
            " ",
            "{",
            "}",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a:1}",
            "{1:1}",
            "[1}",
            "{\"a\":1]",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "1e+",
            "+1",
            "0x1",
            "tru",
            "nulL",
            "\"",
            "\"a",
            "\"\\\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u123\"",
            "\"a\nb\"",
            "\"12345678\u{1f}\"",
            "1 2",
            "{}{}",
            "[1 2]",
            ",",
            "NaN",
            "\u{feff}{}",
            "\u{a0}1",
            "// a",
            crossed.as_str(),
        ];
        for text in good {
            assert_eq!(kind(text.as_bytes()), serde_json(text.as_bytes()), "{text}");
            assert!(kind(text.as_bytes()).is_some(), "{text}");
        }
        for text in bad {
            assert_eq!(serde_json(text.as_bytes()), None, "{text}");
            assert_eq!(kind(text.as_bytes()), None, "{text}");
        }
        assert_eq!((kind(b" {}"), kind(b"[{}]")), (Some(JsonKind::Object), Some(JsonKind::Other)));
    }

    /// Text of random tokens, some of which is valid JSON.
    fn tokens() -> impl Strategy<Value = Vec<u8>> {
        let token = prop_oneof![
            "[\\[\\]{}:, \\\\\"]",
            "-?[0-9]{1,3}(\\.[0-9]{1,2})?([eE][+-]?[0-9])?",
            "\"[ -~\\x00-\\x20\u{80}-\u{ff}]{0,20}\"",
            "true|false|null|\\\\u[0-9a-g]{4}",
        ];
        proptest::collection::vec(token, 0..12).prop_map(|tokens| tokens.concat().into_bytes())
    }

    /// A valid value, in which at most one byte is changed.
    fn changed() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,3})?".prop_map(|number| number),
            "[ -~\u{80}-\u{ff}]{0,30}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        ];
        let value = leaf.prop_recursive(4, 40, 6, |inner| {
            let member = ("[a-zA-Z]{1,12}", inner.clone())
                .prop_map(|(name, value)| format!("\"{name}\" :{value}"));
            prop_oneof![
                proptest::collection::vec(inner, 0..6)
                    .prop_map(|all| format!("[{}]", all.join(", "))),
                proptest::collection::vec(member, 0..6)
                    .prop_map(|all| format!("{{{}}}", all.join(","))),
            ]
        });
        (value, any::<prop::sample::Index>(), any::<Option<u8>>()).prop_map(|(text, at, byte)| {
            let mut text = text.into_bytes();
            if let Some(byte) = byte {
                let at = at.index(text.len());
                text[at] = byte;
            }
            text
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn it_accepts_the_same_text_as_serde_json(text in prop_oneof![tokens(), changed()]) {
            prop_assume!(std::str::from_utf8(&text).is_ok());
            prop_assert_eq!(kind(&text), serde_json(&text));
        }
    }
}
