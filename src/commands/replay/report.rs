//! The report of a replay, as text or JSON.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    ReplayError,
    batches::Route,
    daemon::BatchAnswer,
    records::Skip,
    target::{ReplayFile, ReplayedParts},
};
use crate::{
    cli::quarantine::Replay,
    commands::{Count, json},
    config::Config,
    fatal::Fatal,
};

/// The result of one route.
#[derive(Clone, Debug, Default, Serialize)]
struct RouteReport {
    endpoint: String,
    dataset: String,
    /// The only sink that gets the records.
    #[serde(skip_serializing_if = "Option::is_none")]
    sink: Option<String>,
    sent: u64,
    taken: u64,
    still_bad: u64,
}

/// The result of one file.
#[derive(Clone, Debug, Serialize)]
struct FileReport {
    path: PathBuf,
    /// In a dry run, the number of records that would be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    would_send: Option<u64>,
    destinations: Vec<RouteReport>,
    skipped: Vec<Skip>,
    /// The file that now has the accepted records.
    kept_as: Option<PathBuf>,
    /// The file that now has the lines that were not sent.
    rest: Option<PathBuf>,
    error: Option<String>,
}

/// The report as JSON.
#[derive(Debug, Serialize)]
struct ReplayJson<'a> {
    dry_run: bool,
    /// The only sink that gets the records, from `--sink`.
    sink: Option<&'a str>,
    taken: u64,
    still_bad: u64,
    skipped: u64,
    files: &'a [FileReport],
}

/// Collects the results of files.
#[derive(Debug)]
pub(super) struct ReplayReport {
    is_json: bool,
    is_dry_run: bool,
    sink: Option<String>,
    files: Vec<FileReport>,
    failures: Vec<ReplayError>,
    /// The results of routes, by file.
    sending: BTreeMap<PathBuf, BTreeMap<Route, RouteReport>>,
}

impl ReplayReport {
    pub(super) fn new(options: &Replay) -> Self {
        Self {
            is_json: options.json,
            is_dry_run: options.dry_run,
            sink: options.sink.clone(),
            files: Vec::new(),
            failures: Vec::new(),
            sending: BTreeMap::new(),
        }
    }

    /// Adds a batch that the daemon answered.
    pub(super) fn sent(&mut self, path: &Path, route: &Route, records: u64, taken: &BatchAnswer) {
        let routes = self.sending.entry(path.to_owned()).or_default();
        let sent = routes.entry(route.clone()).or_insert_with(|| RouteReport {
            endpoint: route.endpoint.clone(),
            dataset: route.dataset.clone(),
            sink: route.sink.as_ref().map(|sink| sink.name.clone()),
            ..RouteReport::default()
        });
        sent.sent += records;
        sent.taken += taken.records;
        sent.still_bad += taken.quarantined;
    }

    /// Adds a file of which nothing is sent. One without selected records is not reported.
    pub(super) fn skipped(&mut self, target: &ReplayFile, out: &mut dyn Write) -> io::Result<()> {
        if target.plan.skips.is_empty() { Ok(()) } else { self.add(self.of(target), out) }
    }

    /// Adds a file of a dry run.
    pub(super) fn planned(&mut self, target: &ReplayFile, out: &mut dyn Write) -> io::Result<()> {
        let path = target.path.display();
        if !self.is_json {
            for (Route { endpoint, dataset, sink }, records) in &target.plan.routes {
                let only = sink.as_ref().map(|sink| format!(", only for sink {}", sink.name));
                let only = only.unwrap_or_default();
                if target.is_body() {
                    writeln!(out, "{path}: the body would go to {endpoint}/{dataset}{only}")?;
                } else {
                    let records = Count(*records, "record");
                    writeln!(out, "{path}: {records} would go to {endpoint}/{dataset}{only}")?;
                }
            }
        }
        let would_send = Some(target.plan.routes.values().sum());
        self.add(FileReport { would_send, ..self.of(target) }, out)
    }

    /// Adds a file that was replayed.
    pub(super) fn replayed(
        &mut self,
        target: &ReplayFile,
        parts: &ReplayedParts,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let file =
            FileReport { kept_as: parts.done.clone(), rest: parts.rest.clone(), ..self.of(target) };
        self.add(file, out)
    }

    /// Adds a file of which the replay failed.
    pub(super) fn failed(
        &mut self,
        target: &ReplayFile,
        failure: &ReplayError,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        self.failures.push(failure.clone());
        let error = Some(failure.text().to_owned());
        self.add(FileReport { error, ..self.of(target) }, out)
    }

    /// Adds a file from which the lines of a replayed copy were removed.
    pub(super) fn original(
        &mut self,
        path: &Path,
        parts: &ReplayedParts,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let file = FileReport {
            path: path.to_owned(),
            would_send: None,
            destinations: Vec::new(),
            skipped: Vec::new(),
            kept_as: parts.done.clone(),
            rest: parts.rest.clone(),
            error: None,
        };
        self.add(file, out)
    }

    fn of(&self, target: &ReplayFile) -> FileReport {
        let sent = self.sending.get(&target.path);
        FileReport {
            path: target.path.clone(),
            would_send: None,
            destinations: sent.map(|sent| sent.values().cloned().collect()).unwrap_or_default(),
            skipped: target.plan.skips.clone(),
            kept_as: None,
            rest: None,
            error: None,
        }
    }

    fn add(&mut self, file: FileReport, out: &mut dyn Write) -> io::Result<()> {
        if !self.is_json {
            file.write_text(out)?;
        }
        self.files.push(file);
        Ok(())
    }

    /// Prints the end of the report.
    ///
    /// # Errors
    /// A file was not replayed, or records are still invalid or were skipped.
    pub(super) fn finish(self, config: &Config, out: &mut dyn Write) -> Result<(), Fatal> {
        let sum = |count: fn(&RouteReport) -> u64| {
            self.files.iter().flat_map(|file| &file.destinations).map(count).sum::<u64>()
        };
        let skipped = self.files.iter().flat_map(|file| &file.skipped).map(|skip| skip.lines).sum();
        let bodies = self
            .failures
            .iter()
            .filter(|failure| matches!(failure, ReplayError::StillInvalid(_)))
            .count();
        let whole = ReplayJson {
            dry_run: self.is_dry_run,
            sink: self.sink.as_deref(),
            taken: sum(|sent| sent.taken),
            still_bad: sum(|sent| sent.still_bad) + bodies as u64,
            skipped,
            files: &self.files,
        };
        if self.is_json {
            json::write(out, &whole)?;
        } else if self.files.is_empty() {
            writeln!(out, "nothing to replay in {}", config.quarantine.dir.display())?;
        }
        if self.failures.iter().any(|failure| !matches!(failure, ReplayError::StillInvalid(_))) {
            return Err(self.worst());
        }
        if whole.still_bad + whole.skipped == 0 {
            return Ok(());
        }
        let mut bad = Vec::new();
        if whole.still_bad > 0 {
            bad.push(format!(
                "{} still invalid and in quarantine",
                Count(whole.still_bad, "record")
            ));
        }
        if whole.skipped > 0 {
            bad.push(format!("{} skipped", Count(whole.skipped, "line")));
        }
        Err(Fatal::Data(format!("{}: see `logpushd quarantine show`", bad.join(", "))))
    }

    fn worst(&self) -> Fatal {
        // An error of the daemon is more important than one of a file.
        let is_daemon = |failure: &&ReplayError| {
            matches!(failure, ReplayError::Refused(_) | ReplayError::Unreachable(_))
        };
        let first = self.failures.iter().find(is_daemon).or(self.failures.first());
        let text = format!(
            "{} of {} not replayed: {}",
            self.failures.len(),
            Count(self.files.len() as u64, "file"),
            first.map(ReplayError::text).unwrap_or_default()
        );
        match first {
            Some(ReplayError::Refused(_) | ReplayError::Unreachable(_)) => Fatal::Unavailable(text),
            _ => Fatal::Io(text),
        }
    }
}

impl FileReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let path = self.path.display();
        for RouteReport { endpoint, dataset, sent, taken, still_bad, .. } in &self.destinations {
            writeln!(
                out,
                "{path}: {sent} sent to {endpoint}/{dataset}: {taken} accepted, {still_bad} still \
                 invalid and back in quarantine"
            )?;
        }
        for Skip { reason, lines, first_line } in &self.skipped {
            match first_line {
                0 => writeln!(out, "{path}: skipped: {reason}")?,
                line => {
                    writeln!(out, "{path}:{line}: {} skipped: {reason}", Count(*lines, "line"))?;
                }
            }
        }
        if let Some(kept) = &self.kept_as {
            writeln!(out, "{path}: replayed, and renamed to {}", kept.display())?;
        }
        if let Some(rest) = &self.rest {
            writeln!(out, "{path}: the other lines are in {}", rest.display())?;
        }
        if let Some(error) = &self.error {
            writeln!(out, "{path}: not replayed: {error}")?;
        }
        Ok(())
    }
}
