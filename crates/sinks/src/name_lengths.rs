//! Computes the maximum length of the names of a sink's files. A sender can choose the dataset, and
//! a name that is too long for the filesystem would stop the sink for all datasets.

use super::{
    paths::{WrittenPaths, finished},
    template::{
        PathTemplate, TemplatePart,
        times::{self, Times},
    },
};

/// The maximum length of a path on Linux, without the NUL at its end.
const MAX_PATH: usize = 4095;

/// The maximum lengths of the names that are filled in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NameLengths {
    /// The maximum length of an endpoint's name.
    pub endpoint: usize,
    /// The maximum length of a dataset's name.
    pub dataset: usize,
}

/// A name or path that can become too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooLong {
    /// Whether it is a whole path, rather than the name of a file or directory.
    pub is_path: bool,
    /// The length that it can have, in bytes.
    pub bytes: usize,
    /// The length that is allowed, in bytes.
    pub limit: usize,
}

/// Returns a name or path of a sink that can become too long, with the suffixes of rotation and
/// compression. `name_max` is the maximum length of a name on the filesystem.
///
/// # Errors
/// The path did not pass validation.
pub fn too_long(
    paths: WrittenPaths<'_>,
    names: NameLengths,
    name_max: usize,
) -> Result<Option<TooLong>, String> {
    let parts = PathTemplate::parse(paths.pattern)?.into_parts();
    let mut all = vec![lengths(&parts, names)];
    all.extend(finished(&parts, paths)?.iter().map(|parts| lengths(parts, names)));
    // The longest first: a path that is shortened for it is short enough for all.
    all.sort_by_key(|lengths| std::cmp::Reverse(lengths.iter().sum::<usize>()));
    Ok(all.iter().find_map(|lengths| {
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let path = lengths.iter().sum::<usize>() + lengths.len() - 1;
        let name = TooLong { is_path: false, bytes: longest, limit: name_max };
        let path = TooLong { is_path: true, bytes: path, limit: MAX_PATH };
        [name, path].into_iter().find(|found| found.bytes > found.limit)
    }))
}

/// The maximum lengths of the components of the path.
fn lengths(parts: &[TemplatePart], names: NameLengths) -> Vec<usize> {
    let mut lengths = vec![0];
    for part in parts {
        let (first, rest) = match part {
            TemplatePart::Literal(text) => {
                let mut parts = text.split('/').map(str::len);
                (parts.next().unwrap_or(0), parts.collect())
            }
            TemplatePart::Endpoint => (names.endpoint, Vec::new()),
            TemplatePart::Dataset => (names.dataset, Vec::new()),
            TemplatePart::Time(conversion) => (longest_time(conversion), Vec::new()),
        };
        if let Some(last) = lengths.last_mut() {
            *last += first;
        }
        lengths.extend(rest);
    }
    lengths
}

/// The maximum length of a time in bytes. All of its characters are ASCII.
fn longest_time(conversion: &str) -> usize {
    match times::of(conversion) {
        Times::OneOf(texts) => texts.iter().map(String::len).max().unwrap_or(0),
        Times::Like { most, .. } => most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: NameLengths = NameLengths { endpoint: 4, dataset: 64 };

    fn bytes(paths: WrittenPaths<'_>) -> Option<(bool, usize)> {
        too_long(paths, NAMES, 255).unwrap().map(|found| (found.is_path, found.bytes))
    }

    fn plain(pattern: &str) -> Option<(bool, usize)> {
        bytes(WrittenPaths { key: "path", pattern, rotates: false, compressed: None })
    }

    fn compressed(pattern: &str, compressed: Option<&'static str>) -> Option<(bool, usize)> {
        bytes(WrittenPaths { key: "path", pattern, rotates: true, compressed })
    }

    #[test]
    fn every_component_counts_with_the_names_that_are_filled_in() {
        let long = |bytes: usize| "x".repeat(bytes);
        for (path, want) in [
            (format!("/a/{}", long(255)), None),
            (format!("/a/{}", long(256)), Some(256)),
            (format!("/{}/a", long(256)), Some(256)),
            (format!("/{}/{{dataset}}", long(255)), None),
            (format!("/a/{}{{dataset}}", long(191)), None),
            (format!("/a/{}{{dataset}}", long(192)), Some(256)),
            (format!("/{}{{dataset}}/%H", long(192)), Some(256)),
            (format!("/{{dataset}}{}/{{dataset}}", long(190)), None),
            (format!("/a/{}{{endpoint}}", long(252)), Some(256)),
            (format!("/a/%d{}", long(253)), None),
            (format!("/a/%d{}", long(254)), Some(256)),
            // The longest month is September.
            (format!("/a/%B{}", long(246)), None),
            (format!("/a/%B{}", long(247)), Some(256)),
            ("/a/äöü".repeat(40), None),
            (format!("/a/{}", "ä".repeat(128)), Some(256)),
        ] {
            assert_eq!(plain(&path), want.map(|bytes| (false, bytes)), "{path}");
        }
        let deep = |parts: usize| format!("/{}", vec![long(255); parts].join("/"));
        assert_eq!(plain(&deep(15)), None);
        assert_eq!(plain(&format!("{}/{}", deep(15), long(254))), None);
        assert_eq!(plain(&deep(16)), Some((true, 4096)));
    }

    #[test]
    fn rotation_and_compression_count_with_the_temporary_name() {
        // With .20261121T225959Z_002, .gz and .tmp; a year may have a sign and six digits.
        let stem = |bytes: usize| format!("/a/{}", "x".repeat(bytes));
        let first =
            |end| (200..256).find(|bytes| compressed(&stem(*bytes), end).is_some()).unwrap();
        assert!((233..=236).contains(&first(None)), "{}", first(None));
        assert_eq!(first(None) - first(Some("gz")), 7);
        assert_eq!(first(None) - first(Some("zst")), 8);
    }
}
