//! File sinks whose path makes more files than anyone wants.

use jiff::{SignedDuration, Timestamp};

use crate::{
    config::{Diagnostic, Document, SinkKind},
    sink::template::PathTemplate,
};

/// A path that changes with the second, or faster.
pub(super) fn too_many_files(document: &Document) -> Vec<Diagnostic> {
    let sinks = document.config.sinks.iter();
    let paths = sinks.filter_map(|sink| match &sink.kind {
        SinkKind::File(file) => Some((&sink.name, &file.path)),
        _ => None,
    });
    paths
        .filter(|(_, path)| PathTemplate::parse(path).is_ok_and(|path| changes_each_second(&path)))
        .map(|(name, _)| {
            let message = "this path changes every second: each batch begins a new file";
            document.warning(&format!("sink.{name}.file.path"), message).hint(
                "use %Y-%m-%d for a file a day or %Y-%m-%dT%H for a file an hour; `rotate` limits the size of a file",
            )
        })
        .collect()
}

fn changes_each_second(path: &PathTemplate) -> bool {
    let render = |time| path.render("endpoint", "dataset", time);
    // Within one minute, and with other digits behind the second as well.
    let at = Timestamp::UNIX_EPOCH;
    let next = at.checked_add(SignedDuration::new(1, 1_001_001)).unwrap_or(at);
    render(at) != render(next)
}
