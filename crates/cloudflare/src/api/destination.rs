//! A destination as the API takes it, and what of it must not be shown.

use super::mask::Mask;
use crate::destination::{Destination, MAX_CHARS, Problems, Severity};

/// Of [`crate::destination::CHARSET`], what is no letter and no digit.
const PUNCTUATION: &[u8] = b".,_:/?%+&={}-";

/// Parameters that hold no secret. Whatever is not listed is taken for one.
const PLAIN: [&str; 14] = [
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

/// What stands where a secret was.
pub(super) const HIDDEN: &str = "***";

/// Checks what the API would refuse: all of it for a server of one's own, and what is common to all for
/// another kind of destination.
///
/// # Errors
/// What is wrong, and where; a line each. The destination is not quoted: it holds secrets.
pub fn check(text: &str) -> Result<(), String> {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    if scheme.is_empty() {
        return Err("a destination is a URL, as in https://logs.example.com/logpush/http_requests?header_X-Logpush-Secret=SECRET".into());
    }
    if ["http", "https", "splunk"].contains(&scheme) {
        let Err(Problems(problems)) = Destination::parse(text) else { return Ok(()) };
        let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
        let lines: Vec<_> = errors.map(|problem| format!("the destination, {problem}")).collect();
        return Err(lines.join("\n"));
    }
    let allowed = |letter: char| {
        letter.is_ascii_alphanumeric()
            || u8::try_from(letter).is_ok_and(|byte| PUNCTUATION.contains(&byte))
    };
    if let Some((place, letter)) = text.chars().enumerate().find(|(_, c)| !allowed(*c)) {
        return Err(format!(
            "the destination, character {}: Cloudflare takes no {letter:?} there, but A-Z a-z 0-9 . , _ : / ? % + & = {{ }} - only: URL-encode it",
            place + 1
        ));
    }
    match text.len() {
        ..=MAX_CHARS => Ok(()),
        length => {
            Err(format!("the destination has {length} characters, Cloudflare takes {MAX_CHARS}"))
        }
    }
}

/// A destination without its secrets.
pub fn masked(destination: &str) -> String {
    let (address, query) = parts(destination);
    let mut text = masked_address(address);
    for (number, parameter) in query.split('&').enumerate() {
        if number > 0 {
            text.push('&');
        }
        match parameter.split_once('=') {
            Some((name, value)) if is_secret(name, value) => {
                text.extend([name, "=", HIDDEN]);
            }
            _ => text.push_str(parameter),
        }
    }
    text
}

/// What stands before the parameters, and those with what leads them in. Whoever forgot the `?` has
/// written a secret into the path, or into the host's name.
fn parts(destination: &str) -> (&str, &str) {
    let lower = destination.to_ascii_lowercase();
    let places = [lower.find(['?', '&']), lower.find("header_")];
    let end = places.into_iter().flatten().min().unwrap_or(lower.len());
    destination.split_at_checked(end).unwrap_or((destination, ""))
}

/// Sumo Logic's secret is the last part of the path; a password before the host is one everywhere.
fn masked_address(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = match host.rsplit_once('@') {
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None => host.to_owned(),
    };
    match path.rsplit_once('/') {
        Some((path, _)) if scheme == "sumo" => format!("{scheme}://{host}{path}/{HIDDEN}"),
        _ => format!("{scheme}://{host}{path}"),
    }
}

fn is_secret(name: &str, value: &str) -> bool {
    let name = name.trim_start_matches(['?', '&']).to_ascii_lowercase();
    !value.is_empty() && !PLAIN.contains(&name.as_str())
}

/// The values of the parameters of a destination that may be secrets, as they are written and as a server
/// sees them.
pub(super) fn secrets(destination: &str) -> Vec<String> {
    let (_, query) = parts(destination);
    let parameters = query.split('&').filter_map(|parameter| parameter.split_once('='));
    let secret = parameters.filter(|(name, value)| is_secret(name, value));
    secret.flat_map(|(_, value)| [value.to_owned(), decoded(value)]).collect()
}

/// A text of Cloudflare's or of a server's without the secrets of `destination`, and of any other that
/// it may quote, and without anything that a terminal would take for a command. `destination` is empty
/// if it is not known.
pub fn cleaned(text: &str, destination: &str) -> String {
    Mask::default().with_destination(destination).hide(text)
}

/// Hides what stands behind the `=` of parameters, whosever they are.
pub(super) fn without_parameters(text: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.%".contains(c);
    // A backslash, since in JSON that nobody has read `&` may be `\u0026`, and a quote has one in front.
    let is_end = |c: char| c.is_whitespace() || c.is_control() || "&\"'<>\\`".contains(c);
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, behind)) = rest.split_once('=') {
        let lead = before.trim_end_matches(is_name);
        let name = before.strip_prefix(lead).unwrap_or_default();
        let is_parameter =
            lead.ends_with(['?', '&', ';', '\\']) || name.to_ascii_lowercase().contains("header_");
        let end = behind.find(is_end).unwrap_or(behind.len());
        let (value, after) = behind.split_at_checked(end).unwrap_or((behind, ""));
        // As in `https://h/p?header_X=SECRET: timeout`.
        let bare = value.trim_end_matches([':', ',', '.']);
        shown.extend([before, "="]);
        rest = behind;
        if is_parameter && is_secret(name, bare) {
            shown.extend([HIDDEN, value.strip_prefix(bare).unwrap_or_default()]);
            rest = after;
        }
    }
    shown + rest
}

/// As a server sees it. A `%` without two digits behind it is refused before.
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

/// The same text with control and format characters written out.
pub fn printable(text: &str) -> String {
    settings::printable::printable(text).to_string()
}

/// Scheme and host, for a table.
pub fn place(destination: &str) -> String {
    let address = masked_address(parts(destination).0);
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
    fn what_the_api_would_refuse_is_named_without_the_secret() {
        check("https://h/p?header_Authorization=Bearer%20abc&x={DATE}").unwrap();
        check("s3://bucket/{DATE}?region=eu").unwrap();
        for (destination, expected) in [
            ("https://h/p?header_Authorization=Bearer hunter2", "character 40: a space cannot"),
            ("http://h/p?secret=hunter2", "write https://"),
            ("s3://b/p?secret-access-key=hunter2~", "character 35: Cloudflare takes no '~'"),
            ("h.example.com/p", "a destination is a URL"),
            ("https://", "there is no host"),
            ("", "a destination is a URL"),
            (&format!("s3://b/{}", "a".repeat(4096)), "4103 characters"),
        ] {
            let error = check(destination).unwrap_err();
            assert!(error.contains(expected), "{expected:?} not in {error:?}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn secrets_are_hidden() {
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
            // The ? was forgotten.
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
        assert_eq!(place("https://h&header_X=s"), "https://h");
        assert_eq!(place("https://h:1/p?x=y"), "https://h:1");
        assert_eq!(place("sumo://h/CODE"), "sumo://h");
        assert_eq!(place("?"), "-");
    }

    #[test]
    fn what_servers_say_is_cleaned() {
        let destination =
            "https://h/p?key=hunter2&header_Authorization=Bearer%20to%2Bken&header_X=ab";
        let text =
            "Post \"https://h/p?key=hunter2\": got \u{1b}[31mBearer to+ken\u{7}\nab, not to+ken";
        assert_eq!(
            cleaned(text, destination),
            "Post \"https://h/p?key=***\": got \\u{1b}[31m***\\u{7}\\nab, not ***"
        );
        let forgotten = "https://h/p&header_X=hunter2";
        assert_eq!(cleaned("got hunter2", forgotten), "got ***");
    }

    #[test]
    fn a_destination_that_is_not_known_keeps_its_secrets_too() {
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
            assert_eq!(cleaned(text, ""), want);
        }
    }
}
