//! A value of a record, told apart by kind.

use std::borrow::Cow;

use serde::Deserialize;

/// A JSON value. Numbers stay text: what Cloudflare sends does not fit into a float.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// As it stands in the record.
    Number(&'a str),
    /// Without its quotes and escapes. A lone surrogate is U+FFFD.
    String(Cow<'a, str>),
    /// An array or an object, as it stands in the record.
    Composite(&'a str),
}

impl<'a> Value<'a> {
    /// Tells apart what [`super::each`] gives.
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

    /// What a person would write for it: a string without quotes, JSON for the rest, nothing for
    /// `null`.
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
    // Only a lone surrogate is left: serde_json reads it as bytes, three of them.
    match serde_json::from_str(raw) {
        Ok(Lossy(bytes)) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        Err(_) => Cow::Borrowed(raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_their_text() {
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
