//! `logpushd quarantine replay`: feeds what could not be accepted back to the running daemon, after a
//! repair of the configuration or of a copy of the file.
//!
//! A records file of the quarantine is renamed before it is read, so that the daemon appends to another
//! one, and is not read before the daemon is done with the batch that it may be in the middle of.
//! From then on the file is what is replayed, also by the next attempt: it is renamed again, or divided,
//! only when all of it was taken that can be. What becomes of each line is decided before the first
//! record is sent. A copy elsewhere is only read; the lines that it was made from are found by their
//! batch and position, and leave the quarantine when the copy was taken.

mod connection;
mod daemon;
mod parcels;
mod records;
mod report;
mod target;

use std::{collections::HashSet, io::Write, path::Path, time::Duration};

use self::{
    daemon::Daemon,
    parcels::Route,
    records::{Key, Written},
    report::ReplayReport,
};
use super::quarantine::settle;
use crate::{
    audit::{self, Event},
    cli::quarantine::Replay,
    config::{Config, Endpoint},
    decode::Format,
    fatal::Fatal,
    quarantine::rename_for_replay,
};

/// Longer than any destination check, so that a record that says `test` is not taken for one.
const HEAD_BYTES: usize = 1200;

/// Why a file was not replayed.
#[derive(Clone, Debug)]
enum ReplayError {
    /// Something about it, or about the configuration, must be repaired first.
    Flaw(String),
    /// It was sent, and is as bad as before.
    Bad(String),
    /// The daemon answered, but did not take it.
    Refused(String),
    /// There is no daemon to send anything to.
    Unreachable(String),
}

impl ReplayError {
    fn text(&self) -> &str {
        let (Self::Flaw(text) | Self::Bad(text) | Self::Refused(text) | Self::Unreachable(text)) =
            self;
        text
    }
}

impl From<std::io::Error> for ReplayError {
    fn from(error: std::io::Error) -> Self {
        Self::Flaw(error.to_string())
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum What {
    /// A record a line.
    Records,
    /// A body as it came.
    Body,
}

/// Replays what `options` name.
///
/// # Errors
/// Also if any file was not replayed, or something is still bad or was left out.
pub(super) fn run(config: &Config, options: &Replay, out: &mut dyn Write) -> Result<(), Fatal> {
    check_sink(config, options.sink.as_deref())?;
    let mut report = ReplayReport::new(options);
    let mut targets = Vec::new();
    let mut keys = HashSet::<Key>::new();
    for mut target in target::find(config, options)? {
        let planned = target.plan(config, options, Written::Still, &mut keys);
        match planned {
            Ok(()) if target.sends() => targets.push(target),
            Ok(()) => report.idle(&target, out)?,
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
        target.set_aside()?;
    }
    settle(config, &mut |pause: Duration| daemon.rest(pause))?;
    keys.clear();
    for target in &mut targets {
        // Once more: now it is whole.
        let mut taken = HashSet::new();
        let replayed = target
            .plan(config, options, Written::Finished, &mut taken)
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
        ReplayError::Flaw(_) => Fatal::Io(text),
        ReplayError::Bad(_) => Fatal::Data(text),
        ReplayError::Refused(_) | ReplayError::Unreachable(_) => Fatal::Unavailable(text),
    }
}

/// Whether there is the sink that the command names.
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

/// Whether the only sink, if there is one, takes this endpoint and dataset.
fn check_destination(config: &Config, place: &Route) -> Result<(), String> {
    let Route { endpoint, dataset, sink: Some(name) } = place else { return Ok(()) };
    let has = |known: &&Endpoint| known.name == *endpoint && known.sinks.contains(name);
    let sink = config.sinks.iter().find(|known| known.name == *name);
    let is_destination = config.endpoints.iter().any(|known| has(&known))
        && sink.is_some_and(|sink| sink.choice.takes(endpoint, dataset));
    if is_destination {
        return Ok(());
    }
    Err(format!("sink {name} does not take dataset {dataset} of endpoint {endpoint}"))
}

/// The path that it is posted to, and the endpoint.
fn path_of<'a>(
    config: &'a Config,
    endpoint: &str,
    dataset: &str,
    what: What,
) -> Result<(String, &'a Endpoint), String> {
    let Some(endpoint) = config.endpoints.iter().find(|known| known.name == endpoint) else {
        return Err(format!(
            "the configuration has no endpoint `{endpoint}`: name the endpoint that takes them, or delete them"
        ));
    };
    if endpoint.format != Format::Json {
        return Err(format!(
            "endpoint {name} does not take JSON, and a row without its columns cannot be replayed: repair the \
             Logpush job, then delete them with `logpushd quarantine delete --endpoint {name}`",
            name = endpoint.name
        ));
    }
    let path = match what {
        What::Records => endpoint.path.path_of(dataset),
        What::Body => endpoint.path.path_of_body(dataset),
    };
    match path {
        Some(path) => Ok((path, endpoint)),
        None => Err(format!("endpoint {} has no dataset `{dataset}`", endpoint.name)),
    }
}

/// A blank line, which the daemon passes over, that makes this body another one than the batch that its
/// records came from: else the daemon could take it for that batch, sent twice. It follows from the
/// name that the file got when it was set aside, so that the same attempt, repeated, is one batch.
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
