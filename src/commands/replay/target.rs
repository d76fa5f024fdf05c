//! A file to replay: planned, sent, then renamed or split.

use std::{
    collections::HashSet,
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{
    BodyKind, Daemon, ReplayError,
    batches::{ReplayBatch, Route},
    check_destination, head, path_of,
    records::{self, FileState, Plan, RecordKey},
    report::ReplayReport,
};
use crate::{
    cli::quarantine::Replay,
    commands::quarantine::{Removal, UNDECODABLE, each_line, is_own, split_file},
    config::Config,
    durable,
    fatal::Fatal,
    quarantine::{self, FileKind, Line, QuarantineFiles},
    spool::OnlySink,
};

/// The contents of a file.
enum FileContents {
    Records,
    /// A body: endpoint and dataset.
    Body(String, String),
}

/// Where a file is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum FileLocation {
    /// In the quarantine: a replay renames it.
    Quarantine,
    /// Elsewhere, such as an edited copy: a replay only reads it.
    Elsewhere,
}

/// A file to replay.
pub(super) struct ReplayFile {
    pub(super) path: PathBuf,
    contents: FileContents,
    location: FileLocation,
    pub(super) plan: Plan,
}

/// The files that a replayed file became.
#[derive(Debug, Default)]
pub(super) struct ReplayedParts {
    /// The file with the accepted records.
    pub(super) done: Option<PathBuf>,
    /// The file with the lines that were not sent.
    pub(super) rest: Option<PathBuf>,
}

/// Returns the files to replay: the named ones, or all in the quarantine that were not replayed.
pub(super) fn find(config: &Config, options: &Replay) -> Result<Vec<ReplayFile>, Fatal> {
    let files;
    let named = if options.paths.is_empty() {
        files = QuarantineFiles::read(&config.quarantine.dir)?.files;
        files
            .iter()
            .filter(|file| matches!(file.kind, FileKind::Records { .. } | FileKind::Body { .. }))
            .map(|file| file.path.as_path())
            .collect()
    } else {
        options.paths.iter().map(PathBuf::as_path).collect::<Vec<_>>()
    };
    named.into_iter().map(|path| target(config, path)).collect()
}

fn target(config: &Config, path: &Path) -> Result<ReplayFile, Fatal> {
    let metadata = path.symlink_metadata().map_err(durable::error_at("reading", path))?;
    if !metadata.is_file() {
        let path = path.display();
        return Err(Fatal::Io(format!(
            "{path} is not a regular file: name files in the quarantine"
        )));
    }
    let kind = FileKind::of(path);
    let contents = match &kind {
        Some(FileKind::Body { endpoint, dataset }) => {
            FileContents::Body(endpoint.clone(), dataset.clone())
        }
        Some(FileKind::Batch(_)) => {
            return Err(Fatal::Io(format!(
                "{} is a whole batch, most of which was accepted: replay the records file that \
                 names it",
                path.display()
            )));
        }
        // A copy can have any name.
        Some(FileKind::Records { .. } | FileKind::Replayed) | None => FileContents::Records,
    };
    let location = match kind {
        Some(_) if is_own(config, path) => FileLocation::Quarantine,
        _ => FileLocation::Elsewhere,
    };
    Ok(ReplayFile { path: path.to_owned(), contents, location, plan: Plan::default() })
}

/// Returns the records files in the quarantine that contain records with these `keys`, without
/// `targets`.
pub(super) fn originals(
    config: &Config,
    targets: &[ReplayFile],
    keys: &HashSet<RecordKey>,
) -> Result<Vec<PathBuf>, Fatal> {
    let mut originals = Vec::new();
    if keys.is_empty() {
        return Ok(originals);
    }
    for file in QuarantineFiles::read(&config.quarantine.dir)?.files {
        let is_target = targets.iter().any(|target| target.path == file.path);
        if is_target || !matches!(file.kind, FileKind::Records { .. }) {
            continue;
        }
        let mut is_original = false;
        each_line(&file.path, &mut |_, bytes| {
            is_original = is_in(bytes, keys);
            Ok(if is_original { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        if is_original {
            originals.push(file.path);
        }
    }
    Ok(originals)
}

fn is_in(bytes: &[u8], keys: &HashSet<RecordKey>) -> bool {
    serde_json::from_slice::<Line<'_>>(bytes).is_ok_and(|line| keys.contains(&records::key(&line)))
}

/// Removes the records with these `keys` from a renamed file.
pub(super) fn without(path: &Path, keys: &HashSet<RecordKey>) -> io::Result<ReplayedParts> {
    let parts = split_file(path, Removal::Archive, &mut |_, bytes| is_in(bytes, keys))?;
    Ok(ReplayedParts { done: parts.removed, rest: parts.rest })
}

impl ReplayFile {
    /// Decides what to send. Adds the keys of the records of a copy to `keys`.
    pub(super) fn plan(
        &mut self,
        config: &Config,
        options: &Replay,
        state: FileState,
        keys: &mut HashSet<RecordKey>,
    ) -> Result<(), ReplayError> {
        let keys = (self.location == FileLocation::Elsewhere).then_some(keys);
        match &self.contents {
            FileContents::Records => {
                self.plan = records::plan(config, &self.path, options, state, keys)?;
            }
            FileContents::Body(endpoint, dataset) => {
                self.plan = Plan::default();
                if options.filter.matches(endpoint, UNDECODABLE) {
                    let only_sink = options.sink.clone();
                    let route = Route {
                        endpoint: endpoint.clone(),
                        dataset: dataset.clone(),
                        sink: only_sink.map(|name| OnlySink { name, selection: None }),
                    };
                    let checked = path_of(config, endpoint, dataset, BodyKind::Original)
                        .and_then(|_| check_destination(config, &route));
                    match checked {
                        Ok(()) => self.plan = Plan::of_body(route),
                        Err(reason) => self.plan = Plan::of_skipped_body(&reason),
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn is_body(&self) -> bool {
        matches!(self.contents, FileContents::Body(..))
    }

    /// Returns whether any record is sent.
    pub(super) fn sends(&self) -> bool {
        self.plan.sends()
    }

    /// Renames a records file in the quarantine, so that the daemon does not append to it.
    pub(super) fn rename_for_replay(&mut self) -> io::Result<()> {
        if self.location == FileLocation::Quarantine && !self.is_body() {
            self.path = quarantine::rename_for_replay(&self.path)?;
        }
        Ok(())
    }

    /// Sends the records or the body.
    pub(super) fn replay(
        &self,
        config: &Config,
        daemon: &mut Daemon<'_>,
        report: &mut ReplayReport,
    ) -> Result<(), ReplayError> {
        match &self.contents {
            FileContents::Body(..) => self.replay_body(daemon, report),
            FileContents::Records => {
                let mut number = 0;
                records::read(config, &self.path, &self.plan, &mut |route, batch| {
                    number += 1;
                    self.send(route, batch, number, daemon, report)
                })
            }
        }
    }

    fn replay_body(
        &self,
        daemon: &mut Daemon<'_>,
        report: &mut ReplayReport,
    ) -> Result<(), ReplayError> {
        let Some(route) = self.plan.routes.keys().next() else { return Ok(()) };
        let body = fs::read(&self.path).map_err(durable::error_at("reading", &self.path))?;
        let taken = daemon.send(route, BodyKind::Original, &Bytes::from(body))?;
        match taken.status.as_str() {
            "committed" | "duplicate" => {
                report.sent(&self.path, route, taken.records + taken.quarantined, &taken);
                Ok(())
            }
            // The daemon stores it under the digest of its bytes: as this file, unless it was
            // edited.
            "quarantined" => Err(ReplayError::StillInvalid(String::from(
                "the daemon still cannot read it: fix the file (`gzip -t` checks it), then replay \
                 it again",
            ))),
            status => Err(ReplayError::Refused(format!("the daemon stored nothing ({status})"))),
        }
    }

    fn send(
        &self,
        route: &Route,
        batch: ReplayBatch,
        number: u64,
        daemon: &mut Daemon<'_>,
        report: &mut ReplayReport,
    ) -> Result<(), ReplayError> {
        let records = batch.records;
        let body = Bytes::from(batch.into_body(head(&self.path, number)));
        let taken = daemon.send(route, BodyKind::Records, &body)?;
        match taken.status.as_str() {
            "committed" | "quarantined" | "duplicate" => {
                report.sent(&self.path, route, records, &taken);
                Ok(())
            }
            status => Err(ReplayError::Refused(format!("the daemon stored nothing ({status})"))),
        }
    }

    /// Renames or splits the file after its replay.
    pub(super) fn done(&self, config: &Config) -> Result<ReplayedParts, ReplayError> {
        let parts = match (&self.contents, self.location) {
            (FileContents::Records, FileLocation::Quarantine) if self.plan.has_rest() => {
                split_file(&self.path, Removal::Archive, &mut |number, _| self.plan.is_sent(number))
                    .map(|parts| ReplayedParts { done: parts.removed, rest: parts.rest })
            }
            (_, FileLocation::Quarantine) => renamed(&self.path),
            (FileContents::Body(..), FileLocation::Elsewhere) => {
                let name = self.path.file_name().unwrap_or_default();
                let original = config.quarantine.dir.join(quarantine::BODIES).join(name);
                if original.exists() { renamed(&original) } else { Ok(ReplayedParts::default()) }
            }
            // `without` removes its records from the original files after all targets are sent.
            (FileContents::Records, FileLocation::Elsewhere) => Ok(ReplayedParts::default()),
        };
        parts.map_err(|error| {
            ReplayError::Unusable(format!("the daemon accepted everything, but: {error}"))
        })
    }
}

fn renamed(path: &Path) -> io::Result<ReplayedParts> {
    match quarantine::rename_as_replayed(path) {
        Ok(done) => Ok(ReplayedParts { done: Some(done), rest: None }),
        // Another command or the daemon removed the file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ReplayedParts::default()),
        Err(error) => Err(error),
    }
}
