//! `logpushd spool list` and `logpushd spool verify`: what waits, for which sink, and whether it is
//! whole.

use std::io::{BufWriter, Write};

use super::{
    Count, seconds,
    table::{self, Align},
};
use crate::{
    config::{Config, format_bytes},
    delivery,
    fatal::Fatal,
    spool::{Batch, Condition, Consumer, Contents, Survey},
};

/// A consumer, and how far it is.
struct Reader {
    /// As people know it.
    name: String,
    consumer: Consumer,
    /// The last batch that it is done with, if it has a checkpoint.
    checkpoint: Option<u64>,
}

impl Reader {
    fn waits_for(&self, batch: &Batch) -> bool {
        batch.sequence > self.checkpoint.unwrap_or(0) && (self.consumer.wants)(batch)
    }
}

/// Lists the batches that wait, then the totals and how far each sink is.
pub fn list(config: &Config, out: &mut dyn Write) -> Result<(), Fatal> {
    let survey = Survey::new(&config.spool.dir);
    // The cursors after the batches: what a sink takes meanwhile shows as taken.
    let contents = contents(&survey)?;
    let readers = readers(config, &survey)?;
    let mut out = BufWriter::new(out);
    let mut lacking = vec![0_u64; readers.len()];
    let mut rows = Vec::with_capacity(contents.waiting.len());
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
        rows.push([
            batch.sequence.to_string(),
            seconds(header.received).to_string(),
            header.endpoint.clone(),
            header.dataset.clone(),
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
    table::write(&mut out, columns, &rows)?;

    let sum = |what: fn(&Batch) -> u64| contents.waiting.iter().map(|e| what(&e.batch)).sum();
    let bytes: u64 = contents.waiting.iter().map(crate::spool::Entry::bytes).sum();
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
pub fn verify(config: &Config, out: &mut dyn Write) -> Result<(), Fatal> {
    let survey = Survey::new(&config.spool.dir);
    let contents = contents(&survey)?;
    let (mut whole, mut inflated, mut gone) = (0_u64, 0_u64, 0_u64);
    let mut bad = contents.foreign.len() as u64;
    for (name, why) in &contents.foreign {
        writeln!(out, "{name}: {why}: the daemon sets it aside when it starts")?;
    }
    for name in &contents.unfinished {
        writeln!(out, "{name}: unfinished: an upload under way, or cut off; not acknowledged")?;
    }
    for entry in &contents.waiting {
        match survey.verify(&entry.batch) {
            Condition::Whole { inflated_bytes } => {
                whole += 1;
                inflated += inflated_bytes;
            }
            Condition::Gone => gone += 1,
            Condition::Damaged(what) => {
                bad += 1;
                writeln!(out, "{}: damaged: {what}", entry.batch.file_name())?;
            }
        }
    }
    write!(out, "{} whole ({} inflated)", Count(whole, "file"), format_bytes(inflated))?;
    write!(out, ", {bad} not whole, {} unfinished", contents.unfinished.len())?;
    writeln!(out, "{}", delivered(gone))?;
    let set_aside = std::fs::read_dir(survey.set_aside()).map_or(0, Iterator::count) as u64;
    if set_aside > 0 {
        let folder = survey.set_aside();
        writeln!(out, "{} in {}", Count(set_aside, "file"), folder.display())?;
    }
    out.flush()?;
    if bad > 0 {
        let folder = survey.batches();
        return Err(Fatal::Io(format!(
            "{} in {} not whole: see above. The daemon delivers what is readable of a damaged batch and \
             keeps a copy in {}; look for what wrote there, and at the disk",
            Count(bad, "file"),
            folder.display(),
            survey.set_aside().display(),
        )));
    }
    Ok(())
}

fn delivered(gone: u64) -> String {
    if gone > 0 { format!(", {gone} delivered meanwhile") } else { String::new() }
}

fn contents(survey: &Survey) -> Result<Contents, Fatal> {
    survey.contents().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Fatal::Io(format!(
            "{error}: no daemon has run yet with this spool.dir, or the file names another one"
        )),
        std::io::ErrorKind::PermissionDenied => {
            Fatal::Io(format!("{error}: run this as the daemon's user"))
        }
        _ => error.into(),
    })
}

fn readers(config: &Config, survey: &Survey) -> Result<Vec<Reader>, Fatal> {
    let cursors = survey.cursors();
    let reader = |name: &str, consumer: Consumer| {
        let checkpoint = delivery::last_batch(&cursors, &consumer.name)?;
        Ok(Reader { name: name.to_owned(), consumer, checkpoint })
    };
    config
        .sinks
        .iter()
        .map(|sink| reader(&sink.name, delivery::sink_consumer(config, sink)))
        .chain([reader("quarantine", delivery::quarantine_consumer())])
        .collect()
}
