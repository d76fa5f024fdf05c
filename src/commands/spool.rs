//! `logpushd spool list` and `logpushd spool verify`: lists and verifies the batches in the spool.

use std::io::{self, BufWriter, Write};

use serde_json::json;

use super::{
    Count, seconds,
    table::{self, Align},
};
use crate::{
    config::{Config, format_bytes},
    delivery,
    fatal::Fatal,
    spool::{Batch, Consumer, FileCondition, ReadOnlySpool, SpoolContents},
};

/// A consumer of the spool and its checkpoint.
struct SpoolReader {
    /// The name of the sink, or `quarantine`.
    name: String,
    consumer: Consumer,
    /// The sequence of the last batch that the checkpoint covers.
    checkpoint: Option<u64>,
}

impl SpoolReader {
    fn waits_for(&self, batch: &Batch) -> bool {
        batch.sequence > self.checkpoint.unwrap_or(0) && (self.consumer.accepts)(batch)
    }
}

/// Lists the batches in the spool, the totals, and the backlog of each sink.
pub fn list(config: &Config, is_json: bool, out: &mut dyn Write) -> Result<(), Fatal> {
    let survey = ReadOnlySpool::new(&config.spool.dir);
    // Checkpoints are read after the batches, so that a batch delivered meanwhile counts as
    // delivered.
    let contents = contents(&survey)?;
    let readers = readers(config, &survey)?;
    let mut out = BufWriter::new(out);
    let mut backlog = vec![0_u64; readers.len()];
    let mut rows = Vec::with_capacity(contents.waiting.len());
    let mut batches = Vec::new();
    for entry in &contents.waiting {
        let batch = &entry.batch;
        let mut waits_for = Vec::new();
        for (reader, backlog) in readers.iter().zip(&mut backlog) {
            if reader.waits_for(batch) {
                *backlog += 1;
                waits_for.push(reader.name.as_str());
            }
        }
        let header = &batch.header;
        let origin = &header.origin;
        if is_json {
            batches.push(json!({
                "sequence": batch.sequence,
                "received": origin.received.to_string(),
                "endpoint": origin.endpoint,
                "dataset": origin.dataset,
                "sink": origin.sink.as_ref().map(|sink| &sink.name),
                "records": header.records,
                "rejected": header.rejected,
                "bytes": entry.bytes(),
                "waits_for": waits_for,
            }));
            continue;
        }
        rows.push([
            batch.sequence.to_string(),
            seconds(origin.received).to_string(),
            origin.endpoint.clone(),
            origin.dataset.clone(),
            header.records.to_string(),
            header.rejected.to_string(),
            entry.bytes().to_string(),
            if waits_for.is_empty() { "-".to_owned() } else { waits_for.join(",") },
        ]);
    }
    let columns = [
        ("SEQUENCE", Align::Right),
        ("RECEIVED", Align::Left),
        ("ENDPOINT", Align::Left),
        ("DATASET", Align::Left),
        ("RECORDS", Align::Right),
        ("REJECTED", Align::Right),
        ("BYTES", Align::Right),
        ("WAITS FOR", Align::Left),
    ];
    let sum = |what: fn(&Batch) -> u64| -> u64 {
        contents.waiting.iter().map(|entry| what(&entry.batch)).sum()
    };
    let bytes: u64 = contents.waiting.iter().map(spool::QueuedBatch::bytes).sum();
    if is_json {
        let sinks = readers.iter().zip(&backlog).map(|(reader, backlog)| {
            json!({ "name": reader.name, "behind": backlog, "checkpoint": reader.checkpoint })
        });
        let whole = json!({
            "records": sum(|batch| batch.header.records),
            "rejected": sum(|batch| batch.header.rejected),
            "bytes": bytes,
            "max_bytes": config.spool.max_bytes,
            "sinks": sinks.collect::<Vec<_>>(),
            "batches": batches,
        });
        super::json::write(&mut out, &whole)?;
        return Ok(out.flush()?);
    }
    table::write(&mut out, columns, &rows)?;
    writeln!(
        out,
        "\n{}, {}, {} rejected, {} of {}",
        Count(contents.waiting.len() as u64, "batch"),
        Count(sum(|batch| batch.header.records), "record"),
        sum(|batch| batch.header.rejected),
        format_bytes(bytes),
        format_bytes(config.spool.max_bytes),
    )?;
    for (reader, backlog) in readers.iter().zip(backlog) {
        let checkpoint = match reader.checkpoint {
            Some(sequence) => format!("checkpoint at batch {sequence}"),
            None => String::from("no checkpoint yet"),
        };
        writeln!(out, "{}: backlog of {}, {checkpoint}", reader.name, Count(backlog, "batch"))?;
    }
    out.flush()?;
    Ok(())
}

/// Decodes every batch and reports damaged and unknown files.
///
/// # Errors
/// Also if a file is damaged or unknown.
pub fn verify(config: &Config, is_json: bool, out: &mut dyn Write) -> Result<(), Fatal> {
    let survey = ReadOnlySpool::new(&config.spool.dir);
    let contents = contents(&survey)?;
    let (mut whole, mut inflated, mut gone) = (0_u64, 0_u64, 0_u64);
    let mut problems = Vec::new();
    for (name, why) in &contents.foreign {
        problems
            .push((name.clone(), format!("{why}: the daemon moves it to set-aside at startup")));
    }
    let text = if is_json { &mut io::sink() } else { &mut *out };
    for (name, problem) in &problems {
        writeln!(text, "{name}: {problem}")?;
    }
    for name in &contents.unfinished {
        writeln!(text, "{name}: unfinished: an upload in progress or aborted, not acknowledged")?;
    }
    for entry in &contents.waiting {
        match survey.verify(&entry.batch) {
            FileCondition::Intact { inflated_bytes } => {
                whole += 1;
                inflated += inflated_bytes;
            }
            FileCondition::Missing => gone += 1,
            FileCondition::Damaged(what) => {
                let (name, problem) = (entry.batch.file_name(), format!("damaged: {what}"));
                writeln!(text, "{name}: {problem}")?;
                problems.push((name, problem));
            }
        }
    }
    let bad = problems.len() as u64;
    write!(text, "{} intact ({} inflated)", Count(whole, "file"), format_bytes(inflated))?;
    write!(text, ", {bad} damaged, {} unfinished", contents.unfinished.len())?;
    writeln!(text, "{}", delivered(gone))?;
    let unusable = std::fs::read_dir(survey.unusable_files()).map_or(0, Iterator::count) as u64;
    if unusable > 0 {
        let folder = survey.unusable_files();
        writeln!(text, "{} in {}", Count(unusable, "file"), folder.display())?;
    }
    if is_json {
        let problems =
            problems.iter().map(|(file, problem)| json!({ "file": file, "problem": problem }));
        let whole = json!({
            "whole": whole,
            "inflated_bytes": inflated,
            "delivered_meanwhile": gone,
            "unfinished": contents.unfinished,
            "set_aside": unusable,
            "problems": problems.collect::<Vec<_>>(),
        });
        super::json::write(out, &whole)?;
    }
    out.flush()?;
    if bad > 0 {
        let folder = survey.batches();
        return Err(Fatal::Io(format!(
            "{} in {} damaged, listed above: the daemon delivers the readable records of a damaged batch and \
             keeps a copy in {}; check the disk, and which program wrote to the directory",
            Count(bad, "file"),
            folder.display(),
            survey.unusable_files().display(),
        )));
    }
    Ok(())
}

fn delivered(gone: u64) -> String {
    if gone > 0 { format!(", {gone} delivered meanwhile") } else { String::new() }
}

fn contents(survey: &ReadOnlySpool) -> Result<SpoolContents, Fatal> {
    survey.contents().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Fatal::Io(format!("{error}: check spool.dir; no daemon has run with it yet"))
        }
        io::ErrorKind::PermissionDenied => {
            Fatal::Io(format!("{error}: run this command as the daemon's user"))
        }
        _ => error.into(),
    })
}

fn readers(config: &Config, survey: &ReadOnlySpool) -> Result<Vec<SpoolReader>, Fatal> {
    let cursors = survey.cursors();
    let reader = |name: &str, consumer: Consumer| {
        let checkpoint = delivery::last_batch(&cursors, &consumer.name)?;
        Ok(SpoolReader { name: name.to_owned(), consumer, checkpoint })
    };
    config
        .sinks
        .iter()
        .map(|sink| reader(&sink.name, delivery::sink_consumer(config, sink)))
        .chain([reader("quarantine", delivery::quarantine_consumer())])
        .collect()
}
