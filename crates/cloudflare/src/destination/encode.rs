//! A destination as text, within Cloudflare's characters.

use http::header::HeaderName;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::{Destination, HEADER_PREFIX};

/// What has a meaning in a query, or might have one for a decoder.
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

/// A header's name as Go writes it: `X-Logpush-Secret`.
fn canonical(name: &HeaderName) -> String {
    let mut begins = true;
    let letter = |c: char| {
        let c = if begins { c.to_ascii_uppercase() } else { c };
        begins = c == '-';
        c
    };
    name.as_str().chars().map(letter).collect()
}
