//! Prints the files that were and were not sent, as text or JSON.

use std::io::{self, Write};

use command::{Count, fatal::Fatal, json as output};
use serde_json::{Value, json};

use super::{FileOutcome, PushError, PushState, each_batch, sender::UploadTarget};

/// The most files listed that were not sent.
const NAMED_FILES: usize = 20;

/// Prints the summary, the files that were not sent, and how to resume.
pub(super) fn write(
    shared: &PushState,
    outcomes: &[Option<FileOutcome>],
    is_json: bool,
    out: &mut dyn Write,
) -> Result<(), Fatal> {
    if !is_json {
        shared.progress.summary(out)?;
    }
    let (mut named, mut left, mut worst) = (0, 0_u64, None);
    let mut not_sent = Vec::new();
    for (source, outcome) in shared.sources.iter().zip(outcomes) {
        let (records, why) = match outcome {
            Some((_, Ok(()))) => continue,
            Some((records, Err(error))) => (*records, error.to_string()),
            None => (0, "not started, or interrupted".to_owned()),
        };
        left += 1;
        let path = source.path.display();
        if is_json {
            not_sent.push(json!({ "path": source.path, "records": records, "error": why }));
        } else {
            named += 1;
            if named <= NAMED_FILES && outcome.is_some() {
                writeln!(out, "{path}: {} accepted, then: {why}", Count(records, "record"))?;
            } else if named <= NAMED_FILES {
                writeln!(out, "{path}: {why}")?;
            }
        }
        if let Some((_, Err(error))) = outcome {
            worst = Some(worse(worst, error));
        }
    }
    if is_json {
        write_json(shared, false, &not_sent, out)?;
    }
    if left == 0 {
        return match shared.progress.quarantined_records() {
            None => Ok(()),
            Some(bad) => Err(Fatal::Data(format!(
                "everything was sent, but the server quarantined {bad}; run `logpushd quarantine list` on the server"
            ))),
        };
    }
    if named > NAMED_FILES {
        writeln!(out, "and {} more", named - NAMED_FILES)?;
    }
    let hint = if is_json { &mut io::sink() } else { out };
    writeln!(
        hint,
        "To resume, run the same command again: within spool.dedup_window, logpushd recognizes batches that it \
         already has and delivers them once. For another server, send only the files listed above."
    )?;
    let text = format!("{left} of {} not sent", Count(shared.sources.len() as u64, "file"));
    Err(match worst {
        Some(PushError::File(what)) => Fatal::Io(format!("{text}: {what}")),
        Some(error) => Fatal::Unavailable(format!("{text}: {error}")),
        None => Fatal::Unavailable(format!("{text}: interrupted")),
    })
}

/// Returns the error to report: the server's before an interruption, and that before a bad file.
fn worse<'a>(worst: Option<&'a PushError>, error: &'a PushError) -> &'a PushError {
    let weight = |error: &PushError| match error {
        PushError::Refused(_) | PushError::Unreachable(_) => 2,
        PushError::Interrupted => 1,
        PushError::File(_) => 0,
    };
    worst.filter(|worst| weight(worst) >= weight(error)).unwrap_or(error)
}

/// Prints the summary as one JSON object.
fn write_json(
    shared: &PushState,
    dry_run: bool,
    not_sent: &[Value],
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut whole = shared.progress.json();
    if let Value::Object(members) = &mut whole {
        members.insert("dry_run".into(), dry_run.into());
        members.insert("not_sent".into(), not_sent.into());
    }
    output::write(out, &whole)
}

/// Prints what would be sent.
pub(super) fn describe(
    shared: &PushState,
    target: &UploadTarget,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<(), Fatal> {
    if !is_json {
        writeln!(out, "POST {target} with {}", target.header_names())?;
    }
    let mut failed = 0;
    let mut not_sent = Vec::new();
    for source in &shared.sources {
        let (mut batches, mut records, mut wire) = (0, 0, 0);
        let outcome = each_batch(shared, source, &mut |body| {
            batches += 1;
            records += body.records;
            wire += body.gzip.len() as u64;
            shared.progress.sent(&body);
            Ok(())
        });
        let path = source.path.display();
        match outcome {
            Ok(()) => {
                shared.progress.file_done();
                let (batches, records) = (Count(batches, "batch"), Count(records, "record"));
                if !is_json {
                    writeln!(out, "{path}: {records} in {batches}, {wire} bytes gzipped")?;
                }
            }
            Err(error) => {
                failed += 1;
                let error = error.to_string();
                if is_json {
                    not_sent
                        .push(json!({ "path": source.path, "records": records, "error": error }));
                } else {
                    writeln!(out, "{path}: {error}")?;
                }
            }
        }
    }
    if is_json {
        write_json(shared, true, &not_sent, out)?;
    } else {
        shared.progress.summary(out)?;
    }
    if failed == 0 {
        Ok(())
    } else {
        Err(Fatal::Io(format!("{} cannot be sent", Count(failed, "file"))))
    }
}
