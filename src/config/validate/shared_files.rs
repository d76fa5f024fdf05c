//! Checks that no two sinks can write to the same file. After a crash, each would take the other's
//! records for its own.

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

/// Compares every sink with the previous ones. `spans` has the position of the path of each.
pub(super) fn check(
    sinks: &[SinkConfig],
    spans: &BTreeMap<String, Range<usize>>,
    endpoints: &[String],
    cx: &mut Context,
) {
    if spans.len() < 2 {
        return;
    }
    let resolve: fn(&Path) -> PathBuf =
        if cx.reads_files() { paths::resolve } else { paths::lexical };
    let mut previous: Vec<(&str, SinkFiles)> = Vec::new();
    for sink in sinks {
        // An invalid path was already reported.
        let Ok(Some(files)) = sink.files(endpoints, &resolve) else { continue };
        let shared = previous.iter().find_map(|(name, other)| Some((*name, files.common(other)?)));
        if let Some((other, path)) = shared
            && let Some(span) = spans.get(&sink.name)
        {
            let message =
                format!("sink `{other}` can write to the same file, such as `{}`", path.display());
            cx.push_incomplete(Diagnostic::at(span.clone(), message).hint(
                "set another path for each sink, such as another directory, or other `datasets`",
            ));
        }
        previous.push((&sink.name, files));
    }
}
