//! Whether a sink can make names that the filesystem does not take: the sender chooses the dataset,
//! and one that the sink cannot write would hold up all others.

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

/// What a dataset's name has at most.
const MAX_DATASET: usize = 64;

/// What almost every filesystem takes for a name.
const NAME_MAX: usize = 255;

/// Looks at every sink that writes files. `places` says where the path of each is.
pub(super) fn check(
    sinks: &[SinkConfig],
    places: &BTreeMap<String, Range<usize>>,
    endpoints: &[Endpoint],
    cx: &mut Context,
) {
    for sink in sinks {
        let Some(paths) = sink.kind.claims().files else { continue };
        let Some(filled) = filled(sink, endpoints) else { continue };
        let limit = if cx.reads_files() { name_max(paths) } else { NAME_MAX };
        if let Ok(Some(found)) = too_long(paths, filled, limit)
            && let Some(place) = places.get(&sink.name)
        {
            cx.push_incomplete(problem(place.clone(), found, filled));
        }
    }
}

fn problem(place: Range<usize>, found: TooLong, filled: NameLengths) -> Diagnostic {
    let TooLong { is_path, bytes, limit } = found;
    let what = if is_path { "a path" } else { "a name" };
    let who = if is_path { "the system" } else { "the filesystem" };
    let message = format!(
        "{what} of this sink can have {bytes} bytes, but {who} takes {limit} at most: a dataset of {} \
         letters and the suffixes of `rotate` and `compress` count",
        filled.dataset
    );
    let bytes = match bytes - limit {
        1 => "1 byte".to_owned(),
        more => format!("{more} bytes"),
    };
    let hint = format!("shorten the path by {bytes}, or list the `datasets` of the sink");
    Diagnostic::at(place, message).hint(hint)
}

/// The longest names that come to a sink. `None` if nothing comes.
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

/// An empty list stands for any name.
fn longest_of(datasets: &[String]) -> usize {
    datasets.iter().map(String::len).max().unwrap_or(MAX_DATASET)
}

/// What the filesystem takes for a name, as far as the directory is there: encrypted ones take less.
fn name_max(paths: WrittenPaths<'_>) -> usize {
    let directory = PathTemplate::parse(paths.pattern).map(|template| template.directory());
    let asked = directory.iter().flat_map(|path| path.ancestors()).find_map(of_filesystem);
    asked.filter(|most| *most > 0).map_or(NAME_MAX, |most| most.min(NAME_MAX))
}

fn of_filesystem(directory: &Path) -> Option<usize> {
    let filesystem = rustix::fs::statvfs(directory).ok()?;
    usize::try_from(filesystem.f_namemax).ok()
}
