//! Masks the values of fields. A value that cannot be masked is removed.

use std::borrow::Cow;

use serde::Deserialize;

use super::{
    PathMatch, Unreadable,
    hash_key::HashKey,
    match_path,
    rebuild::{change_elements, change_object},
    truncate::truncate,
};

/// The value of a field with [`FieldMask::Redact`], as in the record.
const REDACTED: &str = "\"REDACTED\"";

/// How the values of a field are masked. Every element of an array is masked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FieldMask {
    /// `truncate`: an IP address is replaced by the address of its network. Removes anything else.
    Truncate,
    /// `hash`: a string, a number, `true` or `false` is replaced by the HMAC-SHA-256 of its text, in
    /// hexadecimal. Removes anything else.
    Hash(HashKey),
    /// `redact`: any value is replaced by `"REDACTED"`.
    Redact,
}

/// How one field is masked.
#[derive(Clone, Copy)]
pub(super) struct MaskRule<'c> {
    /// The name of the field within the current object.
    pub(super) path: &'c str,
    pub(super) mask: &'c FieldMask,
}

/// The value of a member after masking: `None` if it is removed, owned if it changes.
pub(super) fn mask_member<'a>(
    name: &str,
    value: &'a str,
    rules: &[MaskRule<'_>],
) -> Result<Option<Cow<'a, str>>, Unreadable> {
    let mut inner = Vec::new();
    for rule in rules {
        match match_path(rule.path, name) {
            PathMatch::Field => {
                return change_elements(value, &mut |element| Ok(rule.mask.apply(element)));
            }
            PathMatch::Outer(rest) => inner.push(MaskRule { path: rest, ..*rule }),
            PathMatch::None => {}
        }
    }
    if inner.is_empty() {
        return Ok(Some(Cow::Borrowed(value)));
    }
    change_elements(value, &mut |element| mask_part(element, &inner))
}

/// Masks fields of a value that should be an object. A string or an array in an array is removed: it
/// could contain a field in a form that is not searched. Other values contain no text.
fn mask_part<'a>(
    value: &'a str,
    rules: &[MaskRule<'_>],
) -> Result<Option<Cow<'a, str>>, Unreadable> {
    match value.as_bytes().first() {
        Some(b'{') => {
            change_object(value, &mut |name, value| mask_member(name, value, rules)).map(Some)
        }
        Some(b'"' | b'[') => Ok(None),
        _ => Ok(Some(Cow::Borrowed(value))),
    }
}

impl FieldMask {
    /// Masks a value that is not an array of the record: `None` if it cannot be masked.
    fn apply<'a>(&self, value: &'a str) -> Option<Cow<'a, str>> {
        let masked = match self {
            Self::Truncate => quoted(&truncate(&text(value).filter(|_| value.starts_with('"'))?)?),
            Self::Hash(key) => quoted(&key.hash(&text(value)?)),
            Self::Redact => REDACTED.to_owned(),
        };
        Some(if masked == value { Cow::Borrowed(value) } else { Cow::Owned(masked) })
    }
}

/// A string without characters that must be escaped, as in a record.
fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// The text of a string, a number, `true` or `false`. `None` also for a string with a lone surrogate, which
/// is not text.
fn text(value: &str) -> Option<Cow<'_, str>> {
    /// A wrapper that lets serde borrow.
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

    match value.as_bytes().first()? {
        b'"' => serde_json::from_str(value).ok().map(|Text(text)| text),
        b'-' | b'0'..=b'9' | b't' | b'f' => Some(Cow::Borrowed(value)),
        _ => None,
    }
}
