//! Values of a record.

use std::borrow::Cow;

use serde::Deserialize;

/// A JSON value. A number is text, since Cloudflare's numbers exceed the precision of floating point.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as in the record.
    Number(&'a str),
    /// A string without quotes and escapes. A lone surrogate is replaced by U+FFFD.
    String(Cow<'a, str>),
    /// An array or an object, as in the record.
    Composite(&'a str),
}

impl<'a> Value<'a> {
    /// Classifies a value from [`super::for_each_member`].
    pub fn of(raw: &'a str) -> Self {
        let raw = raw.trim_ascii();
        match raw.as_bytes().first() {
            Some(b'"') => Self::String(text(raw)),
            Some(b'{' | b'[') => Self::Composite(raw),
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'-' | b'0'..=b'9') => Self::Number(raw),
            _ => Self::Null,
        }
    }

    /// Converts the value to text: a string without quotes, an empty text for `null`, JSON otherwise.
    pub fn into_text(self) -> Cow<'a, str> {
        match self {
            Self::Null => Cow::Borrowed(""),
            Self::Bool(true) => Cow::Borrowed("true"),
            Self::Bool(false) => Cow::Borrowed("false"),
            Self::Number(text) | Self::Composite(text) => Cow::Borrowed(text),
            Self::String(text) => text,
        }
    }
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Lossy<'a>(#[serde(borrow)] Cow<'a, [u8]>);

fn text(raw: &str) -> Cow<'_, str> {
    if let Ok(Text(text)) = serde_json::from_str(raw) {
        return text;
    }
    // The string contains a lone surrogate, which serde_json reads as three bytes.
    match serde_json::from_str(raw) {
        Ok(Lossy(bytes)) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        Err(_) => Cow::Borrowed(raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_classified_and_converted_to_text() {
        let cases = [
            ("null", Value::Null, ""),
            ("true", Value::Bool(true), "true"),
            ("false", Value::Bool(false), "false"),
            ("-1.50", Value::Number("-1.50"), "-1.50"),
            (r#""a\"\u00e4\n""#, Value::String("a\"ä\n".into()), "a\"ä\n"),
            (r#"{"a": 1}"#, Value::Composite(r#"{"a": 1}"#), r#"{"a": 1}"#),
            (" [1 ,2]\n", Value::Composite("[1 ,2]"), "[1 ,2]"),
        ];
        for (raw, value, text) in cases {
            assert_eq!(Value::of(raw), value);
            assert_eq!(Value::of(raw).into_text(), text);
        }
    }

    #[test]
    fn a_lone_surrogate_is_replaced() {
        let text = Value::of(r#""a\ud800b""#).into_text();
        assert!(
            text.starts_with('a') && text.ends_with('b') && text.contains('\u{fffd}'),
            "{text}"
        );
    }
}
