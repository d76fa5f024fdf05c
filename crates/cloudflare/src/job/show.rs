//! Prints the state and the settings of a job.

use std::io::{self, Write};

use jiff::Timestamp;
use serde_json::Value;

use super::session::Session;
use crate::api::{
    destination::{printable, sanitize},
    health::{self, JobState, RelativeTime},
    job::Job,
};

/// Writes aligned lines of a name and a text.
struct DetailWriter<'a>(&'a mut dyn Write);

impl DetailWriter<'_> {
    fn add(&mut self, name: &str, text: &str) -> io::Result<()> {
        if text.is_empty() { Ok(()) } else { writeln!(self.0, "  {name:<18}{text}") }
    }
}

/// Writes the state of the job, then its settings.
pub(super) fn write(
    session: &Session<'_>,
    job: &Job,
    now: Timestamp,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Job { id, dataset, name, .. } = job;
    let state = JobState::from_job(job, now);
    let enable = format!("logpushd job enable {id} {}", session.scope.as_option());
    let name = if name.is_empty() { String::new() } else { format!(" \"{}\"", printable(name)) };
    writeln!(out, "job {id}{name}: {}", state.as_str())?;
    writeln!(out, "  {}", state.explanation(&enable))?;
    let mut details = DetailWriter(out);
    details.add("last delivery", &ago(job.last_complete, now, "never"))?;
    if job.is_failing() {
        let message = sanitize(&job.error_message, &job.destination_conf);
        details.add("last failure", &ago(job.last_error, now, "at an unknown time"))?;
        details.add("message", &message)?;
        details.add("explanation", health::advice(&job.error_message).unwrap_or_default())?;
    }
    details.add("dataset", &printable(dataset))?;
    details.add("kind", &printable(&job.kind))?;
    details.add("destination", &session.format_destination(&job.destination_conf))?;
    details.add("filter", &printable(&job.filter))?;
    details.add("batches", &batches(job))?;
    for (name, value) in &job.output_options {
        details.add(&printable(name), &plain(value))?;
    }
    details.add("logpull_options", &printable(&job.logpull_options))
}

fn ago(time: Option<Timestamp>, now: Timestamp, none: &str) -> String {
    time.map_or_else(|| none.to_owned(), |time| format!("{time}, {}", RelativeTime { now, time }))
}

/// Formats the batch limits that are set.
fn batches(job: &Job) -> String {
    let mut limits = Vec::new();
    if job.max_upload_bytes > 0 {
        limits.push(format!("{} bytes uncompressed", job.max_upload_bytes));
    }
    if job.max_upload_records > 0 {
        limits.push(format!("{} records", job.max_upload_records));
    }
    if job.max_upload_interval_seconds > 0 {
        limits.push(format!("{} s", job.max_upload_interval_seconds));
    }
    if limits.is_empty() { String::new() } else { format!("at most {}", limits.join(", ")) }
}

/// Formats a value on one line, and a list as its length and its items.
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
