//! Checks destinations for the API, and masks the secrets in them.

use super::mask::Mask;
use crate::destination::{Destination, DestinationProblems, MAX_CHARS, ProblemSeverity};

/// The characters of [`crate::destination::CHARSET`] that are neither letters nor digits.
const PUNCTUATION: &[u8] = b".,_:/?%+&={}-";

/// Parameters that contain no secret. The value of every other parameter counts as a secret.
const PLAIN_PARAMETERS: [&str; 14] = [
    "account-id",
    "channel",
    "ddsource",
    "ddtags",
    "format",
    "header_content-encoding",
    "header_content-type",
    "header_user-agent",
    "host",
    "insecure-skip-verify",
    "region",
    "service",
    "sourcetype",
    "sse",
];

/// The replacement for a secret.
pub(super) const REDACTED: &str = "***";

/// Checks whether the API would accept a destination.
///
/// Destinations of your own servers (`https`, `splunk`) are checked completely; of others only the
/// characters and the length.
///
/// # Errors
/// Every problem and its position, one per line. The destination is not quoted, since it contains secrets.
pub fn check(text: &str) -> Result<(), String> {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    if scheme.is_empty() {
        return Err("the destination is not a URL: write https://logs.example.com/logpush/http_requests?header_X-Logpush-Secret=SECRET".into());
    }
    if ["http", "https", "splunk"].contains(&scheme) {
        let Err(DestinationProblems(problems)) = Destination::parse(text) else { return Ok(()) };
        let errors = problems.iter().filter(|problem| problem.severity == ProblemSeverity::Error);
        let lines: Vec<_> = errors.map(|problem| format!("the destination, {problem}")).collect();
        return Err(lines.join("\n"));
    }
    let allowed = |letter: char| {
        letter.is_ascii_alphanumeric()
            || u8::try_from(letter).is_ok_and(|byte| PUNCTUATION.contains(&byte))
    };
    if let Some((index, letter)) = text.chars().enumerate().find(|(_, c)| !allowed(*c)) {
        return Err(format!(
            "the destination, character {}: Cloudflare does not accept {letter:?}, only A-Z a-z 0-9 . , _ : / ? % + & = {{ }} -: percent-encode it",
            index + 1
        ));
    }
    match text.len() {
        ..=MAX_CHARS => Ok(()),
        length => Err(format!(
            "the destination has {length} characters, and Cloudflare accepts at most {MAX_CHARS}"
        )),
    }
}

/// Masks the secrets of a destination.
pub fn masked(destination: &str) -> String {
    let (address, query) = split_parameters(destination);
    let mut text = masked_address(address);
    for (number, parameter) in query.split('&').enumerate() {
        if number > 0 {
            text.push('&');
        }
        match parameter.split_once('=') {
            Some((name, value)) if is_secret(name, value) => {
                text.extend([name, "=", REDACTED]);
            }
            _ => text.push_str(parameter),
        }
    }
    text
}

/// Splits a destination before its first parameter.
///
/// A user who forgot the `?` has written a secret into the path or the host name, so a `&` and
/// `header_` also begin the parameters.
fn split_parameters(destination: &str) -> (&str, &str) {
    let lower = destination.to_ascii_lowercase();
    let places = [lower.find(['?', '&']), lower.find("header_")];
    let end = places.into_iter().flatten().min().unwrap_or(lower.len());
    destination.split_at_checked(end).unwrap_or((destination, ""))
}

/// Masks user and password before the host, and the last path segment of a Sumo Logic destination.
fn masked_address(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = match host.rsplit_once('@') {
        Some((_, host)) => format!("{REDACTED}@{host}"),
        None => host.to_owned(),
    };
    match path.rsplit_once('/') {
        Some((path, _)) if scheme == "sumo" => format!("{scheme}://{host}{path}/{REDACTED}"),
        _ => format!("{scheme}://{host}{path}"),
    }
}

fn is_secret(name: &str, value: &str) -> bool {
    let name = name.trim_start_matches(['?', '&']).to_ascii_lowercase();
    !value.is_empty() && !PLAIN_PARAMETERS.contains(&name.as_str())
}

/// Returns the parameter values of a destination that may be secrets, both encoded and decoded.
pub(super) fn secrets(destination: &str) -> Vec<String> {
    let (_, query) = split_parameters(destination);
    let parameters = query.split('&').filter_map(|parameter| parameter.split_once('='));
    let secret = parameters.filter(|(name, value)| is_secret(name, value));
    secret.flat_map(|(_, value)| [value.to_owned(), decoded(value)]).collect()
}

/// Masks secrets and escapes control characters in text from Cloudflare or from a server.
///
/// Masks the secrets of `destination`, which is empty if unknown, and the parameters of any other
/// destination that the text quotes.
pub fn sanitize(text: &str, destination: &str) -> String {
    Mask::default().with_destination(destination).hide(text)
}

/// Masks the values of all parameters of URLs in a text.
pub(super) fn mask_parameters(text: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.%".contains(c);
    // A backslash also ends a value: raw JSON may escape `&` as `\u0026`, and escapes quotes.
    let is_end = |c: char| c.is_whitespace() || c.is_control() || "&\"'<>\\`".contains(c);
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, tail)) = rest.split_once('=') {
        let lead = before.trim_end_matches(is_name);
        let name = before.strip_prefix(lead).unwrap_or_default();
        let is_parameter =
            lead.ends_with(['?', '&', ';', '\\']) || name.to_ascii_lowercase().contains("header_");
        let end = tail.find(is_end).unwrap_or(tail.len());
        let (value, after) = tail.split_at_checked(end).unwrap_or((tail, ""));
        // As in `https://h/p?header_X=SECRET: timeout`.
        let bare = value.trim_end_matches([':', ',', '.']);
        shown.extend([before, "="]);
        rest = tail;
        if is_parameter && is_secret(name, bare) {
            shown.extend([REDACTED, value.strip_prefix(bare).unwrap_or_default()]);
            rest = after;
        }
    }
    shown + rest
}

/// Percent-decodes a value. `check` rejects a `%` without two hexadecimal digits.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).unwrap_or(byte)
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Escapes control and format characters.
pub fn printable(text: &str) -> String {
    settings::printable::printable(text).to_string()
}

/// Returns the scheme and host of a destination, for a table.
pub fn origin(destination: &str) -> String {
    let address = masked_address(split_parameters(destination).0);
    match address.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.split('/').next().unwrap_or_default();
            format!("{scheme}://{host}")
        }
        None => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_do_not_show_the_secret() {
        check("https://h/p?header_Authorization=Bearer%20abc&x={DATE}").unwrap();
        check("s3://bucket/{DATE}?region=eu").unwrap();
        for (destination, expected) in [
            (
                "https://h/p?header_Authorization=Bearer hunter2",
                "character 40: a destination cannot",
            ),
            ("http://h/p?secret=hunter2", "write https://"),
            ("s3://b/p?secret-access-key=hunter2~", "character 35: Cloudflare does not accept '~'"),
            ("h.example.com/p", "is not a URL"),
            ("https://", "the host is missing"),
            ("", "is not a URL"),
            (&format!("s3://b/{}", "a".repeat(4096)), "4103 characters"),
        ] {
            let error = check(destination).unwrap_err();
            assert!(error.contains(expected), "{expected:?} not in {error:?}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn secrets_are_masked() {
        for (destination, want) in [
            (
                "https://h:8443/logpush/dns?header_X-Logpush-Secret=abc&header_Content-Type=text%2Fplain",
                "https://h:8443/logpush/dns?header_X-Logpush-Secret=***&header_Content-Type=text%2Fplain",
            ),
            (
                "https://user:pass@h/p?Api-Key=k&format=cloudflare",
                "https://***@h/p?Api-Key=***&format=cloudflare",
            ),
            (
                "s3://b/d?region=eu&secret-access-key=k&empty=&flag",
                "s3://b/d?region=eu&secret-access-key=***&empty=&flag",
            ),
            ("sumo://endpoint/receiver/v1/http/CODE", "sumo://endpoint/receiver/v1/http/***"),
            ("azure://c/d?sv=1&sig=x", "azure://c/d?sv=***&sig=***"),
            ("nonsense", "nonsense"),
            // Without the `?`.
            (
                "https://h/p&header_X=s&format=cloudflare",
                "https://h/p&header_X=***&format=cloudflare",
            ),
            ("https://h&header_X=s?y", "https://h&header_X=***"),
            ("https://h/Header_X=s", "https://h/Header_X=***"),
            ("https://h/p?key=a?b&x", "https://h/p?key=***&x"),
        ] {
            assert_eq!(masked(destination), want);
        }
        assert_eq!(origin("https://h&header_X=s"), "https://h");
        assert_eq!(origin("https://h:1/p?x=y"), "https://h:1");
        assert_eq!(origin("sumo://h/CODE"), "sumo://h");
        assert_eq!(origin("?"), "-");
    }

    #[test]
    fn secrets_in_server_messages_are_masked() {
        let destination =
            "https://h/p?key=hunter2&header_Authorization=Bearer%20to%2Bken&header_X=ab";
        let text =
            "Post \"https://h/p?key=hunter2\": got \u{1b}[31mBearer to+ken\u{7}\nab, not to+ken";
        assert_eq!(
            sanitize(text, destination),
            "Post \"https://h/p?key=***\": got \\u{1b}[31m***\\u{7}\\nab, not ***"
        );
        let without_question_mark = "https://h/p&header_X=hunter2";
        assert_eq!(sanitize("got hunter2", without_question_mark), "got ***");
    }

    #[test]
    fn secrets_of_other_destinations_are_masked() {
        for (text, want) in [
            (
                r#"Post "https://h/p?header_X-Logpush-Secret=hunter2&format=a&sig=b=c": EOF"#,
                r#"Post "https://h/p?header_X-Logpush-Secret=***&format=a&sig=***": EOF"#,
            ),
            (
                "Post https://h/p?a=b&header_X=c: timeout",
                "Post https://h/p?a=***&header_X=***: timeout",
            ),
            ("header_Authorization=Splunk%20a, and", "header_Authorization=***, and"),
            (
                r#"{\"url\":\"https://h?x=a\u0026sig=b\"}"#,
                r#"{\"url\":\"https://h?x=***\u0026sig=***\"}"#,
            ),
            ("<a href='/?a=b&amp;c=d'>", "<a href='/?a=***&amp;c=***'>"),
            ("header_X=\u{e9}\u{1b}b", "header_X=***\\u{1b}b"),
            ("a=b, status = 401 (x=), =", "a=b, status = 401 (x=), ="),
            ("?=", "?="),
        ] {
            assert_eq!(sanitize(text, ""), want);
        }
    }
}
