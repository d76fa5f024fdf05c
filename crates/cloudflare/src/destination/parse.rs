//! Parses a destination and reports all its problems at once.

mod host;
mod query;

use http::header::{HeaderName, HeaderValue};

use self::host::Authority;
use super::{
    Destination, DestinationProblem, DestinationProblems, MAX_CHARS, Parsed, ProblemSeverity,
    Scheme, Verification,
};

/// Cloudflare's message for a text that does not match [`CHARSET`](super::CHARSET).
const CHARSET_MESSAGE: &str = concat!(
    "invalid destination_conf: config string must match ",
    r#""^[a-zA-Z0-9\.,_:/?%+&=\{\}-]+$""#
);

/// The path of Splunk's raw collector, from Cloudflare's documentation.
const SPLUNK_RAW_PATH: &str = "/services/collector/raw";

pub(super) fn parse(text: &str) -> Result<Parsed, DestinationProblems> {
    let mut parser = Parser { input: text.trim(), problems: Vec::new() };
    let destination = parser.parse();
    let problems = parser.problems;
    let is_refused = problems.iter().any(|problem| problem.severity == ProblemSeverity::Error);
    match destination {
        Some(destination) if !is_refused => Ok(Parsed { destination, warnings: problems }),
        _ => Err(DestinationProblems(problems)),
    }
}

/// A part of the input, and its byte offset.
#[derive(Clone, Copy)]
struct Span<'a> {
    text: &'a str,
    offset: usize,
}

impl Span<'_> {
    /// Splits before the first character that matches.
    fn split_before(self, is_end: impl Fn(char) -> bool) -> (Self, Self) {
        let length = self.text.find(is_end).unwrap_or(self.text.len());
        let (before, rest) = self.text.split_at_checked(length).unwrap_or((self.text, ""));
        (
            Self { text: before, offset: self.offset },
            Self { text: rest, offset: self.offset + before.len() },
        )
    }

    /// Removes the first character.
    fn skip_char(self) -> Self {
        let mut chars = self.text.chars();
        let length = chars.next().map_or(0, char::len_utf8);
        Self { text: chars.as_str(), offset: self.offset + length }
    }
}

struct Parser<'a> {
    input: &'a str,
    problems: Vec<DestinationProblem>,
}

impl<'a> Parser<'a> {
    fn parse(&mut self) -> Option<Destination> {
        if self.input.is_empty() {
            self.error(None, "the destination is empty", "write https://HOST/PATH");
            return None;
        }
        self.check_length();
        self.check_characters();
        let (scheme, rest) = self.scheme()?;
        let (authority, rest) = rest.split_before(|c| matches!(c, '/' | '?' | '#'));
        // The `#` of a fragment was already reported.
        let (rest, _) = rest.split_before(|c| c == '#');
        let (path, query) = rest.split_before(|c| c == '?');
        self.check_path(path);
        let query = self.query(query.skip_char(), scheme);
        let Authority { server } = self.authority(authority)?;
        if scheme == Scheme::Splunk {
            self.check_splunk(path, &query);
        }
        let mut path_and_query =
            if path.text.is_empty() { "/".to_owned() } else { path.text.to_owned() };
        if !query.sent.is_empty() {
            path_and_query = format!("{path_and_query}?{}", query.sent.join("&"));
        }
        let verification = query.verification;
        Some(Destination { scheme, server, path_and_query, headers: query.headers, verification })
    }

    fn check_length(&mut self) {
        let count = self.input.chars().count();
        if count > MAX_CHARS {
            self.error(
                None,
                format!("it has {count} characters, and Cloudflare accepts at most {MAX_CHARS}"),
                "shorten the path or the header values",
            );
        }
    }

    /// Reports each invalid character once, at its first position.
    fn check_characters(&mut self) {
        let mut seen = Vec::new();
        for (at, c) in self.input.char_indices() {
            let is_allowed = c.is_ascii_alphanumeric() || ".,_:/?%+&={}-".contains(c);
            if is_allowed || seen.contains(&c) {
                continue;
            }
            seen.push(c);
            let advice = match c {
                '@' => "in a value, write %40; write a user and password as \
                        header_Authorization=Basic%20BASE64"
                    .to_owned(),
                '#' => "in a value, write %23; the part after # is never sent".to_owned(),
                '[' | ']' => "in a value, write %5B and %5D; instead of an IPv6 address, use a \
                              name that resolves to it"
                    .to_owned(),
                '"' | '\'' => "remove the quotes, or write %22 and %27".to_owned(),
                c if c.is_ascii() => format!("in a value, write %{:02X}", u32::from(c)),
                _ => "in a value, percent-encode it as UTF-8; write a host name in its xn-- form"
                    .to_owned(),
            };
            let message = match c {
                ' ' => "a destination cannot contain a space".to_owned(),
                c => format!("a destination cannot contain `{}`", c.escape_debug()),
            };
            self.push(ProblemSeverity::Error, Some(at), message, advice, Some(CHARSET_MESSAGE));
        }
    }

    fn scheme(&mut self) -> Option<(Scheme, Span<'a>)> {
        let input = Span { text: self.input, offset: 0 };
        // A later `://` belongs to a parameter, and the text before it may be a secret.
        let is_scheme =
            |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        let split = self.input.split_once("://").filter(|(scheme, _)| is_scheme(scheme));
        let Some((scheme, rest)) = split else {
            self.warning(
                Some(0),
                "the scheme is missing",
                "begin with https://: this command assumes it, Cloudflare does not",
            );
            return Some((Scheme::Https, input));
        };
        let rest = Span { text: rest, offset: scheme.len() + 3 };
        match &*scheme.to_ascii_lowercase() {
            "https" => Some((Scheme::Https, rest)),
            "splunk" => Some((Scheme::Splunk, rest)),
            "http" => {
                self.error(Some(0), "Cloudflare pushes only over TLS", "write https://");
                None
            }
            _ => {
                let message = format!("`{}://` is not supported here", scheme.escape_debug());
                self.error(Some(0), message, "use a destination with https:// or splunk://");
                None
            }
        }
    }

    fn check_path(&mut self, path: Span<'_>) {
        self.check_escapes(path);
        if let Some(offset) = path.text.find("&header_") {
            self.error(
                Some(path.offset + offset),
                "the path contains a header parameter",
                "begin the first parameter with ? and only the following ones with &",
            );
        }
        if let Some(offset) = path.text.find("{dataset}") {
            self.error(
                Some(path.offset + offset),
                "`{dataset}` is a placeholder of logpushd's configuration, which Cloudflare does not replace",
                "write the dataset's name, such as /logpush/http_requests",
            );
        } else if let Some(offset) = path.text.find(['{', '}']) {
            self.warning(
                Some(path.offset + offset),
                "Cloudflare replaces no placeholders in such a destination",
                "write the value",
            );
        }
    }

    /// Checks that two hexadecimal digits follow each `%`.
    fn check_escapes(&mut self, part: Span<'_>) -> bool {
        let bytes = part.text.as_bytes();
        let mut is_valid = true;
        for (offset, _) in part.text.match_indices('%') {
            let digits = bytes.get(offset + 1..offset + 3);
            if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                self.error(
                    Some(part.offset + offset),
                    "two hexadecimal digits must follow `%`",
                    "write %25 for a percent sign",
                );
                is_valid = false;
            }
        }
        is_valid
    }

    fn check_splunk(&mut self, path: Span<'_>, query: &query::Query<'_>) {
        if path.text != SPLUNK_RAW_PATH {
            let advice = format!("Cloudflare pushes to {SPLUNK_RAW_PATH} of a Splunk server");
            self.warning(Some(path.offset), "the path is not that of the raw collector", advice);
        }
        if !query.has_channel {
            self.error(None, "the channel is missing", "add channel=GUID with any GUID");
        }
        let is_authorization = |(name, _): &&(HeaderName, HeaderValue)| name == "authorization";
        match query.headers.iter().find(is_authorization) {
            None => {
                self.warning(
                    None,
                    "the token is missing",
                    "add header_Authorization=Splunk%20TOKEN",
                );
            }
            Some((_, value)) if !value.as_bytes().starts_with(b"Splunk ") => self.warning(
                None,
                "the value of header_Authorization does not begin with `Splunk `",
                "write header_Authorization=Splunk%20TOKEN",
            ),
            Some(_) => {}
        }
    }

    fn error(&mut self, at: Option<usize>, message: impl Into<String>, advice: impl Into<String>) {
        self.push(ProblemSeverity::Error, at, message.into(), advice.into(), None);
    }

    fn warning(
        &mut self,
        at: Option<usize>,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.push(ProblemSeverity::Warning, at, message.into(), advice.into(), None);
    }

    fn push(
        &mut self,
        severity: ProblemSeverity,
        at: Option<usize>,
        message: String,
        advice: String,
        cloudflare: Option<&'static str>,
    ) {
        let column = at.map(|at| 1 + self.input.get(..at).map_or(at, |text| text.chars().count()));
        self.problems.push(DestinationProblem { severity, column, message, advice, cloudflare });
    }
}
