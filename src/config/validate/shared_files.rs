//! Whether two sinks can write to the same file: each would take the other's records for its own after a
//! crash.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
};

use settings::{Context, Diagnostic};

use crate::{
    config::SinkConfig,
    sink::paths::{self, SinkFiles},
};

/// Compares every sink with those before it. `places` says where the path of each is.
pub(super) fn check(
    sinks: &[SinkConfig],
    places: &BTreeMap<String, Range<usize>>,
    endpoints: &[String],
    cx: &mut Context,
) {
    if places.len() < 2 {
        return;
    }
    let resolve: fn(&Path) -> PathBuf =
        if cx.reads_files() { paths::resolve } else { paths::lexical };
    let mut before: Vec<(&str, SinkFiles)> = Vec::new();
    for sink in sinks {
        // A path that cannot be read was reported.
        let Ok(Some(files)) = sink.files(endpoints, &resolve) else { continue };
        let shared = before.iter().find_map(|(name, other)| Some((*name, files.common(other)?)));
        if let Some((other, path)) = shared
            && let Some(place) = places.get(&sink.name)
        {
            let message =
                format!("sink `{other}` can write to the same file, as `{}`", path.display());
            cx.push_incomplete(Diagnostic::at(place.clone(), message).hint(
                "give each sink a path of its own, such as a directory, or other `datasets`",
            ));
        }
        before.push((&sink.name, files));
    }
}
