//! Reads a destination, and finds all that is wrong with it at once.

mod host;
mod query;

use http::header::{HeaderName, HeaderValue};

use self::host::Authority;
use super::{Destination, MAX_CHARS, Parsed, Problem, Problems, Scheme, Severity, Verification};

/// Said of a text that is not made of Cloudflare's characters.
const REFUSED: &str = concat!(
    "invalid destination_conf: config string must match ",
    r#""^[a-zA-Z0-9\.,_:/?%+&=\{\}-]+$""#
);

/// Splunk's collector, as Cloudflare's documentation has it.
const RAW: &str = "/services/collector/raw";

pub(super) fn parse(text: &str) -> Result<Parsed, Problems> {
    let mut reader = Reader { whole: text.trim(), problems: Vec::new() };
    let destination = reader.read();
    let problems = reader.problems;
    let is_refused = problems.iter().any(|problem| problem.severity == Severity::Error);
    match destination {
        Some(destination) if !is_refused => Ok(Parsed { destination, warnings: problems }),
        _ => Err(Problems(problems)),
    }
}

/// A part of the text, and the byte of the whole that it begins at.
#[derive(Clone, Copy)]
struct Part<'a> {
    text: &'a str,
    at: usize,
}

impl Part<'_> {
    /// What stands before the first such character, and all from there.
    fn cut(self, is_end: impl Fn(char) -> bool) -> (Self, Self) {
        let length = self.text.find(is_end).unwrap_or(self.text.len());
        let (before, rest) = self.text.split_at_checked(length).unwrap_or((self.text, ""));
        (Self { text: before, at: self.at }, Self { text: rest, at: self.at + before.len() })
    }

    /// All behind the first character.
    fn skip_one(self) -> Self {
        let mut chars = self.text.chars();
        let length = chars.next().map_or(0, char::len_utf8);
        Self { text: chars.as_str(), at: self.at + length }
    }
}

struct Reader<'a> {
    whole: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn read(&mut self) -> Option<Destination> {
        if self.whole.is_empty() {
            self.error(None, "there is no destination", "write https://HOST/PATH");
            return None;
        }
        self.check_length();
        self.check_characters();
        let (scheme, rest) = self.scheme()?;
        let (authority, rest) = rest.cut(|c| matches!(c, '/' | '?' | '#'));
        // A fragment is an error already, by its character.
        let (rest, _) = rest.cut(|c| c == '#');
        let (path, query) = rest.cut(|c| c == '?');
        self.check_path(path);
        let query = self.query(query.skip_one(), scheme);
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
        let count = self.whole.chars().count();
        if count > MAX_CHARS {
            self.error(
                None,
                format!("it has {count} characters, and Cloudflare takes {MAX_CHARS}"),
                "shorten the path, or the values of headers",
            );
        }
    }

    /// One problem for each character that must not be there, at its first place.
    fn check_characters(&mut self) {
        let mut seen = Vec::new();
        for (at, c) in self.whole.char_indices() {
            let is_allowed = c.is_ascii_alphanumeric() || ".,_:/?%+&={}-".contains(c);
            if is_allowed || seen.contains(&c) {
                continue;
            }
            seen.push(c);
            let advice = match c {
                '@' => "write %40 in a value; a user and a password go into \
                        header_Authorization=Basic%20BASE64"
                    .to_owned(),
                '#' => "write %23 in a value; what stands behind # is sent nowhere".to_owned(),
                '[' | ']' => "write %5B and %5D in a value; an IPv6 address cannot be a \
                              destination, a name that has one can"
                    .to_owned(),
                '"' | '\'' => "take the quotes away, or write them as %22 and %27".to_owned(),
                c if c.is_ascii() => {
                    format!("in a value write %{:02X} for it", u32::from(c))
                }
                _ => "percent-encode it as UTF-8 in a value, and write a name in its xn-- form"
                    .to_owned(),
            };
            let what = match c {
                ' ' => "a space cannot stand in a destination".to_owned(),
                c => format!("`{}` cannot stand in a destination", c.escape_debug()),
            };
            self.push(Severity::Error, Some(at), what, advice, Some(REFUSED));
        }
    }

    fn scheme(&mut self) -> Option<(Scheme, Part<'a>)> {
        let whole = Part { text: self.whole, at: 0 };
        // A `://` farther on belongs to a parameter, and what stands before it may be a secret.
        let is_scheme =
            |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        let split = self.whole.split_once("://").filter(|(scheme, _)| is_scheme(scheme));
        let Some((scheme, rest)) = split else {
            self.warning(
                Some(0),
                "there is no https:// in front",
                "write it: it was taken as meant here, Cloudflare needs it",
            );
            return Some((Scheme::Https, whole));
        };
        let rest = Part { text: rest, at: scheme.len() + 3 };
        match &*scheme.to_ascii_lowercase() {
            "https" => Some((Scheme::Https, rest)),
            "splunk" => Some((Scheme::Splunk, rest)),
            "http" => {
                self.error(Some(0), "Cloudflare pushes over TLS alone", "write https://");
                None
            }
            _ => {
                let what = format!("`{}://` is no server of one's own", scheme.escape_debug());
                self.error(Some(0), what, "only https:// and splunk:// can be looked at");
                None
            }
        }
    }

    fn check_path(&mut self, path: Part<'_>) {
        self.check_escapes(path);
        if let Some(place) = path.text.find("&header_") {
            self.error(
                Some(path.at + place),
                "this header stands in the path",
                "the first parameter begins with ?, only the next ones with &",
            );
        }
        if let Some(place) = path.text.find("{dataset}") {
            self.error(
                Some(path.at + place),
                "`{dataset}` is a word of logpushd's configuration, and Cloudflare does not fill it in",
                "write the dataset's name, as in /logpush/http_requests",
            );
        } else if let Some(place) = path.text.find(['{', '}']) {
            self.warning(
                Some(path.at + place),
                "Cloudflare fills nothing in for braces of such a destination",
                "write what is meant",
            );
        }
    }

    /// A `%` must stand before two hexadecimal digits.
    fn check_escapes(&mut self, part: Part<'_>) -> bool {
        let bytes = part.text.as_bytes();
        let mut whole = true;
        for (place, _) in part.text.match_indices('%') {
            let digits = bytes.get(place + 1..place + 3);
            if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                self.error(
                    Some(part.at + place),
                    "`%` without two hexadecimal digits behind it",
                    "write %25 for the character itself",
                );
                whole = false;
            }
        }
        whole
    }

    fn check_splunk(&mut self, path: Part<'_>, query: &query::Query<'_>) {
        if path.text != RAW {
            let advice = format!("Cloudflare pushes to {RAW} of a Splunk server");
            self.warning(Some(path.at), "this is not the path of the raw collector", advice);
        }
        if !query.has_channel {
            self.error(None, "there is no channel", "add channel=GUID: any GUID does");
        }
        let is_authorization = |(name, _): &&(HeaderName, HeaderValue)| name == "authorization";
        match query.headers.iter().find(is_authorization) {
            None => {
                self.warning(None, "there is no token", "add header_Authorization=Splunk%20TOKEN");
            }
            Some((_, value)) if !value.as_bytes().starts_with(b"Splunk ") => self.warning(
                None,
                "the value of header_Authorization does not begin with `Splunk `",
                "write header_Authorization=Splunk%20TOKEN",
            ),
            Some(_) => {}
        }
    }

    fn error(&mut self, at: Option<usize>, what: impl Into<String>, advice: impl Into<String>) {
        self.push(Severity::Error, at, what.into(), advice.into(), None);
    }

    fn warning(&mut self, at: Option<usize>, what: impl Into<String>, advice: impl Into<String>) {
        self.push(Severity::Warning, at, what.into(), advice.into(), None);
    }

    fn push(
        &mut self,
        severity: Severity,
        at: Option<usize>,
        what: String,
        advice: String,
        cloudflare: Option<&'static str>,
    ) {
        let column = at.map(|at| 1 + self.whole.get(..at).map_or(at, |text| text.chars().count()));
        self.problems.push(Problem { severity, column, what, advice, cloudflare });
    }
}
