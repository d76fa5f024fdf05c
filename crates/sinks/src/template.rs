//! The path of a file sink: `{dataset}`, `{endpoint}` and strftime conversions, split once and
//! filled in for each batch.
//!
//! A pure function of names and time. The names that it is handed come from the configuration and
//! from `{dataset}` in a request's path; neither can hold a `/` or a `.`, so no path can leave the
//! folders that the template itself spells out.

pub(super) mod times;

use std::path::{Path, PathBuf};

use jiff::{Timestamp, fmt::strtime::BrokenDownTime};

/// A path with places to fill in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathTemplate {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Piece {
    Literal(String),
    Dataset,
    Endpoint,
    /// One strftime conversion; parsing has tried it.
    Time(String),
}

impl PathTemplate {
    /// Splits `text`. `{{`, `}}` and `%%` stand for the characters themselves.
    ///
    /// # Errors
    /// The first thing that is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let piece;
            if let Some(after) = rest.strip_prefix("{{") {
                (piece, rest) = (None, after);
                literal.push('{');
            } else if let Some(after) = rest.strip_prefix("}}") {
                (piece, rest) = (None, after);
                literal.push('}');
            } else if let Some(after) = rest.strip_prefix("%%") {
                (piece, rest) = (None, after);
                literal.push('%');
            } else if let Some(after) = rest.strip_prefix('{') {
                let (name, after) =
                    after.split_once('}').ok_or("`{` is never closed: write `{{` for a brace")?;
                (piece, rest) = (Some(placeholder(name)?), after);
            } else if rest.starts_with('}') {
                return Err("`}` closes nothing: write `}}` for a brace".into());
            } else if rest.starts_with('%') {
                let (conversion, after) = split_conversion(rest)?;
                (piece, rest) = (Some(conversion), after);
            } else if c.is_control() {
                return Err("a control character cannot stand in a path".into());
            } else {
                literal.push(c);
                (piece, rest) = (None, rest.split_at(c.len_utf8()).1);
            }
            if let Some(piece) = piece {
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                }
                pieces.push(piece);
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces })
    }

    /// The folder that no name and no time can lead out of: what stands before the first place to fill
    /// in. `None` if there is no such place.
    pub fn base(&self) -> Option<PathBuf> {
        let mut pieces = self.pieces.iter();
        let first = match pieces.next() {
            Some(Piece::Literal(text)) => pieces.next().map(|_| text.as_str())?,
            piece => piece.map(|_| "")?,
        };
        let (folder, _) = first.rsplit_once('/')?;
        Some(PathBuf::from(if folder.is_empty() { "/" } else { folder }))
    }

    /// The directory that stands in the template as it is: the base, or that of the only file.
    pub fn directory(&self) -> PathBuf {
        self.base().unwrap_or_else(|| {
            let file = PathBuf::from(self.stream("", ""));
            file.parent().map(Path::to_owned).unwrap_or_default()
        })
    }

    /// The same template, with another directory in place of [`Self::directory`].
    pub(super) fn in_directory(&self, directory: &Path) -> Vec<Piece> {
        let mut pieces = self.pieces.clone();
        if let Some(Piece::Literal(text)) = pieces.first_mut() {
            let name = text.rsplit_once('/').map_or("", |(_, name)| name);
            let directory = directory.to_string_lossy();
            *text = format!("{}/{name}", directory.trim_end_matches('/'));
        }
        for piece in &mut pieces {
            if let Piece::Literal(text) = piece {
                while text.contains("//") || text.contains("/./") {
                    *text = text.replace("//", "/").replace("/./", "/");
                }
            }
        }
        pieces
    }

    pub(super) fn into_pieces(self) -> Vec<Piece> {
        self.pieces
    }

    /// Whether a new file begins by time alone.
    pub fn has_time(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Time(_)))
    }

    /// Whether some names and this time give the path: time has not led to another file yet.
    pub fn gives(&self, path: &Path, time: Timestamp) -> bool {
        let time = BrokenDownTime::from(time);
        let fill_in = |conversion: &str| {
            let mut text = String::new();
            // Cannot fail: `parse` tried the conversion.
            time.format(conversion, &mut text).ok();
            text
        };
        path.to_str().is_some_and(|path| matches_pieces(&self.pieces, path, &fill_in))
    }

    /// Whether some names give this [`Self::stream`].
    pub fn has_stream(&self, stream: &str) -> bool {
        matches_pieces(&self.pieces, stream, &str::to_owned)
    }

    /// Whether time has led from this path to another one.
    pub fn has_passed(&self, path: &Path, now: Timestamp) -> bool {
        self.has_time() && !self.gives(path, now)
    }

    /// Fills in all but the time: what files that follow each other have in common.
    pub fn stream(&self, endpoint: &str, dataset: &str) -> String {
        let text = |piece| match piece {
            &Piece::Literal(ref text) | &Piece::Time(ref text) => text.clone(),
            Piece::Dataset => dataset.to_owned(),
            Piece::Endpoint => endpoint.to_owned(),
        };
        self.pieces.iter().map(text).collect()
    }

    /// One of the files, by which two templates are compared: they name the same files if theirs is
    /// the same.
    pub fn sample(&self) -> PathBuf {
        self.render("{endpoint}", "{dataset}", Timestamp::UNIX_EPOCH)
    }

    /// Fills in. The time is given in UTC.
    pub fn render(&self, endpoint: &str, dataset: &str, time: Timestamp) -> PathBuf {
        let time = BrokenDownTime::from(time);
        let mut path = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => path.push_str(text),
                Piece::Dataset => path.push_str(dataset),
                Piece::Endpoint => path.push_str(endpoint),
                Piece::Time(conversion) => {
                    // Cannot fail: a timestamp has every field, and `parse` tried the conversion.
                    if time.format(conversion, &mut path).is_err() {
                        debug_assert!(false, "{conversion} was tried when it was parsed");
                    }
                }
            }
        }
        PathBuf::from(path)
    }
}

/// Whether the pieces give `text`, with names of any kind.
fn matches_pieces(pieces: &[Piece], text: &str, fill_in: &dyn Fn(&str) -> String) -> bool {
    let Some((piece, pieces)) = pieces.split_first() else { return text.is_empty() };
    let begin = match piece {
        Piece::Literal(literal) => literal.clone(),
        Piece::Time(conversion) => fill_in(conversion),
        Piece::Dataset | Piece::Endpoint => {
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            let most = text.find(|c| !is_name(c)).unwrap_or(text.len());
            let rest = |length| text.get(length..).unwrap_or_default();
            return (1..=most).any(|length| matches_pieces(pieces, rest(length), fill_in));
        }
    };
    text.strip_prefix(&begin).is_some_and(|rest| matches_pieces(pieces, rest, fill_in))
}

/// Writes a path so that [`PathTemplate::parse`] takes all of it literally.
pub fn escape(path: &str) -> String {
    path.replace('{', "{{").replace('}', "}}").replace('%', "%%")
}

fn placeholder(name: &str) -> Result<Piece, String> {
    match name {
        "dataset" => Ok(Piece::Dataset),
        "endpoint" => Ok(Piece::Endpoint),
        _ => Err(format!(
            "`{{{}}}` is not known: `{{dataset}}` and `{{endpoint}}` are, and `{{{{` writes a brace",
            name.escape_debug()
        )),
    }
}

/// Cuts `%Y`, `%-d` or `%.3f` off the front and tries it.
fn split_conversion(text: &str) -> Result<(Piece, &str), String> {
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
    // The first of January at midnight shows any padding with spaces.
    if sample.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()) {
        return Err(format!(
            "`{conversion}` writes `{}`, which cannot stand in the name of a file: write `%Y-%m-%d` for a date",
            sample.escape_debug()
        ));
    }
    Ok((Piece::Time(conversion.to_owned()), rest))
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
    fn fills_in() {
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
    fn the_base_ends_before_the_first_place() {
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
    fn a_path_is_given_by_its_own_time_alone() {
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
    fn refuses() {
        let cases = [
            ("/{zone}", "`{zone}` is not known"),
            ("/{}", "`{}` is not known"),
            ("/{dataset", "never closed"),
            ("/dataset}", "closes nothing"),
            ("/100%", "`%` is not a strftime conversion"),
            ("/%é", "`%é` is not a strftime conversion"),
            ("/%-", "`%-` is not a strftime conversion"),
            ("/%J", "`%J` is not a strftime conversion"),
            ("/%999Y", "`%999Y` is not a strftime conversion"),
            ("/%D", "`%D` writes `01/01/70`"),
            ("/%_d", "writes ` 1`"),
            ("/%c", "cannot stand in the name of a file"),
            ("/%x", "cannot stand in the name of a file"),
            ("/%n", "cannot stand in the name of a file"),
            ("/%t", "cannot stand in the name of a file"),
            ("/a\nb", "control character"),
        ];
        for (text, expected) in cases {
            let error = PathTemplate::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn what_parses_also_renders_at_any_time() {
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
