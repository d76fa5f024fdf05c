//! Encodes a destination as text, within the characters that Cloudflare accepts.

use http::header::HeaderName;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::{Destination, HEADER_PREFIX};

/// The characters of header names and values that are percent-encoded.
const ENCODED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

pub(super) fn text(destination: &Destination) -> String {
    let Destination { scheme, path_and_query, headers, .. } = destination;
    let mut text = format!("{}://{}", scheme.text(), destination.authority());
    text += path_and_query;
    let mut separator = if path_and_query.contains('?') { '&' } else { '?' };
    for (name, value) in headers {
        text.push(separator);
        separator = '&';
        text += HEADER_PREFIX;
        text.extend(percent_encode(canonical(name).as_bytes(), &ENCODED));
        text.push('=');
        text.extend(percent_encode(value.as_bytes(), &ENCODED));
    }
    text
}

/// Formats a header name as Go does: `X-Logpush-Secret`.
fn canonical(name: &HeaderName) -> String {
    let mut starts_word = true;
    let capitalize = |c: char| {
        let c = if starts_word { c.to_ascii_uppercase() } else { c };
        starts_word = c == '-';
        c
    };
    name.as_str().chars().map(capitalize).collect()
}
