//! `logpushd job`, for the endpoints of a configuration of this machine.

use std::io::Write;

use cloudflare::job::{self, EndpointQuery, JobCommand, JobEndpoint};

use super::destination;
use crate::{config, fatal::Fatal};

/// Does what `command` says.
///
/// # Errors
/// As [`job::run`]; `--endpoint` names nothing that the configuration has.
pub fn run(command: &JobCommand, out: &mut dyn Write) -> Result<(), Fatal> {
    job::run(command, &find, out)
}

fn find(query: &EndpointQuery<'_>) -> Result<JobEndpoint, Fatal> {
    let config = config::load(query.config).map_err(|found| Fatal::Config(found.to_string()))?;
    let endpoint = destination::endpoint(&config, query.name)?;
    // What is doubtful about it is for `logpushd destination` to say.
    let (destination_conf, _) =
        destination::of_endpoint(&config, endpoint, query.dataset, query.host)?;
    Ok(JobEndpoint {
        name: endpoint.name.clone(),
        destination_conf,
        format: endpoint.format,
        columns: endpoint.columns.clone(),
    })
}
