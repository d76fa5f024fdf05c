//! What was sent and what was not, for people and for scripts.

use std::io::{self, Write};

use command::{Count, fatal::Fatal, json as output};
use serde_json::{Value, json};

use super::{Failure, Outcome, Shared, courier::Route, each_batch};

/// How many files that are not done are named.
const NAMED_FILES: usize = 20;

/// Says what is done, and if that is not all, how to go on.
pub(super) fn write(
    shared: &Shared,
    outcomes: &[Option<Outcome>],
    is_json: bool,
    out: &mut dyn Write,
) -> Result<(), Fatal> {
    if !is_json {
        shared.tally.summary(out)?;
    }
    let (mut named, mut left, mut worst) = (0, 0_u64, None);
    let mut not_sent = Vec::new();
    for (source, outcome) in shared.sources.iter().zip(outcomes) {
        let (records, why) = match outcome {
            Some((_, Ok(()))) => continue,
            Some((records, Err(failure))) => (*records, failure.to_string()),
            None => (0, "not begun, or cut off".to_owned()),
        };
        left += 1;
        let path = source.path.display();
        if is_json {
            not_sent.push(json!({ "path": source.path, "records": records, "error": why }));
        } else {
            named += 1;
            if named <= NAMED_FILES && outcome.is_some() {
                writeln!(out, "{path}: {} taken, then: {why}", Count(records, "record"))?;
            } else if named <= NAMED_FILES {
                writeln!(out, "{path}: {why}")?;
            }
        }
        if let Some((_, Err(failure))) = outcome {
            worst = Some(worse(worst, failure));
        }
    }
    if is_json {
        write_json(shared, false, &not_sent, out)?;
    }
    if left == 0 {
        return match shared.tally.bad() {
            None => Ok(()),
            Some(bad) => Err(Fatal::Data(format!(
                "everything was sent, but {bad} went to the server's quarantine: see `logpushd quarantine list` there"
            ))),
        };
    }
    if named > NAMED_FILES {
        writeln!(out, "and {} more", named - NAMED_FILES)?;
    }
    let hint = if is_json { &mut io::sink() } else { out };
    writeln!(
        hint,
        "To go on, send the same again with the same limits: logpushd knows the batches that it has, within its \
         spool.dedup_window, and does not deliver them twice. For another server name only what is left."
    )?;
    let text = format!("{} of {} not sent", left, Count(shared.sources.len() as u64, "file"));
    Err(match worst {
        Some(Failure::Flaw(what)) => Fatal::Io(format!("{text}: {what}")),
        Some(failure) => Fatal::Unavailable(format!("{text}: {failure}")),
        None => Fatal::Unavailable(format!("{text}: interrupted")),
    })
}

/// What the server said counts for more than what is wrong with a file, and that it was interrupted only
/// follows.
fn worse<'a>(worst: Option<&'a Failure>, failure: &'a Failure) -> &'a Failure {
    let weight = |failure: &Failure| match failure {
        Failure::Refused(_) | Failure::Unreachable(_) => 2,
        Failure::Interrupted => 1,
        Failure::Flaw(_) => 0,
    };
    worst.filter(|worst| weight(worst) >= weight(failure)).unwrap_or(failure)
}

/// One object.
fn write_json(
    shared: &Shared,
    dry_run: bool,
    not_sent: &[Value],
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut whole = shared.tally.json();
    if let Value::Object(members) = &mut whole {
        members.insert("dry_run".into(), dry_run.into());
        members.insert("not_sent".into(), not_sent.into());
    }
    output::write(out, &whole)
}

/// Prints what would be sent.
pub(super) fn describe(
    shared: &Shared,
    route: &Route,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<(), Fatal> {
    if !is_json {
        writeln!(out, "POST {route} with {}", route.header_names())?;
    }
    let mut flaws = 0;
    let mut not_sent = Vec::new();
    for source in &shared.sources {
        let (mut batches, mut records, mut wire) = (0, 0, 0);
        let outcome = each_batch(shared, source, &mut |body| {
            batches += 1;
            records += body.records;
            wire += body.gzip.len() as u64;
            shared.tally.sent(&body);
            Ok(())
        });
        let path = source.path.display();
        match outcome {
            Ok(()) => {
                shared.tally.file_done();
                let (batches, records) = (Count(batches, "batch"), Count(records, "record"));
                if !is_json {
                    writeln!(out, "{path}: {records} in {batches}, {wire} bytes gzipped")?;
                }
            }
            Err(failure) => {
                flaws += 1;
                let error = failure.to_string();
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
        shared.tally.summary(out)?;
    }
    if flaws == 0 {
        Ok(())
    } else {
        Err(Fatal::Io(format!("{} cannot be sent", Count(flaws, "file"))))
    }
}
