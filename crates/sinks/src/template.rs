//! The path of a file sink: a template with `{dataset}`, `{endpoint}` and strftime conversions,
//! which is parsed once and filled in for each batch.
//!
//! The result depends on names and time only. Names come from the configuration and from
//! `{dataset}` in a request's path. Neither can contain `/` or `.`, so no path can leave the
//! directories in the template.

pub(super) mod times;

use std::path::{Path, PathBuf};

use jiff::{Timestamp, fmt::strtime::BrokenDownTime};

/// A path with placeholders and times.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathTemplate {
    parts: Vec<TemplatePart>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum TemplatePart {
    Literal(String),
    Dataset,
    Endpoint,
    /// One valid strftime conversion.
    Time(String),
}

impl PathTemplate {
    /// Parses a template. `{{`, `}}` and `%%` stand for a brace and a percent sign.
    ///
    /// # Errors
    /// A description of the first fault.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let part;
            if let Some(after) = rest.strip_prefix("{{") {
                (part, rest) = (None, after);
                literal.push('{');
            } else if let Some(after) = rest.strip_prefix("}}") {
                (part, rest) = (None, after);
                literal.push('}');
            } else if let Some(after) = rest.strip_prefix("%%") {
                (part, rest) = (None, after);
                literal.push('%');
            } else if let Some(after) = rest.strip_prefix('{') {
                let (name, after) =
                    after.split_once('}').ok_or("`{` is not closed: write `{{` for a brace")?;
                (part, rest) = (Some(placeholder(name)?), after);
            } else if rest.starts_with('}') {
                return Err("`}` has no `{` before it: write `}}` for a brace".into());
            } else if rest.starts_with('%') {
                let (conversion, after) = split_conversion(rest)?;
                (part, rest) = (Some(conversion), after);
            } else if c.is_control() {
                return Err("the path contains a control character".into());
            } else {
                literal.push(c);
                (part, rest) = (None, rest.split_at(c.len_utf8()).1);
            }
            if let Some(part) = part {
                if !literal.is_empty() {
                    parts.push(TemplatePart::Literal(std::mem::take(&mut literal)));
                }
                parts.push(part);
            }
        }
        if !literal.is_empty() {
            parts.push(TemplatePart::Literal(literal));
        }
        Ok(Self { parts })
    }

    /// The base directory, which no name and no time can lead out of: the last one before the first
    /// placeholder or time. `None` if the template has neither.
    pub fn base(&self) -> Option<PathBuf> {
        let mut parts = self.parts.iter();
        let first = match parts.next() {
            Some(TemplatePart::Literal(text)) => parts.next().map(|_| text.as_str())?,
            part => part.map(|_| "")?,
        };
        let (directory, _) = first.rsplit_once('/')?;
        Some(PathBuf::from(if directory.is_empty() { "/" } else { directory }))
    }

    /// The base directory, or, without placeholders, the directory of the only file.
    pub fn directory(&self) -> PathBuf {
        self.base().unwrap_or_else(|| {
            let file = PathBuf::from(self.stream("", ""));
            file.parent().map(Path::to_owned).unwrap_or_default()
        })
    }

    /// The parts of the template, with [`Self::directory`] replaced by `directory`.
    pub(super) fn in_directory(&self, directory: &Path) -> Vec<TemplatePart> {
        let mut parts = self.parts.clone();
        if let Some(TemplatePart::Literal(text)) = parts.first_mut() {
            let name = text.rsplit_once('/').map_or("", |(_, name)| name);
            let directory = directory.to_string_lossy();
            *text = format!("{}/{name}", directory.trim_end_matches('/'));
        }
        for part in &mut parts {
            if let TemplatePart::Literal(text) = part {
                while text.contains("//") || text.contains("/./") {
                    *text = text.replace("//", "/").replace("/./", "/");
                }
            }
        }
        parts
    }

    pub(super) fn into_parts(self) -> Vec<TemplatePart> {
        self.parts
    }

    /// Whether the path contains a time, so that new files begin by time.
    pub fn has_time(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, TemplatePart::Time(_)))
    }

    /// Whether the template renders to `path` at this time, for any names.
    pub fn gives(&self, path: &Path, time: Timestamp) -> bool {
        let time = BrokenDownTime::from(time);
        let fill_in = |conversion: &str| {
            let mut text = String::new();
            // Cannot fail: `parse` has checked the conversion.
            time.format(conversion, &mut text).ok();
            text
        };
        path.to_str().is_some_and(|path| matches_parts(&self.parts, path, &fill_in))
    }

    /// Whether [`Self::stream`] returns `stream` for any names.
    pub fn has_stream(&self, stream: &str) -> bool {
        matches_parts(&self.parts, stream, &str::to_owned)
    }

    /// Whether the time in `path` has passed: the template renders to another path now.
    pub fn has_passed(&self, path: &Path, now: Timestamp) -> bool {
        self.has_time() && !self.gives(path, now)
    }

    /// Fills in the names but not the time. Consecutive files of an endpoint and dataset have the
    /// same stream.
    pub fn stream(&self, endpoint: &str, dataset: &str) -> String {
        let text = |part| match part {
            &TemplatePart::Literal(ref text) | &TemplatePart::Time(ref text) => text.clone(),
            TemplatePart::Dataset => dataset.to_owned(),
            TemplatePart::Endpoint => endpoint.to_owned(),
        };
        self.parts.iter().map(text).collect()
    }

    /// An example path. Two templates with the same sample name the same files.
    pub fn sample(&self) -> PathBuf {
        self.render("{endpoint}", "{dataset}", Timestamp::UNIX_EPOCH)
    }

    /// Renders the path. The time is written in UTC.
    pub fn render(&self, endpoint: &str, dataset: &str, time: Timestamp) -> PathBuf {
        PathBuf::from(self.fill(endpoint, dataset, time))
    }

    /// Fills in names and time, which is written in UTC.
    pub(super) fn fill(&self, endpoint: &str, dataset: &str, time: Timestamp) -> String {
        let time = BrokenDownTime::from(time);
        let mut text = String::new();
        for part in &self.parts {
            match part {
                TemplatePart::Literal(literal) => text.push_str(literal),
                TemplatePart::Dataset => text.push_str(dataset),
                TemplatePart::Endpoint => text.push_str(endpoint),
                TemplatePart::Time(conversion) => {
                    // Cannot fail: a timestamp has every field, and `parse` has checked the
                    // conversion.
                    if time.format(conversion, &mut text).is_err() {
                        debug_assert!(false, "{conversion} was checked by `parse`");
                    }
                }
            }
        }
        text
    }

    /// The parts of the template that are neither names nor times.
    pub(super) fn literals(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            TemplatePart::Literal(literal) => Some(literal.as_str()),
            _ => None,
        })
    }
}

/// Whether the parts render to `text`, for any names.
fn matches_parts(parts: &[TemplatePart], text: &str, fill_in: &dyn Fn(&str) -> String) -> bool {
    let Some((part, parts)) = parts.split_first() else { return text.is_empty() };
    let begin = match part {
        TemplatePart::Literal(literal) => literal.clone(),
        TemplatePart::Time(conversion) => fill_in(conversion),
        TemplatePart::Dataset | TemplatePart::Endpoint => {
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            let most = text.find(|c| !is_name(c)).unwrap_or(text.len());
            let rest = |length| text.get(length..).unwrap_or_default();
            return (1..=most).any(|length| matches_parts(parts, rest(length), fill_in));
        }
    };
    text.strip_prefix(&begin).is_some_and(|rest| matches_parts(parts, rest, fill_in))
}

/// Escapes a path so that [`PathTemplate::parse`] takes it literally.
pub fn escape(path: &str) -> String {
    path.replace('{', "{{").replace('}', "}}").replace('%', "%%")
}

fn placeholder(name: &str) -> Result<TemplatePart, String> {
    match name {
        "dataset" => Ok(TemplatePart::Dataset),
        "endpoint" => Ok(TemplatePart::Endpoint),
        _ => Err(format!(
            "unknown placeholder `{{{}}}`: use `{{dataset}}` or `{{endpoint}}`, or `{{{{` for a brace",
            name.escape_debug()
        )),
    }
}

/// Splits `%Y`, `%-d` or `%.3f` from the beginning of `text`, and checks the conversion.
fn split_conversion(text: &str) -> Result<(TemplatePart, &str), String> {
    let is_modifier =
        |c: char| c.is_ascii_digit() || matches!(c, '-' | '_' | '^' | '#' | ':' | '.');
    let end = text
        .char_indices()
        .skip(1)
        .find(|(_, c)| !is_modifier(*c))
        .map_or(text.len(), |(at, c)| at + c.len_utf8());
    let (conversion, rest) = text.split_at(end);

    let mut sample = String::new();
    let formatted = BrokenDownTime::from(Timestamp::UNIX_EPOCH).format(conversion, &mut sample);
    if formatted.is_err() || sample.is_empty() {
        return Err(format!(
            "`{}` is not a strftime conversion: write `%%` for a percent sign",
            conversion.escape_debug()
        ));
    }
    // January 1 at midnight reveals padding with spaces.
    if sample.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()) {
        return Err(format!(
            "`{conversion}` writes `{}`, which a file name cannot contain: write `%Y-%m-%d` for a date",
            sample.escape_debug()
        ));
    }
    Ok((TemplatePart::Time(conversion.to_owned()), rest))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn time() -> Timestamp {
        "2026-02-03T04:05:06.789Z".parse().unwrap()
    }

    #[test]
    fn placeholders_and_times_are_filled_in() {
        let cases = [
            ("/logs/plain.ndjson", "/logs/plain.ndjson"),
            ("/logs/{dataset}/%Y-%m-%d.ndjson", "/logs/http_requests/2026-02-03.ndjson"),
            ("/logs/{endpoint}/{dataset}", "/logs/Main-1/http_requests"),
            ("/%F/%H%M%S/%j/%s", "/2026-02-03/040506/034/1770091506"),
            ("/%-d/%d%y", "/3/0326"),
            ("/%3f/%A", "/789/Tuesday"),
            ("/{{dataset}}/100%%", "/{dataset}/100%"),
            ("/{{{dataset}}}", "/{http_requests}"),
            ("/é{dataset}é", "/éhttp_requestsé"),
            ("", ""),
        ];
        for (text, expected) in cases {
            let template = PathTemplate::parse(text).unwrap();
            let path = template.render("Main-1", "http_requests", time());
            assert_eq!(path, Path::new(expected), "{text}");
            let is_same = template.stream("Main-1", "http_requests") == expected;
            assert_eq!(is_same, !template.has_time(), "{text}");
        }
    }

    #[test]
    fn the_base_ends_before_the_first_placeholder() {
        let cases = [
            ("/logs/{dataset}/%Y.ndjson", Some("/logs")),
            ("/logs/a/x-{dataset}.ndjson", Some("/logs/a")),
            ("/logs/%Y/{dataset}", Some("/logs")),
            ("/{dataset}", Some("/")),
            ("/logs/100%%/{{a}}/%d", Some("/logs/100%/{a}")),
            ("/logs/plain.ndjson", None),
        ];
        for (text, base) in cases {
            let template = PathTemplate::parse(text).unwrap();
            assert_eq!(template.base().as_deref(), base.map(Path::new), "{text}");
        }
    }

    #[test]
    fn a_path_matches_at_its_own_time_only() {
        let time = time();
        let hour = jiff::SignedDuration::from_hours(1);
        for text in ["/{dataset}/%FT%H.ndjson", "/{endpoint}-{dataset}-%F%H", "/%H/{dataset}_%F"] {
            let template = PathTemplate::parse(text).unwrap();
            for (endpoint, dataset) in [("Main-1", "http_requests"), ("a", "b_2026")] {
                let path = template.render(endpoint, dataset, time);
                assert!(template.gives(&path, time), "{text}");
                assert!(!template.gives(&path, time + hour), "{text}");
                assert!(!template.gives(&path, time - hour), "{text}");
                assert!(!template.gives(&path.with_extension("gz"), time), "{text}");
                let stream = template.stream(endpoint, dataset);
                assert!(template.has_stream(&stream), "{text}");
                assert!(!template.has_stream(path.to_str().unwrap()), "{text}");
            }
        }
        let plain = PathTemplate::parse("/l/{dataset}.ndjson").unwrap();
        assert!(plain.gives(Path::new("/l/a-b.ndjson"), time));
        assert!(!plain.gives(Path::new("/l/a/b.ndjson"), time));
        assert!(!plain.gives(Path::new("/l/.ndjson"), time));
    }

    #[test]
    fn faulty_templates_are_refused() {
        let cases = [
            ("/{zone}", "unknown placeholder `{zone}`"),
            ("/{}", "unknown placeholder `{}`"),
            ("/{dataset", "not closed"),
            ("/dataset}", "no `{` before it"),
            ("/100%", "`%` is not a strftime conversion"),
            ("/%é", "`%é` is not a strftime conversion"),
            ("/%-", "`%-` is not a strftime conversion"),
            ("/%J", "`%J` is not a strftime conversion"),
            ("/%999Y", "`%999Y` is not a strftime conversion"),
            ("/%D", "`%D` writes `01/01/70`"),
            ("/%_d", "writes ` 1`"),
            ("/%c", "a file name cannot contain"),
            ("/%x", "a file name cannot contain"),
            ("/%n", "a file name cannot contain"),
            ("/%t", "a file name cannot contain"),
            ("/a\nb", "control character"),
        ];
        for (text, expected) in cases {
            let error = PathTemplate::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_valid_template_renders_at_any_time() {
        let times = [Timestamp::MIN, Timestamp::UNIX_EPOCH, time(), Timestamp::MAX];
        let mut accepted = 0;
        for modifier in ["", "-", "_", "0", "^", "#", "3", ".", ".3", ":", "::"] {
            for letter in ('a'..='z').chain('A'..='Z').chain(['+', '%']) {
                let Ok(template) = PathTemplate::parse(&format!("%{modifier}{letter}")) else {
                    continue;
                };
                accepted += 1;
                for time in times {
                    let path = template.render("e", "d", time);
                    let path = path.to_str().unwrap();
                    assert!(!path.is_empty(), "%{modifier}{letter}");
                    assert!(!path.contains('/'), "%{modifier}{letter} {path}");
                }
            }
        }
        assert!(accepted > 50, "{accepted}");
    }

    proptest! {
        #[test]
        fn escaped_is_literal(text in "[a-z/{}%é]{0,20}") {
            let template = PathTemplate::parse(&escape(&text)).unwrap();
            let path = template.render("e", "d", time());
            prop_assert_eq!(path.to_str().unwrap(), text.as_str());
        }

        #[test]
        fn never_panics(text in any::<String>(), near in "[{}%a-zA-Z0-9:.+/é-]{0,20}") {
            for text in [text, near] {
                if let Ok(template) = PathTemplate::parse(&text) {
                    template.render("e", "d", time());
                }
            }
        }
    }
}
