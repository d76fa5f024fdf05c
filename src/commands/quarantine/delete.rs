//! `logpushd quarantine delete`: removes records, bodies and whole files, also beside the running daemon.
//!
//! A file that the daemon may be writing to is renamed first, as for a replay, and is divided or removed
//! when the daemon is done with the batch that it may be in the middle of.

use std::{
    collections::HashSet,
    io::{self, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    thread,
};

use jiff::Timestamp;
use serde_json::json;

use super::{Gone, UNDECODABLE, divide, each_line, is_own, settle};
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

/// What is, or would be, deleted.
#[derive(Debug, Default)]
struct Deleted {
    records: u64,
    bodies: u64,
    bytes: u64,
    /// Files that are gone altogether.
    files: Vec<PathBuf>,
}

/// Deletes what `options` choose.
pub(super) fn run(config: &Config, options: &Delete, out: &mut dyn Write) -> Result<(), Fatal> {
    let files = files(config, options)?;
    let mut chosen = Vec::new();
    let mut deleted = Deleted::default();
    for kept in files.iter().filter(|kept| is_records(kept)) {
        let (lines, bytes, all) = count(&kept.path, options)?;
        if lines > 0 {
            deleted.records += lines;
            deleted.bytes += bytes;
            deleted.files.extend(all.then(|| kept.path.clone()));
            chosen.push(kept.path.clone());
        }
    }
    for kept in files.iter().filter(|kept| is_body(kept, options)) {
        deleted.bodies += 1;
        deleted.bytes += kept.bytes;
        deleted.files.push(kept.path.clone());
    }
    if !options.yes && !options.dry_run {
        return Err(Fatal::Usage(format!(
            "{} would be deleted for good: confirm with --yes; --dry-run lists the files",
            deleted.summary()
        )));
    }
    if !options.dry_run {
        deleted.audit(config, &chosen)?;
        delete(config, options, chosen)?;
        for kept in files.iter().filter(|kept| is_body(kept, options)) {
            durable::remove(&kept.path)?;
        }
    }
    // Whole batches, once no line that stays needs them.
    for kept in unneeded(config, &files, options)? {
        deleted.bytes += kept.bytes;
        deleted.files.push(kept.path.clone());
        if !options.dry_run {
            durable::remove(&kept.path)?;
        }
    }
    deleted.write(options, out)?;
    Ok(())
}

/// The files that are named, or all.
fn files(config: &Config, options: &Delete) -> Result<Vec<QuarantineFile>, Fatal> {
    let all = QuarantineFiles::read(&config.quarantine.dir)?.files;
    if options.paths.is_empty() {
        return Ok(all);
    }
    let mut files = Vec::new();
    for path in &options.paths {
        let name = path.file_name();
        let known = all.iter().find(|kept| kept.path.file_name() == name);
        match known.filter(|_| is_own(config, path)) {
            Some(kept) => files.push(kept.clone()),
            None => {
                return Err(Fatal::Usage(format!(
                    "{} is not a file of the quarantine in {}: `logpushd quarantine list` names them",
                    path.display(),
                    config.quarantine.dir.display()
                )));
            }
        }
    }
    Ok(files)
}

fn is_records(kept: &QuarantineFile) -> bool {
    matches!(original(&kept.path), Some(FileKind::Records { .. }))
}

fn is_before(time: Option<Timestamp>, options: &Delete) -> bool {
    options.before.is_none_or(|before| time.is_some_and(|time| time < before))
}

fn is_body(kept: &QuarantineFile, options: &Delete) -> bool {
    let Some(FileKind::Body { endpoint, .. }) = original(&kept.path) else { return false };
    options.choice.takes(&endpoint, UNDECODABLE)
        && is_before(Timestamp::try_from(kept.modified).ok(), options)
}

/// Whether a line goes. One that cannot be read goes with its whole file only.
fn goes(bytes: &[u8], options: &Delete) -> bool {
    match serde_json::from_slice::<Line<'_>>(bytes) {
        Ok(line) => {
            options.choice.takes(&line.endpoint, line.reason_label())
                && is_before(line.received.parse().ok(), options)
        }
        Err(_) => options.choice.is_everything() && options.before.is_none(),
    }
}

/// How many lines of a file go, how many bytes they have, and whether these are all.
fn count(path: &Path, options: &Delete) -> io::Result<(u64, u64, bool)> {
    let (mut lines, mut length, mut all) = (0, 0, true);
    let read = each_line(path, &mut |_, bytes| {
        if goes(bytes, options) {
            lines += 1;
            length += bytes.len() as u64;
        } else if !bytes.trim_ascii().is_empty() {
            all = false;
        }
        Ok(ControlFlow::Continue(()))
    });
    match read {
        // Another command, or the bounds of the quarantine.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((0, 0, false)),
        read => read.map(|()| (lines, length, all)),
    }
}

/// Takes the lines that go out of their files.
fn delete(config: &Config, options: &Delete, mut chosen: Vec<PathBuf>) -> Result<(), Fatal> {
    for path in &mut chosen {
        if FileKind::of(path) != Some(FileKind::Replayed) {
            *path = rename_for_replay(path)?;
        }
    }
    // Also for whole batches: the line that needs one may not be written yet.
    settle(config, &mut |pause| {
        thread::sleep(pause);
        Ok(())
    })?;
    for path in &chosen {
        divide(path, Gone::Deleted, &mut |_, bytes| goes(bytes, options))?;
    }
    Ok(())
}

/// The whole batches that are chosen and that no line needs.
fn unneeded(
    config: &Config,
    files: &[QuarantineFile],
    options: &Delete,
) -> io::Result<Vec<QuarantineFile>> {
    let reason = RejectReason::TooLong.label();
    let is_chosen = |kept: &&QuarantineFile| match &kept.kind {
        FileKind::Batch(batch) => {
            options.choice.takes(&batch.header.origin.endpoint, reason)
                && is_before(Some(batch.header.origin.received), options)
        }
        _ => false,
    };
    let batches: Vec<_> = files.iter().filter(is_chosen).collect();
    if batches.is_empty() {
        return Ok(Vec::new());
    }
    let mut needed = HashSet::new();
    for kept in
        QuarantineFiles::read(&config.quarantine.dir)?.files.iter().filter(|kept| is_records(kept))
    {
        // Before anything is deleted, the lines that will be are not asked.
        each_line(&kept.path, &mut |_, bytes| {
            if let Ok(Line { body: Some(body), .. }) = serde_json::from_slice::<Line<'_>>(bytes)
                && !(options.dry_run && goes(bytes, options))
            {
                needed.insert(body.into_owned());
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    let name = |kept: &QuarantineFile| {
        kept.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    };
    Ok(batches.into_iter().filter(|kept| !needed.contains(&name(kept))).cloned().collect())
}

impl Deleted {
    /// Records what is about to be deleted, if that is anything. `changed` are the files that lose
    /// records, which may be all of them.
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
