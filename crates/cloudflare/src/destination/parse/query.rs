//! The parameters: those that are sent, and those that become headers.

use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};

use super::{Part, Reader, Scheme, Verification};
use crate::destination::HEADER_PREFIX;

/// What HTTP itself, or Cloudflare, sets.
const NOT_OURS: [HeaderName; 8] =
    [HOST, CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING, CONNECTION, TE, TRAILER, UPGRADE];

const SKIP_VERIFY: &str = "insecure-skip-verify";

pub(super) struct Query<'a> {
    /// Word by word as they came.
    pub(super) sent: Vec<&'a str>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) verification: Verification,
    pub(super) has_channel: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn query(&mut self, mut rest: Part<'a>, scheme: Scheme) -> Query<'a> {
        let mut query = Query {
            sent: Vec::new(),
            headers: Vec::new(),
            verification: Verification::Required,
            has_channel: false,
        };
        while !rest.text.is_empty() {
            let (parameter, behind) = rest.cut(|c| c == '&');
            rest = behind.skip_one();
            let (name, value) = parameter.cut(|c| c == '=');
            let (is_whole, value) = (self.check_escapes(parameter), value.skip_one());
            if let Some(header) = name.text.strip_prefix(HEADER_PREFIX) {
                let name = Part { text: header, at: name.at + HEADER_PREFIX.len() };
                if is_whole && let Some(header) = self.header(name, value) {
                    if query.headers.iter().any(|(known, _)| *known == header.0) {
                        let what = format!("the header {} is there twice", header.0);
                        self.warning(Some(name.at), what, "keep one of them");
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

    /// One that is sent as it is.
    fn parameter(
        &mut self,
        name: Part<'_>,
        value: Part<'_>,
        scheme: Scheme,
        query: &mut Query<'_>,
    ) {
        if name.text.to_ascii_lowercase().starts_with(HEADER_PREFIX) {
            self.warning(
                Some(name.at),
                "this is sent in the address, not as a header",
                "write header_ in small letters",
            );
        }
        match (name.text, scheme) {
            ("channel", _) => query.has_channel |= !value.text.is_empty(),
            (SKIP_VERIFY, Scheme::Https) => self.warning(
                Some(name.at),
                "Cloudflare verifies the certificate of an https:// destination all the same",
                "take it out: it has a meaning for splunk:// alone",
            ),
            // What Go takes for a truth value.
            (SKIP_VERIFY, Scheme::Splunk) => match value.text {
                "1" | "t" | "T" | "TRUE" | "true" | "True" => {
                    query.verification = Verification::Skipped;
                    self.warning(
                        Some(name.at),
                        "the certificate is not looked at, and anybody in between may read along",
                        "set it to false once the certificate is good",
                    );
                }
                "0" | "f" | "F" | "FALSE" | "false" | "False" => {}
                _ => {
                    let what = format!("{SKIP_VERIFY} is neither true nor false");
                    self.error(Some(value.at), what, "write one of the two");
                }
            },
            _ => {}
        }
    }

    fn header(&mut self, name: Part<'_>, value: Part<'_>) -> Option<(HeaderName, HeaderValue)> {
        let Ok(header) = HeaderName::from_bytes(&decoded(name.text)) else {
            self.error(
                Some(name.at),
                "this is not the name of a header",
                "write letters, digits and - behind header_",
            );
            return None;
        };
        if NOT_OURS.contains(&header) {
            let what = format!("the header {header} is not ours to set");
            self.error(Some(name.at), what, "take it out: it is made anew for each request");
            return None;
        }
        if header.as_str().contains('_') {
            let what = format!("the name {header} has an underscore");
            let advice = "whether Cloudflare keeps it is not known, and many proxies drop such \
                          headers: use -";
            self.warning(Some(name.at), what, advice);
        }
        if let Some(place) = value.text.find('+') {
            self.warning(
                Some(value.at + place),
                "`+` was taken for a space here, and whether Cloudflare does is not known",
                "write %20 for a space and %2B for a plus",
            );
        }
        let bytes = decoded(value.text);
        if bytes.is_empty() {
            let what = format!("the header {header} has no value");
            self.warning(Some(value.at), what, "write one behind =, or take it out");
        } else if bytes.first() == Some(&b' ') || bytes.last() == Some(&b' ') {
            let what = format!("the value of {header} begins or ends with a space");
            self.warning(Some(value.at), what, "take it away: it gets lost on the way");
        }
        let Ok(mut value) = HeaderValue::from_bytes(&bytes) else {
            let what = format!("the value of {header} holds a line break or the like");
            self.error(Some(value.at), what, "take it out: no header can carry it");
            return None;
        };
        value.set_sensitive(true);
        Some((header, value))
    }
}

/// As Go decodes the parameters of a query. Every `%` was checked before.
fn decoded(text: &str) -> Vec<u8> {
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
