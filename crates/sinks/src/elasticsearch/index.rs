//! The names of indices and data streams.

use std::{borrow::Cow, fmt};

use jiff::Timestamp;
use settings::{Context, Value, reference::Takes, setting};
use spool::Origin;

use crate::template::PathTemplate;

/// The maximum length of the name of an index, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// The maximum length of the name of a dataset or an endpoint.
const MAX_PART_BYTES: usize = 64;

/// Characters that no name of an index contains.
/// <https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-create>
const FORBIDDEN: &str = "\\/*?\"<>| ,#:";

setting! {
    /// A pattern of index names.
    pub struct IndexPattern(NamePattern): Takes::String("pattern of names"), read by index;
}

setting! {
    /// A pattern of data stream names.
    pub struct DataStreamPattern(NamePattern):
        Takes::String("pattern of names"), read by data_stream;
}

/// A pattern of names with `{dataset}`, `{endpoint}` and times.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamePattern {
    text: String,
    template: PathTemplate,
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl NamePattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// The fault, as a sentence, and what to do.
    pub(super) fn parse(text: &str) -> Result<Self, (String, &'static str)> {
        const LOWERCASE: &str = "write it in lowercase";
        const START: &str = "begin it with a letter or a digit";
        let template = PathTemplate::parse(text)
            .map_err(|fault| (fault, "write a pattern such as \"logpush-{dataset}-%Y.%m.%d\""))?;
        let pattern = Self { text: text.to_owned(), template };
        let longest = "n".repeat(MAX_PART_BYTES);
        let name = pattern.template.fill(&longest, &longest, Timestamp::UNIX_EPOCH);
        if let Some(fault) = name.chars().find(|c| FORBIDDEN.contains(*c)) {
            let fault = format!("the name of an index cannot contain `{fault}`");
            return Err((fault, "remove the character"));
        }
        // The result of a conversion such as `%b` is written in lowercase. A literal is expected
        // to be the name.
        let literal = pattern.template.literals().collect::<String>();
        if literal.chars().any(char::is_uppercase) {
            return Err((
                "the name of an index cannot contain uppercase letters".into(),
                LOWERCASE,
            ));
        }
        if name.is_empty() || name.starts_with(['-', '_', '+', '.']) {
            let fault = "the name of an index cannot be empty or begin with `-`, `_`, `+` or `.`";
            return Err((fault.into(), START));
        }
        if name.len() > MAX_NAME_BYTES {
            let fault = format!("the name can become longer than {MAX_NAME_BYTES} bytes");
            return Err((fault, "shorten it"));
        }
        Ok(pattern)
    }

    /// Whether the name contains a time.
    pub(super) fn has_time(&self) -> bool {
        self.template.has_time()
    }

    /// The name for a record of this time.
    pub(super) fn name(&self, origin: &Origin, time: Timestamp) -> String {
        // The names of endpoints may contain uppercase letters.
        let name = self.template.fill(&origin.endpoint, &origin.dataset, time);
        if name.chars().any(char::is_uppercase) { name.to_lowercase() } else { name }
    }
}

fn index(value: &Value<'_>, cx: &mut Context) -> Option<NamePattern> {
    read(value, cx, |_| None)
}

fn data_stream(value: &Value<'_>, cx: &mut Context) -> Option<NamePattern> {
    read(value, cx, |pattern| {
        let hint = "remove the time: the server adds it to the names of the backing indices";
        let fault = "the name of a data stream contains no time";
        pattern.has_time().then_some((fault.into(), hint))
    })
}

fn read(
    value: &Value<'_>,
    cx: &mut Context,
    check: impl FnOnce(&NamePattern) -> Option<(Cow<'static, str>, &'static str)>,
) -> Option<NamePattern> {
    let text = value.string(cx)?.into_inner();
    let fault = match NamePattern::parse(&text) {
        Ok(pattern) => match check(&pattern) {
            None => return Some(pattern),
            Some((fault, hint)) => (fault.into_owned(), hint),
        },
        Err(fault) => fault,
    };
    let (fault, hint) = fault;
    cx.push(value.problem(format!("`{}`: {fault}", value.name())).hint(hint));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(endpoint: &str) -> Origin {
        Origin {
            endpoint: endpoint.to_owned(),
            dataset: "http_requests".to_owned(),
            received: Timestamp::UNIX_EPOCH,
            sink: None,
        }
    }

    #[test]
    fn names_and_times_are_filled_in_and_lowercase() {
        let time = "2026-02-03T04:05:06Z".parse().unwrap();
        for (pattern, expected) in [
            ("logpush-{dataset}-%Y.%m.%d", "logpush-http_requests-2026.02.03"),
            ("{endpoint}-%b-%G.w%V", "main-1-feb-2026.w06"),
            ("cloudflare", "cloudflare"),
            ("é{{1}}%%", "é{1}%"),
        ] {
            let pattern = NamePattern::parse(pattern).unwrap();
            assert_eq!(pattern.name(&origin("Main-1"), time), expected);
        }
    }

    #[test]
    fn invalid_names_are_rejected() {
        for (pattern, expected) in [
            ("", "cannot be empty"),
            ("_logs", "begin with"),
            (".logs", "begin with"),
            ("-{dataset}", "begin with"),
            ("Logs-{dataset}", "uppercase"),
            ("logs/{dataset}", "cannot contain `/`"),
            ("a,b", "cannot contain `,`"),
            ("a b", "cannot contain ` `"),
            ("<logs-{{now/d}}>", "cannot contain `<`"),
            ("logs-%T", "cannot contain `:`"),
            ("logs-%D", "`%D` writes"),
            ("logs-{zone}", "unknown placeholder `{zone}`"),
            (&"a".repeat(256), "longer than 255 bytes"),
            (&format!("{}-{{dataset}}", "a".repeat(200)), "longer than 255 bytes"),
        ] {
            let (fault, _) = NamePattern::parse(pattern).unwrap_err();
            assert!(fault.contains(expected), "{pattern}: {fault}");
        }
    }
}
