//! From options to members of a job.

use std::path::Path;

use serde_json::{Map, Value};

use super::session::read_text;
use crate::{
    cli::job::{Destination, Named, Settings},
    cloudflare::{destination, filter as filters},
    commands, config,
    fatal::Fatal,
};

/// The destination that is named, if one is. `dataset`: for an endpoint that takes several.
pub(super) fn destination(
    options: &Destination,
    dataset: Option<&str>,
    problems: &mut Vec<String>,
) -> Result<Option<String>, Fatal> {
    let text = match &options.named {
        Named { text: Some(text), .. } => text.clone(),
        Named { file: Some(file), .. } => read_text(file)?,
        Named { endpoint: Some(endpoint), .. } => {
            let Some(dataset) = dataset else {
                problems.push("--endpoint: say --dataset, which is a part of its path".to_owned());
                return Ok(None);
            };
            let config = config::load(&options.config.path)
                .map_err(|found| Fatal::Config(found.to_string()))?;
            // What is doubtful about it is for `logpushd destination` to say.
            let host = options.host.as_deref();
            commands::destination::of_endpoint(&config, endpoint, dataset, host)?.0
        }
        Named { .. } => return Ok(None),
    };
    let text = text.trim().to_owned();
    problems.extend(destination::check(&text).err());
    Ok(Some(text))
}

/// A filter as it is sent: from the command line, or from a file behind `@`.
pub(super) fn filter(text: &str, problems: &mut Vec<String>) -> Result<Option<String>, Fatal> {
    let (text, from) = match text.strip_prefix('@') {
        Some(file) => (read_text(Path::new(file))?, file),
        None => (text.to_owned(), "--filter"),
    };
    match filters::parse(&text) {
        Ok(filter) => Ok(Some(filter)),
        Err(problem) => {
            problems.push(format!("{from}: {problem}"));
            Ok(None)
        }
    }
}

/// Everything but the destination and `output_options`.
pub(super) fn changes(
    settings: &Settings,
    problems: &mut Vec<String>,
) -> Result<Map<String, Value>, Fatal> {
    let mut job = Map::new();
    if let Some(name) = &settings.name {
        job.insert("name".into(), name.as_str().into());
    }
    if let Some(text) = &settings.filter
        && let Some(filter) = filter(text, problems)?
    {
        job.insert("filter".into(), filter.into());
    }
    for (name, value) in [
        ("max_upload_bytes", settings.max_upload_bytes),
        ("max_upload_records", settings.max_upload_records),
        ("max_upload_interval_seconds", settings.max_upload_interval),
    ] {
        if let Some(value) = value {
            job.insert(name.into(), value.into());
        }
    }
    Ok(job)
}
