//! Finds paths that two endpoints would accept.

use records::is_dataset;

use crate::config::{HEC_PATHS, PathPattern};

/// Returns a path that both patterns match. A fixed path takes precedence over a pattern with a
/// dataset, so these never conflict.
pub(super) fn common_path(one: &PathPattern, two: &PathPattern) -> Option<String> {
    match (one, two) {
        (PathPattern::Fixed { path, .. }, PathPattern::Fixed { path: other, .. }) => {
            (path == other).then(|| path.clone())
        }
        (PathPattern::Prefix { prefix, .. }, PathPattern::Fixed { path, .. })
        | (PathPattern::Fixed { path, .. }, PathPattern::Prefix { prefix, .. }) => {
            whole_paths(prefix).find(|whole| whole == path)
        }
        (PathPattern::Prefix { prefix: one, .. }, PathPattern::Prefix { prefix: two, .. }) => {
            whole_paths(one).find(|path| whole_paths(two).any(|other| *path == other))
        }
        (
            PathPattern::Dataset { prefix: p1, suffix: s1 },
            PathPattern::Dataset { prefix: p2, suffix: s2 },
        ) => {
            // `long` is the prefix of the other pattern followed by `head`.
            let ((long, long_suffix), (short, suffix)) =
                if p1.len() >= p2.len() { ((p1, s1), (p2, s2)) } else { ((p2, s2), (p1, s1)) };
            let head = long.strip_prefix(short.as_str())?;
            if let Some(tail) = long_suffix.strip_suffix(suffix.as_str()) {
                // The dataset of the long pattern is within that of the other.
                let is_inside = is_dataset(format!("{head}x{tail}").as_bytes());
                return is_inside.then(|| format!("{long}x{long_suffix}"));
            }
            let tail = suffix.strip_suffix(long_suffix.as_str())?;
            crossing(head, tail).map(|middle| format!("{short}{middle}{long_suffix}"))
        }
        _ => None,
    }
}

/// Returns the paths of HEC with a prefix.
fn whole_paths(prefix: &str) -> impl Iterator<Item = String> {
    HEC_PATHS.iter().map(move |(path, _)| format!("{prefix}{path}"))
}

/// Returns a text that is `head` followed by a dataset, and also a dataset followed by `tail`.
fn crossing(head: &str, tail: &str) -> Option<String> {
    let (head, tail) = (head.as_bytes(), tail.as_bytes());
    let dataset_then = |middle: &[u8]| {
        middle.strip_prefix(head).is_some_and(is_dataset)
            && middle.strip_suffix(tail).is_some_and(is_dataset)
    };
    // `head` and `tail` next to each other, with one character between them if necessary ...
    [&b""[..], b"x"]
        .into_iter()
        .map(|between| [head, between, tail].concat())
        // ... or overlapping.
        .chain((1..=head.len().min(tail.len())).filter_map(|shared| {
            let (begin, end) = tail.split_at_checked(shared)?;
            head.ends_with(begin).then(|| [head, end].concat())
        }))
        .find(|middle| dataset_then(middle))
        .and_then(|middle| String::from_utf8(middle).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Parses a pattern. A final `*` means the paths of HEC.
    fn pattern(path: &str) -> PathPattern {
        if let Some(prefix) = path.strip_suffix('*') {
            return PathPattern::Prefix { prefix: prefix.into(), dataset: "x".into() };
        }
        match path.split_once("{dataset}") {
            Some((prefix, suffix)) => {
                PathPattern::Dataset { prefix: prefix.into(), suffix: suffix.into() }
            }
            None => PathPattern::Fixed { path: path.into(), dataset: "x".into() },
        }
    }

    fn is_match(pattern: &PathPattern, path: &str) -> bool {
        match pattern {
            PathPattern::Fixed { path: fixed, .. } => fixed == path,
            PathPattern::Prefix { prefix, .. } => whole_paths(prefix).any(|whole| whole == path),
            PathPattern::Dataset { prefix, suffix } => path
                .strip_prefix(prefix.as_str())
                .and_then(|path| path.strip_suffix(suffix.as_str()))
                .is_some_and(|dataset| is_dataset(dataset.as_bytes())),
        }
    }

    #[test]
    fn finds_a_common_path() {
        let long = format!("/{{dataset}}{}", "a".repeat(64));
        let cases = [
            ("/a", "/a", Some("/a")),
            ("/a", "/b", None),
            ("/a", "/{dataset}", None),
            ("/{dataset}", "/{dataset}", Some("/x")),
            ("/{dataset}", "/v2/{dataset}", None),
            ("/{dataset}", "/v2_{dataset}", Some("/v2_x")),
            ("/{dataset}_a", "/b_{dataset}", Some("/b_x_a")),
            ("/{dataset}/z", "/x/{dataset}", Some("/x/z")),
            ("/{dataset}/z", "/x/{dataset}/y", None),
            ("/a/{dataset}", "/b/{dataset}", None),
            ("/{dataset}.gz", "/{dataset}.json", None),
            ("/{dataset}", &long, None),
            ("/a*", "/a*", Some("/a")),
            ("/a*", "/a", Some("/a")),
            ("/a*", "/a/raw/1.0", Some("/a/raw/1.0")),
            ("/a*", "/a/raw*", Some("/a/raw")),
            ("/a*", "/a/dns*", None),
            ("/a*", "/a/b", None),
            ("/a*", "/a/{dataset}", None),
        ];
        for (one, two, expected) in cases {
            for (one, two) in [(one, two), (two, one)] {
                let found = common_path(&pattern(one), &pattern(two));
                assert_eq!(found.is_some(), expected.is_some(), "{one} {two} {found:?}");
                if let Some(found) = found {
                    assert!(is_match(&pattern(one), &found), "{one} {found}");
                    assert!(is_match(&pattern(two), &found), "{two} {found}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_trying(
            one in "/[ax/]{0,3}\\{dataset\\}[ax/]{0,3}",
            two in "/[ax/]{0,3}\\{dataset\\}[ax/]{0,3}",
        ) {
            let (one, two) = (pattern(&one), pattern(&two));
            let found = common_path(&one, &two);
            if let Some(found) = &found {
                prop_assert!(is_match(&one, found) && is_match(&two, found), "{}", found);
            }
            let PathPattern::Dataset { prefix, suffix } = &one else { unreachable!() };
            // All datasets of up to seven of these two letters: the other pattern adds at most six.
            let tried = (1..=7_u32).any(|len| (0..1_u32 << len).any(|bits| {
                let dataset: String =
                    (0..len).map(|i| if bits >> i & 1 == 0 { 'a' } else { 'x' }).collect();
                is_match(&two, &format!("{prefix}{dataset}{suffix}"))
            }));
            prop_assert_eq!(found.is_some(), tried);
        }
    }
}
