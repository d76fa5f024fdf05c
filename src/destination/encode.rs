//! A destination as text, within Cloudflare's characters.

use hyper::header::HeaderName;

use super::{Destination, HEADER_PREFIX};

const HEX: [char; 16] =
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];

pub(super) fn text(destination: &Destination) -> String {
    let Destination { scheme, path_and_query, headers, .. } = destination;
    let mut text = format!("{}://{}", scheme.text(), destination.authority());
    text += path_and_query;
    let mut separator = if path_and_query.contains('?') { '&' } else { '?' };
    for (name, value) in headers {
        text.push(separator);
        separator = '&';
        text += HEADER_PREFIX;
        push_encoded(&mut text, canonical(name).as_bytes());
        text.push('=');
        push_encoded(&mut text, value.as_bytes());
    }
    text
}

/// Percent-encodes all that means something in a query, or might to whoever decodes it.
fn push_encoded(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._".contains(byte) {
            text.push(char::from(*byte));
        } else {
            let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or_default();
            text.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
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
