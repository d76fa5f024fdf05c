//! Headers that the operator adds to requests.

use reqwest::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, COOKIE, HOST, HeaderName,
    HeaderValue, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use settings::{Context, Diagnostic, Spanned, Table, Value, reference::Takes, setting};

use super::secret::{SecretHeader, check_file};

/// Headers of the connection and the body, which the sink sets itself.
const OWN: [HeaderName; 8] =
    [CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// Headers that identify a chunk.
const OF_CHUNKS: [&str; 2] = ["idempotency-key", "logpushd-batch"];

/// Headers whose values are secrets.
const SECRET: [HeaderName; 3] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];

/// Names and values.
type Plain = Vec<(HeaderName, HeaderValue)>;

setting! {
    /// Headers with their values.
    pub struct Headers(Plain): Takes::Names("headers and values"), read by headers;
}

setting! {
    /// Headers with the files of their values.
    pub struct SecretHeaders(Vec<SecretHeader>):
        Takes::Names("headers and paths"), read by secret_headers;
}

fn headers(value: &Value<'_>, cx: &mut Context) -> Option<Plain> {
    let mut headers = Plain::new();
    for (name, value) in value.pairs(cx)? {
        let is_known = |name: &HeaderName| headers.iter().any(|(known, _)| known == name);
        let Some(header) = header_name(&name, is_known, cx) else { continue };
        if SECRET.contains(&header) {
            let message = format!("`{header}` is a secret, and this file must not contain secrets");
            let hint = "write the value into a file, and name the file in `secret_headers`";
            cx.push(Diagnostic::at(name.span(), message).hint(hint));
            continue;
        }
        if let Ok(value) = HeaderValue::from_str(value.get_ref()) {
            headers.push((header, value));
        } else {
            let message = format!(
                "the value of `{header}` contains a character that a header cannot contain"
            );
            cx.push(Diagnostic::at(value.span(), message));
        }
    }
    Some(headers)
}

fn secret_headers(value: &Value<'_>, cx: &mut Context) -> Option<Vec<SecretHeader>> {
    let mut headers = Vec::<SecretHeader>::new();
    for (name, value) in value.entries(cx)? {
        let is_known = |name: &HeaderName| headers.iter().any(|known| known.name == *name);
        let Some(header) = header_name(&name, is_known, cx) else { continue };
        let hint = format!("name a file whose first line is the value of `{header}`");
        let Some(file) = check_file(&value, &hint, cx) else { continue };
        headers.push(SecretHeader::whole("secret_headers", header, file));
    }
    Some(headers)
}

/// Reports headers that are set by `headers` and by `secret_headers`.
pub fn check_headers(
    headers: &[(HeaderName, HeaderValue)],
    secret_headers: &[SecretHeader],
    table: &Table<'_>,
    cx: &mut Context,
) {
    for header in secret_headers {
        if headers.iter().any(|(name, _)| *name == header.name) {
            let message = format!("the header `{}` is set twice", header.name);
            let hint = "remove it from `headers` or from `secret_headers`";
            cx.push(table.problem_at("secret_headers", message).hint(hint));
        }
    }
}

/// Parses the name of a header, which must not be one that the sink sets or that is set already.
fn header_name(
    name: &Spanned<String>,
    is_known: impl FnOnce(&HeaderName) -> bool,
    cx: &mut Context,
) -> Option<HeaderName> {
    let text = name.get_ref().escape_debug();
    let report = |message: String, cx: &mut Context| cx.push(Diagnostic::at(name.span(), message));
    let Ok(header) = name.get_ref().parse::<HeaderName>() else {
        report(format!("`{text}` is not the name of a header"), cx);
        return None;
    };
    if OWN.contains(&header) || OF_CHUNKS.contains(&header.as_str()) {
        report(format!("`{text}` is set by the sink itself"), cx);
        return None;
    }
    if is_known(&header) {
        report(format!("the header `{text}` is set twice"), cx);
        return None;
    }
    Some(header)
}
