//! Checks that no file name of a sink can be too long for the filesystem. The sender chooses the
//! dataset, and a file that the sink cannot create would block all other records.

use std::{collections::BTreeMap, ops::Range, path::Path};

use settings::{Context, Diagnostic};

use crate::{
    config::{Endpoint, PathPattern, SinkConfig},
    sink::{
        name_lengths::{NameLengths, TooLong, too_long},
        paths::WrittenPaths,
        template::PathTemplate,
    },
};

/// The maximum length of the name of a dataset.
const MAX_DATASET: usize = 64;

/// The maximum length of a file name on almost every filesystem.
const NAME_MAX: usize = 255;

/// Checks every sink that writes files. `spans` has the position of the path of each.
pub(super) fn check(
    sinks: &[SinkConfig],
    spans: &BTreeMap<String, Range<usize>>,
    endpoints: &[Endpoint],
    cx: &mut Context,
) {
    for sink in sinks {
        let Some(paths) = sink.kind.claims().files else { continue };
        let Some(filled) = filled(sink, endpoints) else { continue };
        let limit = if cx.reads_files() { name_max(paths) } else { NAME_MAX };
        if let Ok(Some(found)) = too_long(paths, filled, limit)
            && let Some(span) = spans.get(&sink.name)
        {
            cx.push_incomplete(problem(span.clone(), found, filled));
        }
    }
}

fn problem(span: Range<usize>, found: TooLong, filled: NameLengths) -> Diagnostic {
    let TooLong { is_path, bytes, limit } = found;
    let what = if is_path { "a path" } else { "a name" };
    let system = if is_path { "the system" } else { "the filesystem" };
    let message = format!(
        "{what} of this sink can have {bytes} bytes, but {system} allows {limit}: with a dataset of {} \
         characters and the suffixes of `rotate` and `compress`",
        filled.dataset
    );
    let bytes = match bytes - limit {
        1 => "1 byte".to_owned(),
        more => format!("{more} bytes"),
    };
    let hint = format!("shorten the path by {bytes}, or list the `datasets` of the sink");
    Diagnostic::at(span, message).hint(hint)
}

/// Returns the lengths of the longest names in batches for a sink. `None` if the sink gets no
/// batches.
fn filled(sink: &SinkConfig, endpoints: &[Endpoint]) -> Option<NameLengths> {
    let chosen = &sink.choice.endpoints;
    let of_sink = endpoints.iter().filter(|endpoint| {
        endpoint.sinks.contains(&sink.name)
            && (chosen.is_empty() || chosen.contains(&endpoint.name))
    });
    let longest = of_sink.map(|endpoint| NameLengths {
        endpoint: endpoint.name.len(),
        dataset: dataset(endpoint).min(longest_of(&sink.choice.datasets)),
    });
    longest.reduce(|one, other| NameLengths {
        endpoint: one.endpoint.max(other.endpoint),
        dataset: one.dataset.max(other.dataset),
    })
}

fn dataset(endpoint: &Endpoint) -> usize {
    match &endpoint.path {
        PathPattern::Fixed { dataset, .. } | PathPattern::Prefix { dataset, .. } => dataset.len(),
        PathPattern::Dataset { .. } => longest_of(&endpoint.datasets),
    }
}

/// Returns the length of the longest name in a list. An empty list means any name.
fn longest_of(datasets: &[String]) -> usize {
    datasets.iter().map(String::len).max().unwrap_or(MAX_DATASET)
}

/// Returns the maximum length of a name, as the filesystem of the directory reports it. Encrypted
/// filesystems allow less.
fn name_max(paths: WrittenPaths<'_>) -> usize {
    let directory = PathTemplate::parse(paths.pattern).map(|template| template.directory());
    let asked = directory.iter().flat_map(|path| path.ancestors()).find_map(of_filesystem);
    asked.filter(|most| *most > 0).map_or(NAME_MAX, |most| most.min(NAME_MAX))
}

fn of_filesystem(directory: &Path) -> Option<usize> {
    let filesystem = rustix::fs::statvfs(directory).ok()?;
    usize::try_from(filesystem.f_namemax).ok()
}
