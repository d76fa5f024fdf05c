//! A job in words.

use std::io::{self, Write};

use jiff::Timestamp;
use serde_json::Value;

use super::session::Session;
use crate::api::{
    destination::{cleaned, printable},
    health::{self, Ago, State},
    job::Job,
};

/// Lines of a name and a text, one below the other.
struct Lines<'a>(&'a mut dyn Write);

impl Lines<'_> {
    fn add(&mut self, name: &str, text: &str) -> io::Result<()> {
        if text.is_empty() { Ok(()) } else { writeln!(self.0, "  {name:<18}{text}") }
    }
}

/// Writes how the job is doing, then what it is.
pub(super) fn write(
    session: &Session<'_>,
    job: &Job,
    now: Timestamp,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Job { id, dataset, name, .. } = job;
    let state = State::of(job, now);
    let enable = format!("logpushd job enable {id} {}", session.scope.option());
    let name = if name.is_empty() { String::new() } else { format!(" \"{}\"", printable(name)) };
    writeln!(out, "job {id}{name}: {}", state.word())?;
    writeln!(out, "  {}", state.explanation(&enable))?;
    let mut lines = Lines(out);
    lines.add("last delivery", &ago(job.last_complete, now, "never"))?;
    if job.is_failing() {
        let message = cleaned(&job.error_message, &job.destination_conf);
        lines.add("last failure", &ago(job.last_error, now, "at a time that is not said"))?;
        lines.add("in their words", &message)?;
        lines.add("that is", health::advice(&job.error_message).unwrap_or_default())?;
    }
    lines.add("dataset", &printable(dataset))?;
    lines.add("kind", &printable(&job.kind))?;
    lines.add("destination", &session.shown(&job.destination_conf))?;
    lines.add("filter", &printable(&job.filter))?;
    lines.add("batches", &batches(job))?;
    for (name, value) in &job.output_options {
        lines.add(&printable(name), &plain(value))?;
    }
    lines.add("logpull_options", &printable(&job.logpull_options))
}

fn ago(time: Option<Timestamp>, now: Timestamp, none: &str) -> String {
    time.map_or_else(|| none.to_owned(), |time| format!("{time}, {}", Ago { now, time }))
}

/// The limits that are set.
fn batches(job: &Job) -> String {
    let mut limits = Vec::new();
    if job.max_upload_bytes > 0 {
        limits.push(format!("{} bytes inflated", job.max_upload_bytes));
    }
    if job.max_upload_records > 0 {
        limits.push(format!("{} records", job.max_upload_records));
    }
    if job.max_upload_interval_seconds > 0 {
        limits.push(format!("{} s", job.max_upload_interval_seconds));
    }
    if limits.is_empty() { String::new() } else { format!("at most {}", limits.join(", ")) }
}

/// A value on one line; a list without its brackets.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Array(values) => {
            let names: Vec<_> = values.iter().map(plain).collect();
            format!("{}: {}", names.len(), names.join(","))
        }
        Value::String(text) => text.escape_debug().to_string(),
        value => value.to_string(),
    }
}
