//! How long the names of a sink's files can become: a sender chooses the dataset, and a name that the
//! filesystem does not take would stop the sink for all datasets.

use super::{
    paths::{WrittenPaths, finished},
    template::{
        PathTemplate, Piece,
        times::{self, Times},
    },
};

/// The longest path that the system takes, without the NUL at its end.
const MAX_PATH: usize = 4095;

/// The lengths of what is filled in, at most.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Filled {
    /// Of an endpoint's name.
    pub endpoint: usize,
    /// Of a dataset's name.
    pub dataset: usize,
}

/// What is too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooLong {
    /// A whole path, rather than the name of a file or a directory in it.
    pub is_path: bool,
    /// How many bytes it can have.
    pub bytes: usize,
    /// How many it may have.
    pub limit: usize,
}

/// The first name or path of a sink that can become too long, with what rotation and compression add
/// to it. `name_max` is what the filesystem allows for a name.
///
/// # Errors
/// The path is not one that passed validation.
pub fn too_long(
    paths: WrittenPaths<'_>,
    filled: Filled,
    name_max: usize,
) -> Result<Option<TooLong>, String> {
    let pieces = PathTemplate::parse(paths.pattern)?.into_pieces();
    let mut all = vec![lengths(&pieces, filled)];
    all.extend(finished(&pieces, paths)?.iter().map(|pieces| lengths(pieces, filled)));
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

/// The lengths of the parts between slashes, at most.
fn lengths(pieces: &[Piece], filled: Filled) -> Vec<usize> {
    let mut lengths = vec![0];
    for piece in pieces {
        let (first, rest) = match piece {
            Piece::Literal(text) => {
                let mut parts = text.split('/').map(str::len);
                (parts.next().unwrap_or(0), parts.collect())
            }
            Piece::Endpoint => (filled.endpoint, Vec::new()),
            Piece::Dataset => (filled.dataset, Vec::new()),
            Piece::Time(conversion) => (longest_time(conversion), Vec::new()),
        };
        if let Some(last) = lengths.last_mut() {
            *last += first;
        }
        lengths.extend(rest);
    }
    lengths
}

/// All characters that a time writes have one byte.
fn longest_time(conversion: &str) -> usize {
    match times::of(conversion) {
        Times::OneOf(texts) => texts.iter().map(String::len).max().unwrap_or(0),
        Times::Like { most, .. } => most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILLED: Filled = Filled { endpoint: 4, dataset: 64 };

    fn bytes(paths: WrittenPaths<'_>) -> Option<(bool, usize)> {
        too_long(paths, FILLED, 255).unwrap().map(|found| (found.is_path, found.bytes))
    }

    fn plain(pattern: &str) -> Option<(bool, usize)> {
        bytes(WrittenPaths { key: "path", pattern, rotates: false, packed: None })
    }

    fn packed(pattern: &str, packed: Option<&'static str>) -> Option<(bool, usize)> {
        bytes(WrittenPaths { key: "path", pattern, rotates: true, packed })
    }

    #[test]
    fn every_part_counts_with_what_is_filled_in() {
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
        // As .20261121T225959Z_002, .gz and .tmp; years may have a sign and six digits.
        let stem = |bytes: usize| format!("/a/{}", "x".repeat(bytes));
        let first = |end| (200..256).find(|bytes| packed(&stem(*bytes), end).is_some()).unwrap();
        assert!((233..=236).contains(&first(None)), "{}", first(None));
        assert_eq!(first(None) - first(Some("gz")), 7);
        assert_eq!(first(None) - first(Some("zst")), 8);
    }
}
