//! From options to members of a job.

use std::io::{self, Write};

use command::fatal::Fatal;
use serde_json::{Map, Value};

use super::{
    endpoint::{Endpoint, EndpointQuery, FindEndpoint},
    options::{Destination, Named, Settings},
};
use crate::{
    api::{Scope, datasets, destination, filter as filters, limits},
    argument,
};

/// The destination that is named, if one is, and the endpoint if it is named by one. `dataset`: for an
/// endpoint that takes several.
pub(super) fn destination(
    options: &Destination,
    dataset: Option<&str>,
    find: &FindEndpoint,
    problems: &mut Vec<String>,
) -> Result<(Option<String>, Option<Endpoint>), Fatal> {
    let mut found = None;
    let text = match &options.named {
        Named { text: Some(text), .. } => argument::text(text)?,
        Named { file: Some(file), .. } => argument::from_file(file)?,
        Named { endpoint: Some(endpoint), .. } => {
            let Some(dataset) = dataset else {
                problems.push("--endpoint: say --dataset, which is a part of its path".to_owned());
                return Ok((None, None));
            };
            let query = EndpointQuery {
                config: &options.config.path,
                name: endpoint,
                dataset,
                host: options.host.as_deref(),
            };
            found.insert(find(&query)?).destination_conf.clone()
        }
        Named { .. } => return Ok((None, None)),
    };
    let text = text.trim().to_owned();
    problems.extend(destination::check(&text).err());
    Ok((Some(text), found))
}

/// A filter as it is sent.
pub(super) fn filter(
    text: &str,
    dataset: Option<&str>,
    problems: &mut Vec<String>,
) -> Result<Option<String>, Fatal> {
    let from = text.strip_prefix('@').unwrap_or("--filter");
    let text = argument::text(text)?;
    match filters::parse(&text, dataset) {
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
    dataset: Option<&str>,
    problems: &mut Vec<String>,
) -> Result<Map<String, Value>, Fatal> {
    let mut job = Map::new();
    if let Some(name) = &settings.name {
        job.insert("name".into(), name.as_str().into());
    }
    if let Some(text) = &settings.filter
        && let Some(filter) = filter(text, dataset, problems)?
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

/// What Cloudflare may refuse.
#[derive(Debug, Default)]
pub(super) struct Doubts(Vec<String>);

impl Doubts {
    pub(super) fn of(dataset: Option<&str>, settings: Option<&Settings>, scope: &Scope) -> Self {
        let dataset = dataset.and_then(|dataset| datasets::doubt_in(dataset, scope));
        let name = settings.and_then(|settings| settings.name.as_deref());
        Self(dataset.into_iter().chain(name.and_then(limits::job_name_doubt)).collect())
    }

    /// In a dry run nobody else says it.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        self.0.iter().try_for_each(|doubt| writeln!(out, "warning: {doubt}"))
    }

    /// A refusal of the API with what may be its cause.
    pub(super) fn explain(&self, fatal: Fatal) -> Fatal {
        match fatal {
            Fatal::Unavailable(text) => {
                let doubts = self.0.iter().map(|doubt| format!("\n  {doubt}"));
                Fatal::Unavailable(doubts.fold(text, |text, doubt| text + &doubt))
            }
            fatal => fatal,
        }
    }
}
