//! `logpushd quarantine replay`: feeds what could not be accepted back to the running daemon, after a
//! mend of the configuration or of the file.
//!
//! A records file is renamed before it is read, so that the daemon appends to another one, and is not
//! read before the daemon is done with the batch that it may be in the middle of. From then on the
//! file is what is replayed, also by the next attempt: it is renamed again only when all of it was
//! taken. It is read to its end before the first record is sent, so that a line that must be mended
//! is found while nothing has happened.

mod daemon;
mod parcels;
mod records;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use self::{
    daemon::Daemon,
    parcels::{Parcel, Place},
};
use super::Count;
use crate::{
    cli::Replay,
    config::{Config, Endpoint},
    decode::Format,
    durable,
    fatal::Fatal,
    quarantine::{self, Kind, Shelf},
};

/// Longer than any destination check, so that a record that says `test` is not taken for one.
const HEAD_BYTES: usize = 1200;

/// Why a file was not replayed.
#[derive(Debug)]
enum Failure {
    /// Something about it, or about the configuration, must be mended first.
    Flaw(String),
    /// The daemon answered, but did not take it.
    Refused(String),
    /// There is no daemon to send anything to.
    Unreachable(String),
}

impl Failure {
    fn text(&self) -> &str {
        let (Self::Flaw(text) | Self::Refused(text) | Self::Unreachable(text)) = self;
        text
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Flaw(error.to_string())
    }
}

/// A file to replay.
struct Target {
    path: PathBuf,
    /// Records, or else a body: endpoint and dataset.
    body: Option<Place>,
}

/// What is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum What {
    /// A record a line.
    Records,
    /// A body as it came.
    Body,
}

/// What became of the records of one endpoint and dataset.
#[derive(Default)]
struct Tally {
    sent: u64,
    records: u64,
    quarantined: u64,
}

/// Replays what `options` name.
///
/// # Errors
/// Also if any file was not replayed.
pub fn run(config: &Config, options: &Replay, out: &mut dyn Write) -> Result<(), Fatal> {
    let mut targets = targets(config, &options.paths)?;
    if targets.is_empty() {
        writeln!(out, "nothing to replay in {}", config.quarantine.dir.display())?;
        return Ok(());
    }
    let mut failures = Vec::new();
    if options.dry_run {
        for target in &targets {
            if let Err(failure) = target.describe(config, out) {
                failures.push(told(failure, &target.path, out)?);
            }
        }
        return finish(&failures, targets.len());
    }
    let mut daemon = Daemon::connect(config).map_err(|failure| fatal(&failure))?;
    for target in targets.iter_mut().filter(|target| target.body.is_none()) {
        target.path = quarantine::set_aside(&target.path)?;
    }
    daemon.settle().map_err(|failure| fatal(&failure))?;
    for target in &targets {
        let Err(failure) = target.replay(config, &mut daemon, out) else { continue };
        let failure = told(failure, &target.path, out)?;
        let is_over = matches!(failure, Failure::Unreachable(_));
        failures.push(failure);
        if is_over {
            break;
        }
    }
    finish(&failures, targets.len())
}

fn told(failure: Failure, path: &Path, out: &mut dyn Write) -> io::Result<Failure> {
    writeln!(out, "{}: not replayed, and stays: {}", path.display(), failure.text())?;
    Ok(failure)
}

fn finish(failures: &[Failure], targets: usize) -> Result<(), Fatal> {
    let Some(first) = failures.first() else { return Ok(()) };
    // What the daemon said counts for more than what is wrong with a file.
    let worst = failures.iter().find(|failure| !matches!(failure, Failure::Flaw(_)));
    let text = format!(
        "{} of {} not replayed; the first: {}",
        failures.len(),
        Count(targets as u64, "file"),
        first.text()
    );
    Err(if worst.is_some() { Fatal::Unavailable(text) } else { Fatal::Io(text) })
}

fn fatal(failure: &Failure) -> Fatal {
    let text = failure.text().to_owned();
    match failure {
        Failure::Flaw(_) => Fatal::Io(text),
        Failure::Refused(_) | Failure::Unreachable(_) => Fatal::Unavailable(text),
    }
}

/// The files to replay: those that are named, or all that lie in quarantine and were not replayed.
fn targets(config: &Config, paths: &[PathBuf]) -> Result<Vec<Target>, Fatal> {
    let kept;
    let named = if paths.is_empty() {
        kept = Shelf::read(&config.quarantine.dir)?.files;
        kept.iter()
            .filter(|kept| matches!(kept.kind, Kind::Records { .. } | Kind::Body { .. }))
            .map(|kept| kept.path.as_path())
            .collect()
    } else {
        paths.iter().map(PathBuf::as_path).collect::<Vec<_>>()
    };
    named.into_iter().map(target).collect()
}

fn target(path: &Path) -> Result<Target, Fatal> {
    let metadata = path.symlink_metadata().map_err(durable::at("reading", path))?;
    if !metadata.is_file() {
        let path = path.display();
        return Err(Fatal::Io(format!(
            "{path} is not a regular file: name files of the quarantine"
        )));
    }
    let body = match Kind::of(path) {
        Some(Kind::Body { endpoint, dataset }) => Some((endpoint, dataset)),
        Some(Kind::Batch(_)) => {
            return Err(Fatal::Io(format!(
                "{} is a whole batch, most of which was accepted: replay the records file that names it",
                path.display()
            )));
        }
        // Whatever its name is, its lines say what it is.
        Some(Kind::Records { .. } | Kind::Replayed) | None => None,
    };
    Ok(Target { path: path.to_owned(), body })
}

/// The path that it is posted to, and the endpoint.
fn path_of<'a>(
    config: &'a Config,
    endpoint: &str,
    dataset: &str,
    what: What,
) -> Result<(String, &'a Endpoint), String> {
    let Some(endpoint) = config.endpoints.iter().find(|known| known.name == endpoint) else {
        return Err(format!("the configuration has no endpoint `{endpoint}`"));
    };
    if endpoint.format != Format::Json {
        return Err(format!(
            "endpoint {} does not take JSON, and without their header rows and columns its records mean \
             something else: mend the Logpush job; delete the line or the file to go on without it",
            endpoint.name
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

impl Target {
    /// Says what would be sent.
    fn describe(&self, config: &Config, out: &mut dyn Write) -> Result<(), Failure> {
        if let Some((endpoint, dataset)) = &self.body {
            path_of(config, endpoint, dataset, What::Body).map_err(Failure::Flaw)?;
            writeln!(out, "{}: the body would go to {endpoint}/{dataset}", self.path.display())?;
            return Ok(());
        }
        let mut tallies = BTreeMap::<Place, u64>::new();
        records::read(config, &self.path, true, &mut |place, parcel| {
            *tallies.entry(place.clone()).or_default() += parcel.records;
            Ok(())
        })?;
        for ((endpoint, dataset), records) in &tallies {
            let (path, records) = (self.path.display(), Count(*records, "record"));
            writeln!(out, "{path}: {records} would go to {endpoint}/{dataset}")?;
        }
        Ok(())
    }

    fn replay(
        &self,
        config: &Config,
        daemon: &mut Daemon<'_>,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        match &self.body {
            Some((endpoint, dataset)) => self.replay_body(endpoint, dataset, daemon, out),
            None => self.replay_records(config, daemon, out),
        }
    }

    fn replay_body(
        &self,
        endpoint: &str,
        dataset: &str,
        daemon: &mut Daemon<'_>,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let body = fs::read(&self.path).map_err(durable::at("reading", &self.path))?;
        let taken = daemon.send(endpoint, dataset, What::Body, &Bytes::from(body))?;
        let path = self.path.display();
        match taken.status.as_str() {
            "committed" | "duplicate" => {
                writeln!(
                    out,
                    "{path}: {} taken, {} in quarantine, {endpoint}/{dataset} ({})",
                    taken.records, taken.quarantined, taken.status
                )?;
                self.done(out)
            }
            // The daemon keeps it under the digest of its bytes: this very file, unless it was edited.
            "quarantined" => Err(Failure::Refused(String::from(
                "the daemon still cannot read it: mend the file (try `gzip -t`), then replay again",
            ))),
            status => Err(Failure::Refused(format!("the daemon stored nothing ({status})"))),
        }
    }

    fn replay_records(
        &self,
        config: &Config,
        daemon: &mut Daemon<'_>,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        records::read(config, &self.path, false, &mut |_, _| Ok(()))?;
        let mut tallies = BTreeMap::<Place, Tally>::new();
        let mut number = 0;
        let read = records::read(config, &self.path, false, &mut |place, parcel| {
            let tally = tallies.entry(place.clone()).or_default();
            number += 1;
            self.send(place, parcel, number, daemon, tally)
        });
        for ((endpoint, dataset), tally) in tallies.iter().filter(|(_, tally)| tally.sent > 0) {
            let Tally { sent, records, quarantined } = tally;
            let path = self.path.display();
            writeln!(
                out,
                "{path}: {sent} sent to {endpoint}/{dataset}: {records} taken, {quarantined} still bad and back in quarantine"
            )?;
        }
        read?;
        self.done(out)
    }

    fn send(
        &self,
        (endpoint, dataset): &Place,
        parcel: Parcel,
        number: u64,
        daemon: &mut Daemon<'_>,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let records = parcel.records;
        let body = Bytes::from(parcel.into_body(head(&self.path, number)));
        let taken = daemon.send(endpoint, dataset, What::Records, &body)?;
        match taken.status.as_str() {
            "committed" | "quarantined" | "duplicate" => {
                tally.sent += records;
                tally.records += taken.records;
                tally.quarantined += taken.quarantined;
                Ok(())
            }
            status => Err(Failure::Refused(format!("the daemon stored nothing ({status})"))),
        }
    }

    fn done(&self, out: &mut dyn Write) -> Result<(), Failure> {
        match quarantine::set_done(&self.path) {
            Ok(path) => {
                writeln!(out, "{}: done, and kept as {}", self.path.display(), path.display())?;
            }
            // Another replay, or the bounds of the quarantine.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                writeln!(out, "{}: done, and gone meanwhile", self.path.display())?;
            }
            Err(error) => {
                return Err(Failure::Flaw(format!("everything was taken, but: {error}")));
            }
        }
        Ok(())
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
