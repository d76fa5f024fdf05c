//! A destination as the API takes it, and what of it must not be shown.

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
const HIDDEN: &str = "***";

/// A shorter one keeps nobody out, and would be found in every text.
const SECRET_BYTES: usize = 4;

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
    let (address, query) = match destination.split_once('?') {
        Some((address, query)) => (address, Some(query)),
        None => (destination, None),
    };
    let mut text = masked_address(address);
    for (number, parameter) in query.iter().flat_map(|query| query.split('&')).enumerate() {
        text.push(if number == 0 { '?' } else { '&' });
        match parameter.split_once('=') {
            Some((name, value)) if is_secret(name, value) => {
                text.extend([name, "=", HIDDEN]);
            }
            _ => text.push_str(parameter),
        }
    }
    text
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
    !value.is_empty() && !PLAIN.contains(&name.to_ascii_lowercase().as_str())
}

/// A text of Cloudflare's or of a server's without the secrets of `destination`, which it may quote,
/// and without anything that a terminal would take for a command.
pub fn cleaned(text: &str, destination: &str) -> String {
    let mut text = text.to_owned();
    let query = destination.split_once('?').map_or("", |(_, query)| query);
    for (name, value) in query.split('&').filter_map(|parameter| parameter.split_once('=')) {
        if is_secret(name, value) {
            text = without(&without(&text, value), &decoded(value));
        }
    }
    printable(&text)
}

/// A text without a secret, whether the word in front of it is there or not, as of `Bearer TOKEN`.
pub fn without(text: &str, secret: &str) -> String {
    let token = secret.split_once(' ').map_or(secret, |(_, token)| token);
    let long = |part: &&str| part.len() >= SECRET_BYTES;
    [secret, token]
        .iter()
        .filter(|part| long(part))
        .fold(text.to_owned(), |text, part| text.replace(*part, HIDDEN))
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

/// The same text with control characters written out.
pub fn printable(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            plain.extend(letter.escape_default());
        } else {
            plain.push(letter);
        }
    }
    plain
}

/// Scheme and host, for a table.
pub fn place(destination: &str) -> String {
    let address = destination.split_once('?').map_or(destination, |(address, _)| address);
    let address = masked_address(address);
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
        ] {
            assert_eq!(masked(destination), want);
        }
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
    }
}
