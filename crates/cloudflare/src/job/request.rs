//! Builds the members of a job from the command line.

use std::io::{self, Write};

use command::fatal::Fatal;
use serde_json::{Map, Value};

use super::{
    endpoint::{EndpointQuery, FindEndpoint, JobEndpoint},
    options::{DestinationOptions, DestinationSource, JobSettings},
};
use crate::{
    api::{Scope, datasets, destination, filter as filters, limits},
    argument,
};

/// Returns the destination from the options, if any, and the endpoint, if `--endpoint` selects one.
/// `dataset` fills in the path of the endpoint.
pub(super) fn destination(
    options: &DestinationOptions,
    dataset: Option<&str>,
    find: &FindEndpoint,
    problems: &mut Vec<String>,
) -> Result<(Option<String>, Option<JobEndpoint>), Fatal> {
    let mut found = None;
    let text = match &options.source {
        DestinationSource { text: Some(text), .. } => argument::read(text)?,
        DestinationSource { file: Some(file), .. } => argument::read_file(file)?,
        DestinationSource { endpoint: Some(endpoint), .. } => {
            let Some(dataset) = dataset else {
                problems.push(
                    "--endpoint: add --dataset, which the endpoint's path contains".to_owned(),
                );
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
        DestinationSource { .. } => return Ok((None, None)),
    };
    let text = text.trim().to_owned();
    problems.extend(destination::check(&text).err());
    Ok((Some(text), found))
}

/// Reads and checks a filter.
pub(super) fn filter(
    text: &str,
    dataset: Option<&str>,
    problems: &mut Vec<String>,
) -> Result<Option<String>, Fatal> {
    let from = text.strip_prefix('@').unwrap_or("--filter");
    let text = argument::read(text)?;
    match filters::parse(&text, dataset) {
        Ok(filter) => Ok(Some(filter)),
        Err(problem) => {
            problems.push(format!("{from}: {problem}"));
            Ok(None)
        }
    }
}

/// Returns all members of the job except the destination and `output_options`.
pub(super) fn job_members(
    settings: &JobSettings,
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

/// Warnings about values that Cloudflare may refuse.
#[derive(Debug, Default)]
pub(super) struct Warnings(Vec<String>);

impl Warnings {
    pub(super) fn new(
        dataset: Option<&str>,
        settings: Option<&JobSettings>,
        scope: &Scope,
    ) -> Self {
        let dataset = dataset.and_then(|dataset| datasets::check_scope(dataset, scope));
        let name = settings.and_then(|settings| settings.name.as_deref());
        Self(dataset.into_iter().chain(name.and_then(limits::check_job_name)).collect())
    }

    /// Prints the warnings, for a dry run.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        self.0.iter().try_for_each(|warning| writeln!(out, "warning: {warning}"))
    }

    /// Adds the warnings to an error from the API, as its possible causes.
    pub(super) fn explain(&self, fatal: Fatal) -> Fatal {
        match fatal {
            Fatal::Unavailable(text) => {
                let warnings = self.0.iter().map(|warning| format!("\n  {warning}"));
                Fatal::Unavailable(warnings.fold(text, |text, warning| text + &warning))
            }
            fatal => fatal,
        }
    }
}
