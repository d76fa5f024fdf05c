//! `logpushd quarantine replay`: sends quarantined records to the running daemon again, after a fix
//! of the configuration or of a copy of the file.
//!
//! A records file in the quarantine is renamed before it is read, so that the daemon appends to a
//! new file. It is read after the daemon has finished its current batch. If the replay fails, the
//! file keeps that name, and the next replay reads it again. After success, the file is renamed
//! again, or split if some lines stay.
//!
//! The plan decides on each line before the first record is sent. A copy outside of the quarantine
//! is only read. The lines that the copy was made from are found by batch and position, and are
//! removed from the quarantine after the replay.

mod batches;
mod connection;
mod daemon;
mod records;
mod report;
mod router;
mod target;

use std::{collections::HashSet, io::Write, path::Path, time::Duration};

use self::{
    batches::Route,
    daemon::Daemon,
    records::{FileState, RecordKey},
    report::ReplayReport,
};
use super::quarantine::wait_until_written;
use crate::{
    audit::{self, Event},
    cli::quarantine::Replay,
    config::{Config, Endpoint},
    decode::Format,
    fatal::Fatal,
    quarantine::rename_for_replay,
    spool::OnlySink,
};

/// The length of the first line, longer than any destination check, so that the decoder does not
/// take a record `test` for one.
const HEAD_BYTES: usize = 1200;

/// An error that ends the replay of a file.
#[derive(Clone, Debug)]
enum ReplayError {
    /// The file or the configuration must be fixed first.
    Unusable(String),
    /// The daemon received the body, and still cannot read it.
    StillInvalid(String),
    /// The daemon refused the request.
    Refused(String),
    /// The daemon cannot be reached.
    Unreachable(String),
}

impl ReplayError {
    fn text(&self) -> &str {
        let (Self::Unusable(text)
        | Self::StillInvalid(text)
        | Self::Refused(text)
        | Self::Unreachable(text)) = self;
        text
    }
}

impl From<std::io::Error> for ReplayError {
    fn from(error: std::io::Error) -> Self {
        Self::Unusable(error.to_string())
    }
}

/// The contents of the body of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum BodyKind {
    /// One record per line.
    Records,
    /// A body as it was received.
    Original,
}

/// Replays the records and bodies that `options` select.
///
/// # Errors
/// Also if a file was not replayed, or records are still invalid or were skipped.
pub(super) fn run(config: &Config, options: &Replay, out: &mut dyn Write) -> Result<(), Fatal> {
    check_sink(config, options.sink.as_deref())?;
    let mut report = ReplayReport::new(options);
    let mut targets = Vec::new();
    let mut keys = HashSet::<RecordKey>::new();
    for mut target in target::find(config, options)? {
        let planned = target.plan(config, options, FileState::Growing, &mut keys);
        match planned {
            Ok(()) if target.sends() => targets.push(target),
            Ok(()) => report.skipped(&target, out)?,
            Err(failure) => report.failed(&target, &failure, out)?,
        }
    }
    if options.dry_run {
        for target in &targets {
            report.planned(target, out)?;
        }
        return report.finish(config, out);
    }
    if targets.is_empty() {
        return report.finish(config, out);
    }
    if let Some(audit_file) = &config.log.audit_file {
        let files = targets.iter().map(|target| target.path.clone()).collect();
        audit::record_from_command(
            audit_file,
            &Event::Replay { files, sink: options.sink.clone() },
        )?;
    }
    let mut daemon = Daemon::connect(config).map_err(|failure| fatal(&failure))?;
    let originals = target::originals(config, &targets, &keys)?;
    let originals: Vec<_> =
        originals.iter().map(|path| rename_for_replay(path)).collect::<Result<_, _>>()?;
    for target in &mut targets {
        target.rename_for_replay()?;
    }
    wait_until_written(config, &mut |pause: Duration| daemon.pause(pause))?;
    keys.clear();
    for target in &mut targets {
        // Plans again: the daemon may have added lines before the rename.
        let mut taken = HashSet::new();
        let replayed = target
            .plan(config, options, FileState::Complete, &mut taken)
            .and_then(|()| target.replay(config, &mut daemon, &mut report))
            .and_then(|()| target.done(config));
        match replayed {
            Ok(kept) => {
                keys.extend(taken);
                report.replayed(target, &kept, out)?;
            }
            Err(failure) => {
                report.failed(target, &failure, out)?;
                if matches!(failure, ReplayError::Unreachable(_)) {
                    break;
                }
            }
        }
    }
    for original in &originals {
        let kept = target::without(original, &keys)?;
        report.original(original, &kept, out)?;
    }
    report.finish(config, out)
}

fn fatal(failure: &ReplayError) -> Fatal {
    let text = failure.text().to_owned();
    match failure {
        ReplayError::Unusable(_) => Fatal::Io(text),
        ReplayError::StillInvalid(_) => Fatal::Data(text),
        ReplayError::Refused(_) | ReplayError::Unreachable(_) => Fatal::Unavailable(text),
    }
}

/// Checks that the sink of `--sink` exists.
fn check_sink(config: &Config, sink: Option<&str>) -> Result<(), Fatal> {
    let Some(sink) = sink else { return Ok(()) };
    if config.sinks.iter().any(|known| known.name == sink) {
        return Ok(());
    }
    let known: Vec<_> = config.sinks.iter().map(|known| known.name.as_str()).collect();
    Err(Fatal::Usage(format!(
        "the configuration has no sink `{}`; it has {}",
        sink.escape_debug(),
        known.join(", ")
    )))
}

/// Checks that the only sink of a route, if any, takes its endpoint and dataset.
fn check_destination(config: &Config, route: &Route) -> Result<(), String> {
    let Route { endpoint, dataset, sink: Some(OnlySink { name, .. }) } = route else {
        return Ok(());
    };
    let has = |known: &&Endpoint| known.name == *endpoint && known.sinks.contains(name);
    let sink = config.sinks.iter().find(|known| known.name == *name);
    let is_destination = config.endpoints.iter().any(|known| has(&known))
        && sink.is_some_and(|sink| sink.choice.takes(endpoint, dataset));
    if is_destination {
        return Ok(());
    }
    Err(format!("sink {name} does not take dataset {dataset} of endpoint {endpoint}"))
}

/// Returns the path to post a body to, and its endpoint.
fn path_of<'a>(
    config: &'a Config,
    endpoint: &str,
    dataset: &str,
    kind: BodyKind,
) -> Result<(String, &'a Endpoint), String> {
    let Some(endpoint) = config.endpoints.iter().find(|known| known.name == endpoint) else {
        return Err(format!(
            "the configuration has no endpoint `{endpoint}`: add it, write another endpoint in a copy of the \
             file, or delete the lines"
        ));
    };
    if endpoint.format != Format::Json {
        return Err(format!(
            "endpoint {name} does not take JSON, and rows cannot be replayed without their columns: fix the \
             Logpush job, then delete the lines with `logpushd quarantine delete --endpoint {name}`",
            name = endpoint.name
        ));
    }
    let path = match kind {
        BodyKind::Records => endpoint.path.path_of(dataset),
        BodyKind::Original => endpoint.path.path_of_body(dataset),
    };
    match path {
        Some(path) => Ok((path, endpoint)),
        None => Err(format!("endpoint {} has no dataset `{dataset}`", endpoint.name)),
    }
}

/// Returns a blank first line, which the daemon ignores. It makes the digest of the body differ
/// from that of the batch that the records came from, which deduplication would recognize. The line
/// depends on the name of the renamed file and on the number of the body, so that a repeated replay
/// is a duplicate.
fn head(path: &Path, number: u64) -> Vec<u8> {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let mut hasher = blake3::Hasher::new();
    hasher.update(name).update(&number.to_le_bytes());
    let bytes = hasher.finalize();
    let bits = bytes.as_bytes().iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
    let mut line: Vec<u8> = bits.map(|bit| if bit == 1 { b'\t' } else { b' ' }).collect();
    line.resize(HEAD_BYTES, b' ');
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests;
