//! Hides secrets in text from outside, whatever a server made of them on the way: percent-encoded, escaped
//! as JSON or HTML does it, in Base64 as `Basic` has it, or broken over lines.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use http::HeaderMap;
use serde_json::Value;

use super::destination::{self, HIDDEN, printable, without_parameters};

/// A shorter secret keeps nobody out, and would be found in every text.
const SECRET_BYTES: usize = 4;

/// Fewer letters of Base64 occur by chance.
const BASE64_LETTERS: usize = 6;

/// What was sent to a server and must not be shown when the server returns it.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    /// Secrets as bytes, without blanks.
    secrets: Vec<Vec<u8>>,
    /// What a secret is in Base64, at each of the three positions within a longer text. With the alphabet
    /// of URLs made the usual one.
    base64: Vec<Vec<u8>>,
}

/// A byte of a text as it was before something escaped it, and where that is in the text.
struct Letter {
    byte: u8,
    start: usize,
    end: usize,
}

impl Mask {
    /// Adds a secret: a header's value, or one word. Of `Bearer TOKEN` the token is a secret by itself, and
    /// of `Basic BASE64` the password.
    #[must_use]
    pub fn with_secret(mut self, secret: &str) -> Self {
        let token = secret.split_once(' ').map_or(secret, |(_, token)| token.trim());
        self.add(secret.as_bytes());
        self.add(token.as_bytes());
        if secret.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("basic "))
            && let Ok(pair) = STANDARD_NO_PAD.decode(token.trim_end_matches('='))
        {
            let password = pair.iter().position(|byte| *byte == b':').map(|colon| colon + 1);
            self.add(pair.get(password.unwrap_or(0)..).unwrap_or_default());
        }
        // The longest first: it may have others in it.
        self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        self.base64.sort_by_key(|letters| std::cmp::Reverse(letters.len()));
        self
    }

    /// Adds the values of headers, except of those that `plain` names.
    #[must_use]
    pub fn with_headers(self, headers: &HeaderMap, plain: &[http::header::HeaderName]) -> Self {
        let secrets = headers.iter().filter(|(name, _)| !plain.contains(name));
        let secrets = secrets.filter_map(|(_, value)| str::from_utf8(value.as_bytes()).ok());
        secrets.fold(self, Self::with_secret)
    }

    /// Adds what is secret in a destination.
    #[must_use]
    pub fn with_destination(self, text: &str) -> Self {
        destination::secrets(text).iter().fold(self, |mask, secret| mask.with_secret(secret))
    }

    fn add(&mut self, secret: &[u8]) {
        let plain: Vec<u8> = secret.iter().copied().filter(|byte| !is_blank(*byte)).collect();
        if plain.len() < SECRET_BYTES || self.secrets.contains(&plain) {
            return;
        }
        for before in 0..3 {
            let shifted = [&vec![0; before][..], secret].concat();
            let letters = STANDARD_NO_PAD.encode(&shifted);
            // Those that only depend on the secret.
            let (first, last) = ((before * 8).div_ceil(6), shifted.len() * 8 / 6);
            let letters = letters.get(first..last).unwrap_or_default();
            if letters.len() >= BASE64_LETTERS {
                self.base64.push(letters.as_bytes().to_vec());
            }
        }
        self.secrets.push(plain);
    }

    /// Returns the text without secrets, without the parameters of any other destination that it quotes, and
    /// with control characters written out.
    pub fn hide(&self, text: &str) -> String {
        printable(&without_parameters(&self.hide_secrets(text)))
    }

    /// Hides the secrets, and nothing else.
    pub fn hide_secrets(&self, text: &str) -> String {
        let text = replace(text, &letters(text), &self.secrets, |letter| letter.byte, 0);
        replace(&text, &letters(&text), &self.base64, |letter| usual(letter.byte), 1)
    }

    /// Hides the secrets in every text and every name of a value.
    pub fn hide_in(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.hide_secrets(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.hide_in(value)),
            Value::Object(members) => {
                let hidden = std::mem::take(members).into_iter().map(|(name, mut member)| {
                    self.hide_in(&mut member);
                    (self.hide_secrets(&name), member)
                });
                *members = hidden.collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Replaces what is one of `needles`. `around`: whether the rest of a word of Base64 goes with it.
fn replace(
    text: &str,
    letters: &[Letter],
    needles: &[Vec<u8>],
    byte: impl Fn(&Letter) -> u8,
    around: usize,
) -> String {
    let bytes: Vec<u8> = letters.iter().map(byte).collect();
    let (mut shown, mut from, mut at) = (String::with_capacity(text.len()), 0, 0);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(needle) = needles.iter().find(|needle| rest.starts_with(needle)) else {
            at += 1;
            continue;
        };
        let (mut first, mut last) = (at, at + needle.len() - 1);
        if around > 0 {
            let is_word = |at: usize| bytes.get(at).copied().is_some_and(is_base64);
            let is_next = |left: usize, right: usize| {
                letters.get(left).map(|it| it.end) == letters.get(right).map(|it| it.start)
            };
            while first > 0 && is_word(first - 1) && is_next(first - 1, first) {
                first -= 1;
            }
            while is_word(last + 1) && is_next(last, last + 1) {
                last += 1;
            }
        }
        let place = letters.get(first).map_or(from, |letter| letter.start).max(from);
        shown.push_str(text.get(from..place).unwrap_or_default());
        shown.push_str(HIDDEN);
        from = letters.get(last).map_or(text.len(), |letter| letter.end);
        at = last + 1;
    }
    shown.push_str(text.get(from..).unwrap_or_default());
    shown
}

/// The letters of a text as they were before something escaped them, without blanks, which may be where a
/// long word was broken.
fn letters(text: &str) -> Vec<Letter> {
    let bytes = text.as_bytes();
    let mut letters = Vec::with_capacity(bytes.len());
    let mut start = 0;
    while let Some(byte) = bytes.get(start) {
        let rest = text.get(start..).unwrap_or_default();
        let (byte, length) = escaped(rest).unwrap_or((*byte, 1));
        if !is_blank(byte) {
            letters.push(Letter { byte, start, end: start + length });
        }
        start += length;
    }
    letters
}

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte.is_ascii_control()
}

/// What the escape at the start of a text stands for, and how long it is.
fn escaped(text: &str) -> Option<(u8, usize)> {
    let hex = |digits: &str| u32::from_str_radix(digits, 16).ok();
    let ascii = |code: u32| u8::try_from(code).ok().filter(u8::is_ascii);
    match text.as_bytes() {
        [b'%', _, _, ..] => Some((u8::from_str_radix(text.get(1..3)?, 16).ok()?, 3)),
        [b'\\', b'u', b'{', ..] => {
            let digits = text.get(3..)?.split('}').next()?;
            Some((ascii(hex(digits)?)?, digits.len() + 4))
        }
        [b'\\', b'u', ..] => Some((ascii(hex(text.get(2..6)?)?)?, 6)),
        [b'\\', b'x', ..] => Some((ascii(hex(text.get(2..4)?)?)?, 4)),
        [b'\\', b'n' | b'r' | b't', ..] => Some((b' ', 2)),
        [b'\\', byte @ (b'/' | b'"' | b'\\' | b'\''), ..] => Some((*byte, 2)),
        [b'&', b'#', ..] => {
            let number = text.get(2..)?.split(';').next().filter(|number| number.len() < 8)?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => hex(digits)?,
                None => number.parse().ok()?,
            };
            Some((ascii(code)?, number.len() + 3))
        }
        [b'&', ..] => {
            let names =
                [("amp", b'&'), ("lt", b'<'), ("gt", b'>'), ("quot", b'"'), ("apos", b'\'')];
            let name = text.get(1..)?.split(';').next()?;
            let (name, byte) = names.into_iter().find(|(known, _)| *known == name)?;
            Some((byte, name.len() + 2))
        }
        _ => None,
    }
}

/// The alphabet of URLs made the usual one.
fn usual(byte: u8) -> u8 {
    match byte {
        b'-' => b'+',
        b'_' => b'/',
        byte => byte,
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;

    const TOKEN: &str = "v1.0-Ab/c+d_e==?&\"x\"";

    #[test]
    fn a_secret_is_hidden_however_it_is_written() {
        let mask = Mask::default().with_secret(&format!("Bearer {TOKEN}"));
        let every_byte =
            TOKEN.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
        let wrapped = TOKEN.chars().map(String::from).collect::<Vec<_>>().join("\r\n ");
        for form in [
            TOKEN.to_owned(),
            format!("Bearer {TOKEN}"),
            format!("Bearer%20{TOKEN}"),
            every_byte.clone(),
            every_byte.to_uppercase(),
            TOKEN.replace('/', "%2F").replace('+', "%2b"),
            TOKEN.replace('/', "\\/").replace('"', "\\\""),
            TOKEN.replace('&', "\\u0026").replace('+', "\\x2B"),
            TOKEN.replace('&', "&amp;").replace('"', "&quot;").replace('+', "&#43;"),
            TOKEN.replace('/', "&#x2f;"),
            wrapped,
            TOKEN.replace('b', "b\\n"),
            TOKEN.replace('b', "\u{0}b"),
            STANDARD.encode(TOKEN),
            URL_SAFE_NO_PAD.encode(TOKEN),
            STANDARD.encode(format!("user:{TOKEN}")),
            STANDARD.encode(format!("u:{TOKEN}")),
            STANDARD.encode(format!("us:{TOKEN}, and more")),
            STANDARD.encode(format!("Authorization: Bearer {TOKEN}\r\n")).replace('A', "%41"),
        ] {
            let text = format!("<p>got: {form} ;");
            assert_eq!(mask.hide_secrets(&text), "<p>got: *** ;", "{form}");
            let twice = format!("{form}|\u{e9}|{form}");
            assert_eq!(mask.hide_secrets(&twice), "***|\u{e9}|***", "{form}");
        }
        let plain = "nothing of it: v1.0-Ab, %, %4, \\u12, &#; \u{1f600} &";
        assert_eq!(mask.hide_secrets(plain), plain);
    }

    #[test]
    fn of_basic_the_password_is_a_secret_too() {
        let mask = Mask::default().with_secret("Basic dXNlcjpodW50ZXIyMw==");
        for text in ["dXNlcjpodW50ZXIyMw", "hunter23", "hunter%323", "Basic dXNlcjpodW50ZXIyMw=="] {
            assert_eq!(mask.hide_secrets(text), "***", "{text}");
        }
    }

    #[test]
    fn json_has_no_secret_in_names_and_values() {
        let mask = Mask::default().with_secret("hunter22");
        let mut value = json!({"a": ["x hunter22", 7], "hunter22": {"b": "hunter%32%32"}});
        mask.hide_in(&mut value);
        assert_eq!(value, json!({"a": ["x ***", 7], "***": {"b": "***"}}));
    }

    #[test]
    fn a_secret_that_is_too_short_is_left() {
        let mask = Mask::default().with_secret("abc").with_secret("");
        assert_eq!(mask.hide_secrets("abc"), "abc");
    }
}
