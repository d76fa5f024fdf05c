//! Finds sinks whose path creates too many files, or a file where another sink needs a directory.

use jiff::{SignedDuration, Timestamp};

use crate::{
    config::{Diagnostic, Document},
    sink::{paths, template::PathTemplate},
};

/// Warns about a path that changes every second or faster.
pub(super) fn too_many_files(document: &Document) -> Vec<Diagnostic> {
    let sinks = document.config.sinks.iter();
    let paths = sinks.filter_map(|sink| {
        let files = sink.kind.claims().files?;
        Some((sink.full_name(files.key), files.pattern))
    });
    paths
        .filter(|(_, path)| PathTemplate::parse(path).is_ok_and(|path| changes_each_second(&path)))
        .map(|(key, _)| {
            let message = "this path changes every second: each batch begins a new file";
            document.warning(&key, message).hint(
                "use %Y-%m-%d for one file per day or %Y-%m-%dT%H for one per hour; `rotate` \
                 limits the size of a file",
            )
        })
        .collect()
}

/// Warns about a file of one sink that is a directory of another. The sink that writes second
/// always fails.
pub(super) fn files_for_directories(document: &Document) -> Vec<Diagnostic> {
    let config = &document.config;
    let endpoints: Vec<_> = config.endpoints.iter().map(|each| each.name.clone()).collect();
    let files = config.sinks.iter().filter_map(|sink| {
        let key = sink.full_name(sink.kind.claims().files?.key);
        let files = sink.files(&endpoints, &paths::resolve).ok()??;
        Some((&sink.name, key, files))
    });
    let files: Vec<_> = files.collect();
    let mut warnings = Vec::new();
    for (_, key, needed) in &files {
        let mut others = files
            .iter()
            .filter_map(|(other, _, files)| Some((*other, files.in_the_way_of(needed)?)));
        if let Some((other, path)) = others.next() {
            let message = format!(
                "sink `{other}` writes a file where this sink needs a directory, such as `{}`",
                path.display()
            );
            let hint = "use different directories, or a file name with an extension";
            warnings.push(document.warning(key, message).hint(hint));
        }
    }
    warnings
}

fn changes_each_second(path: &PathTemplate) -> bool {
    let render = |time| path.render("endpoint", "dataset", time);
    // Within one minute, and with other fractions of a second.
    let at = Timestamp::UNIX_EPOCH;
    let next = at.checked_add(SignedDuration::new(1, 1_001_001)).unwrap_or(at);
    render(at) != render(next)
}
