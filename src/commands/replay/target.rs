//! A file to replay: planned, sent, and then filed away.

use std::{
    collections::HashSet,
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{
    Daemon, ReplayError, What, check_destination, head,
    parcels::{Parcel, Route},
    path_of,
    records::{self, Key, Plan, Written},
    report::ReplayReport,
};
use crate::{
    cli::quarantine::Replay,
    commands::quarantine::{Gone, UNDECODABLE, divide, each_line, is_own},
    config::Config,
    durable,
    fatal::Fatal,
    quarantine::{self, FileKind, Line, QuarantineFiles},
};

/// What is in the file.
enum Contents {
    Records,
    /// A body: endpoint and dataset.
    Body(String, String),
}

/// Where the file is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Home {
    /// In the quarantine: it is renamed.
    Quarantine,
    /// A copy that someone made: it is only read.
    Elsewhere,
}

/// A file to replay.
pub(super) struct ReplayFile {
    pub(super) path: PathBuf,
    contents: Contents,
    home: Home,
    pub(super) plan: Plan,
}

/// Where the file, and what of it was not sent, are afterwards.
#[derive(Debug, Default)]
pub(super) struct ReplayedParts {
    pub(super) done: Option<PathBuf>,
    pub(super) rest: Option<PathBuf>,
}

/// The files to replay: those that are named, or all in the quarantine that were not replayed.
pub(super) fn find(config: &Config, options: &Replay) -> Result<Vec<ReplayFile>, Fatal> {
    let kept;
    let named = if options.paths.is_empty() {
        kept = QuarantineFiles::read(&config.quarantine.dir)?.files;
        kept.iter()
            .filter(|kept| matches!(kept.kind, FileKind::Records { .. } | FileKind::Body { .. }))
            .map(|kept| kept.path.as_path())
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
            "{path} is not a regular file: name files of the quarantine"
        )));
    }
    let kind = FileKind::of(path);
    let contents = match &kind {
        Some(FileKind::Body { endpoint, dataset }) => {
            Contents::Body(endpoint.clone(), dataset.clone())
        }
        Some(FileKind::Batch(_)) => {
            return Err(Fatal::Io(format!(
                "{} is a whole batch, most of which was accepted: replay the records file that names it",
                path.display()
            )));
        }
        // Whatever its name is, its lines say what it is.
        Some(FileKind::Records { .. } | FileKind::Replayed) | None => Contents::Records,
    };
    let home = match kind {
        Some(_) if is_own(config, path) => Home::Quarantine,
        _ => Home::Elsewhere,
    };
    Ok(ReplayFile { path: path.to_owned(), contents, home, plan: Plan::default() })
}

/// The records files of the quarantine from which copies among `targets` were made, by the records that
/// the copies have.
pub(super) fn originals(
    config: &Config,
    targets: &[ReplayFile],
    keys: &HashSet<Key>,
) -> Result<Vec<PathBuf>, Fatal> {
    let mut originals = Vec::new();
    if keys.is_empty() {
        return Ok(originals);
    }
    for kept in QuarantineFiles::read(&config.quarantine.dir)?.files {
        let is_target = targets.iter().any(|target| target.path == kept.path);
        if is_target || !matches!(kept.kind, FileKind::Records { .. }) {
            continue;
        }
        let mut is_one = false;
        each_line(&kept.path, &mut |_, bytes| {
            is_one = is_in(bytes, keys);
            Ok(if is_one { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        if is_one {
            originals.push(kept.path);
        }
    }
    Ok(originals)
}

fn is_in(bytes: &[u8], keys: &HashSet<Key>) -> bool {
    serde_json::from_slice::<Line<'_>>(bytes).is_ok_and(|line| keys.contains(&records::key(&line)))
}

/// Takes the lines that a copy was made from out of a file that was set aside.
pub(super) fn without(aside: &Path, keys: &HashSet<Key>) -> io::Result<ReplayedParts> {
    let parts = divide(aside, Gone::Kept, &mut |_, bytes| is_in(bytes, keys))?;
    Ok(ReplayedParts { done: parts.gone, rest: parts.rest })
}

impl ReplayFile {
    /// Decides what is sent of it. `keys` gets what identifies the records of a copy.
    pub(super) fn plan(
        &mut self,
        config: &Config,
        options: &Replay,
        written: Written,
        keys: &mut HashSet<Key>,
    ) -> Result<(), ReplayError> {
        let keys = (self.home == Home::Elsewhere).then_some(keys);
        match &self.contents {
            Contents::Records => {
                self.plan = records::plan(config, &self.path, options, written, keys)?;
            }
            Contents::Body(endpoint, dataset) => {
                self.plan = Plan::default();
                if options.choice.takes(endpoint, UNDECODABLE) {
                    let place = Route {
                        endpoint: endpoint.clone(),
                        dataset: dataset.clone(),
                        sink: options.sink.clone(),
                    };
                    let usable = path_of(config, endpoint, dataset, What::Body)
                        .and_then(|_| check_destination(config, &place));
                    match usable {
                        Ok(()) => self.plan = Plan::of_body(place),
                        Err(why) => self.plan = Plan::of_skipped_body(&why),
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn is_body(&self) -> bool {
        matches!(self.contents, Contents::Body(..))
    }

    /// Whether anything is sent.
    pub(super) fn sends(&self) -> bool {
        self.plan.sends()
    }

    /// Keeps the daemon from appending to it.
    pub(super) fn set_aside(&mut self) -> io::Result<()> {
        if self.home == Home::Quarantine && !self.is_body() {
            self.path = quarantine::rename_for_replay(&self.path)?;
        }
        Ok(())
    }

    /// Sends it.
    pub(super) fn replay(
        &self,
        config: &Config,
        daemon: &mut Daemon<'_>,
        report: &mut ReplayReport,
    ) -> Result<(), ReplayError> {
        match &self.contents {
            Contents::Body(..) => self.replay_body(daemon, report),
            Contents::Records => {
                let mut number = 0;
                records::read(config, &self.path, &self.plan, &mut |place, parcel| {
                    number += 1;
                    self.send(place, parcel, number, daemon, report)
                })
            }
        }
    }

    fn replay_body(
        &self,
        daemon: &mut Daemon<'_>,
        report: &mut ReplayReport,
    ) -> Result<(), ReplayError> {
        let Some(place) = self.plan.places.keys().next() else { return Ok(()) };
        let body = fs::read(&self.path).map_err(durable::error_at("reading", &self.path))?;
        let taken = daemon.send(place, What::Body, &Bytes::from(body))?;
        match taken.status.as_str() {
            "committed" | "duplicate" => {
                report.sent(&self.path, place, taken.records + taken.quarantined, &taken);
                Ok(())
            }
            // The daemon keeps it under the digest of its bytes: this very file, unless it was edited.
            "quarantined" => Err(ReplayError::Bad(String::from(
                "the daemon still cannot read it: repair the file (try `gzip -t`), then replay again",
            ))),
            status => Err(ReplayError::Refused(format!("the daemon stored nothing ({status})"))),
        }
    }

    fn send(
        &self,
        place: &Route,
        parcel: Parcel,
        number: u64,
        daemon: &mut Daemon<'_>,
        report: &mut ReplayReport,
    ) -> Result<(), ReplayError> {
        let records = parcel.records;
        let body = Bytes::from(parcel.into_body(head(&self.path, number)));
        let taken = daemon.send(place, What::Records, &body)?;
        match taken.status.as_str() {
            "committed" | "quarantined" | "duplicate" => {
                report.sent(&self.path, place, records, &taken);
                Ok(())
            }
            status => Err(ReplayError::Refused(format!("the daemon stored nothing ({status})"))),
        }
    }

    /// Renames or divides it, now that it was taken.
    pub(super) fn done(&self, config: &Config) -> Result<ReplayedParts, ReplayError> {
        let kept = match (&self.contents, self.home) {
            (Contents::Records, Home::Quarantine) if self.plan.has_rest() => {
                divide(&self.path, Gone::Kept, &mut |number, _| self.plan.is_sent(number))
                    .map(|parts| ReplayedParts { done: parts.gone, rest: parts.rest })
            }
            (_, Home::Quarantine) => renamed(&self.path),
            (Contents::Body(..), Home::Elsewhere) => {
                let name = self.path.file_name().unwrap_or_default();
                let original = config.quarantine.dir.join(quarantine::BODIES).join(name);
                if original.exists() { renamed(&original) } else { Ok(ReplayedParts::default()) }
            }
            // Its lines are taken out of the files that they come from when all targets are sent.
            (Contents::Records, Home::Elsewhere) => Ok(ReplayedParts::default()),
        };
        kept.map_err(|error| ReplayError::Flaw(format!("everything was taken, but: {error}")))
    }
}

fn renamed(path: &Path) -> io::Result<ReplayedParts> {
    match quarantine::rename_as_replayed(path) {
        Ok(done) => Ok(ReplayedParts { done: Some(done), rest: None }),
        // Another replay, or the bounds of the quarantine.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ReplayedParts::default()),
        Err(error) => Err(error),
    }
}
