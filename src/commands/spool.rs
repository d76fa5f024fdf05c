//! `logpushd spool list` and `logpushd spool verify`: what waits, for which sink, and whether it is
//! whole.

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

/// A consumer, and how far it is.
struct SpoolReader {
    /// As people know it.
    name: String,
    consumer: Consumer,
    /// The last batch that it is done with, if it has a checkpoint.
    checkpoint: Option<u64>,
}

impl SpoolReader {
    fn waits_for(&self, batch: &Batch) -> bool {
        batch.sequence > self.checkpoint.unwrap_or(0) && (self.consumer.accepts)(batch)
    }
}

/// Lists the batches that wait, then the totals and how far each sink is.
pub fn list(config: &Config, is_json: bool, out: &mut dyn Write) -> Result<(), Fatal> {
    let survey = ReadOnlySpool::new(&config.spool.dir);
    // The cursors after the batches: what a sink takes meanwhile shows as taken.
    let contents = contents(&survey)?;
    let readers = readers(config, &survey)?;
    let mut out = BufWriter::new(out);
    let mut lacking = vec![0_u64; readers.len()];
    let mut rows = Vec::with_capacity(contents.waiting.len());
    let mut batches = Vec::new();
    for entry in &contents.waiting {
        let batch = &entry.batch;
        let mut waits_for = Vec::new();
        for (reader, lacking) in readers.iter().zip(&mut lacking) {
            if reader.waits_for(batch) {
                *lacking += 1;
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
                "sink": origin.sink,
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
        let sinks = readers.iter().zip(&lacking).map(|(reader, lacking)| {
            json!({ "name": reader.name, "behind": lacking, "checkpoint": reader.checkpoint })
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
    for (reader, lacking) in readers.iter().zip(lacking) {
        let place = match reader.checkpoint {
            Some(sequence) => format!("its checkpoint is batch {sequence}"),
            None => String::from("it has no checkpoint yet"),
        };
        writeln!(out, "{} lacks {}; {place}", reader.name, Count(lacking, "batch"))?;
    }
    out.flush()?;
    Ok(())
}

/// Decodes every file and names those that are not what they should be.
///
/// # Errors
/// Also if a file is not whole.
pub fn verify(config: &Config, is_json: bool, out: &mut dyn Write) -> Result<(), Fatal> {
    let survey = ReadOnlySpool::new(&config.spool.dir);
    let contents = contents(&survey)?;
    let (mut whole, mut inflated, mut gone) = (0_u64, 0_u64, 0_u64);
    let mut problems = Vec::new();
    for (name, why) in &contents.foreign {
        problems.push((name.clone(), format!("{why}: the daemon sets it aside when it starts")));
    }
    let text = if is_json { &mut io::sink() } else { &mut *out };
    for (name, problem) in &problems {
        writeln!(text, "{name}: {problem}")?;
    }
    for name in &contents.unfinished {
        writeln!(text, "{name}: unfinished: an upload under way, or cut off; not acknowledged")?;
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
    write!(text, "{} whole ({} inflated)", Count(whole, "file"), format_bytes(inflated))?;
    write!(text, ", {bad} not whole, {} unfinished", contents.unfinished.len())?;
    writeln!(text, "{}", delivered(gone))?;
    let set_aside = std::fs::read_dir(survey.unusable_files()).map_or(0, Iterator::count) as u64;
    if set_aside > 0 {
        let folder = survey.unusable_files();
        writeln!(text, "{} in {}", Count(set_aside, "file"), folder.display())?;
    }
    if is_json {
        let problems =
            problems.iter().map(|(file, problem)| json!({ "file": file, "problem": problem }));
        let whole = json!({
            "whole": whole,
            "inflated_bytes": inflated,
            "delivered_meanwhile": gone,
            "unfinished": contents.unfinished,
            "set_aside": set_aside,
            "problems": problems.collect::<Vec<_>>(),
        });
        super::json::write(out, &whole)?;
    }
    out.flush()?;
    if bad > 0 {
        let folder = survey.batches();
        return Err(Fatal::Io(format!(
            "{} in {} not whole: see above. The daemon delivers what is readable of a damaged batch and \
             keeps a copy in {}; look for what wrote there, and at the disk",
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
        io::ErrorKind::NotFound => Fatal::Io(format!(
            "{error}: no daemon has run yet with this spool.dir, or the file names another one"
        )),
        io::ErrorKind::PermissionDenied => {
            Fatal::Io(format!("{error}: run this as the daemon's user"))
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
