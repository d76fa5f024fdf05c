//! `logpushd quarantine delete`: deletes records, bodies and files, also while the daemon runs.
//!
//! A file that the daemon may be writing to is renamed first, as for a replay. It is split or
//! removed after the daemon has finished its current batch.

use std::{
    collections::HashSet,
    io::{self, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    thread,
};

use jiff::Timestamp;
use serde_json::json;

use super::{Removal, UNDECODABLE, each_line, is_own, split_file, wait_until_written};
use crate::{
    audit::{self, Event},
    cli::quarantine::Delete,
    commands::{Count, json},
    config::{Config, format_bytes},
    decode::RejectReason,
    durable,
    fatal::Fatal,
    quarantine::{FileKind, Line, QuarantineFile, QuarantineFiles, original, rename_for_replay},
};

/// What is deleted, or would be in a dry run.
#[derive(Debug, Default)]
struct Deleted {
    records: u64,
    bodies: u64,
    bytes: u64,
    /// Files that are removed as a whole.
    files: Vec<PathBuf>,
}

/// Deletes the records and bodies that `options` select.
pub(super) fn run(config: &Config, options: &Delete, out: &mut dyn Write) -> Result<(), Fatal> {
    let files = files(config, options)?;
    let mut chosen = Vec::new();
    let mut deleted = Deleted::default();
    for file in files.iter().filter(|file| is_records(file)) {
        let (lines, bytes, all) = count(&file.path, options)?;
        if lines > 0 {
            deleted.records += lines;
            deleted.bytes += bytes;
            deleted.files.extend(all.then(|| file.path.clone()));
            chosen.push(file.path.clone());
        }
    }
    for file in files.iter().filter(|file| is_body(file, options)) {
        deleted.bodies += 1;
        deleted.bytes += file.bytes;
        deleted.files.push(file.path.clone());
    }
    if !options.yes && !options.dry_run {
        return Err(Fatal::Usage(format!(
            "{} would be deleted permanently: confirm with --yes, or list the files with --dry-run",
            deleted.summary()
        )));
    }
    if !options.dry_run {
        deleted.audit(config, &chosen)?;
        delete(config, options, chosen)?;
        for file in files.iter().filter(|file| is_body(file, options)) {
            durable::remove(&file.path)?;
        }
    }
    // A whole batch is deleted when no remaining line needs it.
    for file in unneeded(config, &files, options)? {
        deleted.bytes += file.bytes;
        deleted.files.push(file.path.clone());
        if !options.dry_run {
            durable::remove(&file.path)?;
        }
    }
    deleted.write(options, out)?;
    Ok(())
}

/// Returns the named files, or all files in the quarantine.
fn files(config: &Config, options: &Delete) -> Result<Vec<QuarantineFile>, Fatal> {
    let all = QuarantineFiles::read(&config.quarantine.dir)?.files;
    if options.paths.is_empty() {
        return Ok(all);
    }
    let mut files = Vec::new();
    for path in &options.paths {
        let name = path.file_name();
        let known = all.iter().find(|file| file.path.file_name() == name);
        match known.filter(|_| is_own(config, path)) {
            Some(file) => files.push(file.clone()),
            None => {
                return Err(Fatal::Usage(format!(
                    "{} is not a file in the quarantine {}: `logpushd quarantine list` lists the \
                     files",
                    path.display(),
                    config.quarantine.dir.display()
                )));
            }
        }
    }
    Ok(files)
}

fn is_records(file: &QuarantineFile) -> bool {
    matches!(original(&file.path), Some(FileKind::Records { .. }))
}

fn is_before(time: Option<Timestamp>, options: &Delete) -> bool {
    options.before.is_none_or(|before| time.is_some_and(|time| time < before))
}

fn is_body(file: &QuarantineFile, options: &Delete) -> bool {
    let Some(FileKind::Body { endpoint, .. }) = original(&file.path) else { return false };
    options.filter.matches(&endpoint, UNDECODABLE)
        && is_before(Timestamp::try_from(file.modified).ok(), options)
}

/// Returns whether to delete a line. A damaged line is only deleted with its whole file.
fn is_deleted(bytes: &[u8], options: &Delete) -> bool {
    match serde_json::from_slice::<Line<'_>>(bytes) {
        Ok(line) => {
            options.filter.matches(&line.endpoint, line.reason_label())
                && is_before(line.received.parse().ok(), options)
        }
        Err(_) => options.filter.matches_all() && options.before.is_none(),
    }
}

/// Counts the lines and bytes of a file to delete, and returns whether these are all its lines.
fn count(path: &Path, options: &Delete) -> io::Result<(u64, u64, bool)> {
    let (mut lines, mut length, mut all) = (0, 0, true);
    let read = each_line(path, &mut |_, bytes| {
        if is_deleted(bytes, options) {
            lines += 1;
            length += bytes.len() as u64;
        } else if !bytes.trim_ascii().is_empty() {
            all = false;
        }
        Ok(ControlFlow::Continue(()))
    });
    match read {
        // Another command or the daemon removed the file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((0, 0, false)),
        read => read.map(|()| (lines, length, all)),
    }
}

/// Deletes the selected lines from their files.
fn delete(config: &Config, options: &Delete, mut chosen: Vec<PathBuf>) -> Result<(), Fatal> {
    for path in &mut chosen {
        if FileKind::of(path) != Some(FileKind::Replayed) {
            *path = rename_for_replay(path)?;
        }
    }
    // Also for whole batches: the daemon may not have written the line that needs one.
    wait_until_written(config, &mut |pause| {
        thread::sleep(pause);
        Ok(())
    })?;
    for path in &chosen {
        split_file(path, Removal::Delete, &mut |_, bytes| is_deleted(bytes, options))?;
    }
    Ok(())
}

/// Returns the selected whole batches that no line needs.
fn unneeded(
    config: &Config,
    files: &[QuarantineFile],
    options: &Delete,
) -> io::Result<Vec<QuarantineFile>> {
    let reason = RejectReason::TooLong.label();
    let is_chosen = |file: &&QuarantineFile| match &file.kind {
        FileKind::Batch(batch) => {
            options.filter.matches(&batch.header.origin.endpoint, reason)
                && is_before(Some(batch.header.origin.received), options)
        }
        _ => false,
    };
    let batches: Vec<_> = files.iter().filter(is_chosen).collect();
    if batches.is_empty() {
        return Ok(Vec::new());
    }
    let mut needed = HashSet::new();
    for file in
        QuarantineFiles::read(&config.quarantine.dir)?.files.iter().filter(|file| is_records(file))
    {
        // In a dry run, the lines that would be deleted are still in their files.
        each_line(&file.path, &mut |_, bytes| {
            if let Ok(Line { body: Some(body), .. }) = serde_json::from_slice::<Line<'_>>(bytes)
                && !(options.dry_run && is_deleted(bytes, options))
            {
                needed.insert(body.into_owned());
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    let name = |file: &QuarantineFile| {
        file.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    };
    Ok(batches.into_iter().filter(|file| !needed.contains(&name(file))).cloned().collect())
}

impl Deleted {
    /// Writes the deletion to the audit log, unless nothing is deleted. `changed` are the files
    /// that lose some or all records.
    fn audit(&self, config: &Config, changed: &[PathBuf]) -> io::Result<()> {
        let Some(audit_file) = &config.log.audit_file else { return Ok(()) };
        let bodies = self.files.iter().filter(|path| !changed.contains(path));
        let files: Vec<_> = changed.iter().chain(bodies).cloned().collect();
        if files.is_empty() {
            return Ok(());
        }
        let (records, bodies) = (self.records, self.bodies);
        audit::record_from_command(audit_file, &Event::QuarantineDelete { files, records, bodies })
    }

    fn summary(&self) -> String {
        let (records, bodies) = (Count(self.records, "record"), Count(self.bodies, "body"));
        format!("{records} and {bodies} ({})", format_bytes(self.bytes))
    }

    fn write(&self, options: &Delete, out: &mut dyn Write) -> io::Result<()> {
        if options.json {
            return json::write(
                out,
                &json!({
                    "dry_run": options.dry_run,
                    "records": self.records,
                    "bodies": self.bodies,
                    "bytes": self.bytes,
                    "files": self.files,
                }),
            );
        }
        let verb = if options.dry_run { "would be deleted" } else { "deleted" };
        for path in &self.files {
            writeln!(out, "{}: {verb}", path.display())?;
        }
        writeln!(out, "{}: {verb}", self.summary())
    }
}
