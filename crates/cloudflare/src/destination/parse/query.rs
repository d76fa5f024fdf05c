//! Parses the parameters of a destination: those of the query, and those that become headers.

use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};

use super::{Parser, Scheme, Span, Verification};
use crate::destination::HEADER_PREFIX;

/// Headers that HTTP or Cloudflare sets.
const RESERVED_HEADERS: [HeaderName; 8] =
    [HOST, CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING, CONNECTION, TE, TRAILER, UPGRADE];

const SKIP_VERIFY: &str = "insecure-skip-verify";

pub(super) struct Query<'a> {
    /// The parameters of the request's query, unchanged.
    pub(super) sent: Vec<&'a str>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) verification: Verification,
    pub(super) has_channel: bool,
}

impl<'a> Parser<'a> {
    pub(super) fn query(&mut self, mut rest: Span<'a>, scheme: Scheme) -> Query<'a> {
        let mut query = Query {
            sent: Vec::new(),
            headers: Vec::new(),
            verification: Verification::Required,
            has_channel: false,
        };
        while !rest.text.is_empty() {
            let (parameter, tail) = rest.split_before(|c| c == '&');
            rest = tail.skip_char();
            let (name, value) = parameter.split_before(|c| c == '=');
            let (is_valid, value) = (self.check_escapes(parameter), value.skip_char());
            if let Some(header) = name.text.strip_prefix(HEADER_PREFIX) {
                let name = Span { text: header, offset: name.offset + HEADER_PREFIX.len() };
                if is_valid && let Some(header) = self.header(name, value) {
                    if query.headers.iter().any(|(known, _)| *known == header.0) {
                        let message = format!("the header {} occurs twice", header.0);
                        self.warning(Some(name.offset), message, "remove one of them");
                    }
                    query.headers.push(header);
                }
                continue;
            }
            self.parameter(name, value, scheme, &mut query);
            if !parameter.text.is_empty() {
                query.sent.push(parameter.text);
            }
        }
        query
    }

    /// Checks a parameter of the request's query.
    fn parameter(
        &mut self,
        name: Span<'_>,
        value: Span<'_>,
        scheme: Scheme,
        query: &mut Query<'_>,
    ) {
        if name.text.to_ascii_lowercase().starts_with(HEADER_PREFIX) {
            self.warning(
                Some(name.offset),
                "this parameter stays in the URL and does not become a header",
                "write header_ in lower case",
            );
        }
        match (name.text, scheme) {
            ("channel", _) => query.has_channel |= !value.text.is_empty(),
            (SKIP_VERIFY, Scheme::Https) => self.warning(
                Some(name.offset),
                "Cloudflare ignores this parameter and verifies the certificate",
                "remove it: only splunk:// destinations support it",
            ),
            // The values that Go parses as booleans.
            (SKIP_VERIFY, Scheme::Splunk) => match value.text {
                "1" | "t" | "T" | "TRUE" | "true" | "True" => {
                    query.verification = Verification::Skipped;
                    self.warning(
                        Some(name.offset),
                        "Cloudflare does not verify the certificate, so an attacker in between can read the logs",
                        "set it to false as soon as the certificate is valid",
                    );
                }
                "0" | "f" | "F" | "FALSE" | "false" | "False" => {}
                _ => {
                    let message = format!("{SKIP_VERIFY} is neither true nor false");
                    self.error(Some(value.offset), message, "write true or false");
                }
            },
            _ => {}
        }
    }

    fn header(&mut self, name: Span<'_>, value: Span<'_>) -> Option<(HeaderName, HeaderValue)> {
        let Ok(header) = HeaderName::from_bytes(&decode(name.text)) else {
            self.error(
                Some(name.offset),
                "the header name is invalid",
                "use letters, digits and - after header_",
            );
            return None;
        };
        if RESERVED_HEADERS.contains(&header) {
            let message = format!("the header {header} cannot be set");
            self.error(
                Some(name.offset),
                message,
                "remove it: Cloudflare sets it for each request",
            );
            return None;
        }
        if header.as_str().contains('_') {
            let message = format!("the header name {header} contains an underscore");
            let advice = "use -: many proxies drop such headers, and Cloudflare may do so, too";
            self.warning(Some(name.offset), message, advice);
        }
        if let Some(offset) = value.text.find('+') {
            self.warning(
                Some(value.offset + offset),
                "`+` is ambiguous: this command decodes it as a space, Cloudflare may not",
                "write %20 for a space and %2B for a plus sign",
            );
        }
        let bytes = decode(value.text);
        if bytes.is_empty() {
            let message = format!("the header {header} has no value");
            self.warning(
                Some(value.offset),
                message,
                "write a value after =, or remove the header",
            );
        } else if bytes.first() == Some(&b' ') || bytes.last() == Some(&b' ') {
            let message = format!("the value of {header} begins or ends with a space");
            self.warning(
                Some(value.offset),
                message,
                "remove the space: HTTP does not preserve it",
            );
        }
        let Ok(mut value) = HeaderValue::from_bytes(&bytes) else {
            let message = format!("the value of {header} contains a control character");
            self.error(Some(value.offset), message, "remove it: a header cannot contain it");
            return None;
        };
        value.set_sensitive(true);
        Some((header, value))
    }
}

/// Decodes a parameter as Go does. `check_escapes` has checked every `%`.
fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let nibble = |digit: Option<u8>| {
            let digit = digit.and_then(|digit| char::from(digit).to_digit(16));
            digit.and_then(|digit| u8::try_from(digit).ok()).unwrap_or_default()
        };
        bytes.push(match byte {
            b'%' => nibble(rest.next()) << 4 | nibble(rest.next()),
            b'+' => b' ',
            byte => byte,
        });
    }
    bytes
}
