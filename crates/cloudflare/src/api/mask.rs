//! Masks secrets in text from a server, in any encoding: percent-encoded, with JSON or HTML escapes, in
//! Base64 as in `Basic` authentication, or wrapped over several lines.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use http::HeaderMap;
use serde_json::Value;

use super::destination::{self, REDACTED, mask_parameters, printable};

/// The shortest secret that is masked. A shorter one protects nothing, and occurs in any text.
const SECRET_BYTES: usize = 4;

/// The shortest Base64 text that is masked. A shorter one occurs by chance.
const BASE64_CHARS: usize = 6;

/// The secrets that were sent to a server, to mask them in the server's responses.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    /// The secrets, without white space.
    secrets: Vec<Vec<u8>>,
    /// The Base64 forms of each secret, for each of its three alignments within a longer text, in the
    /// standard alphabet.
    base64: Vec<Vec<u8>>,
}

/// An unescaped byte, and the range of its escape in the text.
struct UnescapedByte {
    byte: u8,
    start: usize,
    end: usize,
}

impl Mask {
    /// Adds a secret: a word or the value of a header.
    ///
    /// Also adds the token of `Bearer TOKEN`, and the password of `Basic BASE64`.
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
        // The longest first: it may contain shorter ones.
        self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        self.base64.sort_by_key(|encoded| std::cmp::Reverse(encoded.len()));
        self
    }

    /// Adds the values of all headers except those in `plain`.
    #[must_use]
    pub fn with_headers(self, headers: &HeaderMap, plain: &[http::header::HeaderName]) -> Self {
        let secrets = headers.iter().filter(|(name, _)| !plain.contains(name));
        let secrets = secrets.filter_map(|(_, value)| str::from_utf8(value.as_bytes()).ok());
        secrets.fold(self, Self::with_secret)
    }

    /// Adds the secrets of a destination.
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
            let encoded = STANDARD_NO_PAD.encode(&shifted);
            // Only the characters that depend on nothing but the secret.
            let (first, last) = ((before * 8).div_ceil(6), shifted.len() * 8 / 6);
            let encoded = encoded.get(first..last).unwrap_or_default();
            if encoded.len() >= BASE64_CHARS {
                self.base64.push(encoded.as_bytes().to_vec());
            }
        }
        self.secrets.push(plain);
    }

    /// Masks the secrets and the parameters of other destinations, and escapes control characters.
    pub fn hide(&self, text: &str) -> String {
        printable(&mask_parameters(&self.hide_secrets(text)))
    }

    /// Masks the secrets and changes nothing else.
    pub fn hide_secrets(&self, text: &str) -> String {
        let text = replace(text, &unescape(text), &self.secrets, |it| it.byte, false);
        replace(&text, &unescape(&text), &self.base64, |it| to_standard(it.byte), true)
    }

    /// Masks the secrets in all strings and member names of a JSON value.
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

/// Replaces each occurrence of one of `needles`, with `extend` the whole Base64 word around it.
fn replace(
    text: &str,
    unescaped: &[UnescapedByte],
    needles: &[Vec<u8>],
    byte: impl Fn(&UnescapedByte) -> u8,
    extend: bool,
) -> String {
    let bytes: Vec<u8> = unescaped.iter().map(byte).collect();
    let (mut shown, mut from, mut at) = (String::with_capacity(text.len()), 0, 0);
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(needle) = needles.iter().find(|needle| rest.starts_with(needle)) else {
            at += 1;
            continue;
        };
        let (mut first, mut last) = (at, at + needle.len() - 1);
        if extend {
            let is_word = |at: usize| bytes.get(at).copied().is_some_and(is_base64);
            let is_next = |left: usize, right: usize| {
                unescaped.get(left).map(|it| it.end) == unescaped.get(right).map(|it| it.start)
            };
            while first > 0 && is_word(first - 1) && is_next(first - 1, first) {
                first -= 1;
            }
            while is_word(last + 1) && is_next(last, last + 1) {
                last += 1;
            }
        }
        let start = unescaped.get(first).map_or(from, |it| it.start).max(from);
        shown.push_str(text.get(from..start).unwrap_or_default());
        shown.push_str(REDACTED);
        from = unescaped.get(last).map_or(text.len(), |it| it.end);
        at = last + 1;
    }
    shown.push_str(text.get(from..).unwrap_or_default());
    shown
}

/// Unescapes a text and removes its white space, which may come from wrapping a long word.
fn unescape(text: &str) -> Vec<UnescapedByte> {
    let bytes = text.as_bytes();
    let mut unescaped = Vec::with_capacity(bytes.len());
    let mut start = 0;
    while let Some(byte) = bytes.get(start) {
        let rest = text.get(start..).unwrap_or_default();
        let (byte, length) = unescape_first(rest).unwrap_or((*byte, 1));
        if !is_blank(byte) {
            unescaped.push(UnescapedByte { byte, start, end: start + length });
        }
        start += length;
    }
    unescaped
}

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte.is_ascii_control()
}

/// Decodes the escape at the start of a text; returns its value and its length.
fn unescape_first(text: &str) -> Option<(u8, usize)> {
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

/// Converts a character of the URL-safe Base64 alphabet to the standard one.
fn to_standard(byte: u8) -> u8 {
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
    fn a_secret_is_masked_in_every_encoding() {
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
        let plain = "no secret: v1.0-Ab, %, %4, \\u12, &#; \u{1f600} &";
        assert_eq!(mask.hide_secrets(plain), plain);
    }

    #[test]
    fn the_password_of_basic_authentication_is_masked() {
        let mask = Mask::default().with_secret("Basic dXNlcjpodW50ZXIyMw==");
        for text in ["dXNlcjpodW50ZXIyMw", "hunter23", "hunter%323", "Basic dXNlcjpodW50ZXIyMw=="] {
            assert_eq!(mask.hide_secrets(text), "***", "{text}");
        }
    }

    #[test]
    fn names_and_values_of_json_are_masked() {
        let mask = Mask::default().with_secret("hunter22");
        let mut value = json!({"a": ["x hunter22", 7], "hunter22": {"b": "hunter%32%32"}});
        mask.hide_in(&mut value);
        assert_eq!(value, json!({"a": ["x ***", 7], "***": {"b": "***"}}));
    }

    #[test]
    fn short_secrets_are_not_masked() {
        let mask = Mask::default().with_secret("abc").with_secret("");
        assert_eq!(mask.hide_secrets("abc"), "abc");
    }
}
