//! `logpushd job`, with the endpoints of a local configuration.

use std::io::Write;

use cloudflare::job::{self, EndpointQuery, JobCommand, JobEndpoint};

use super::destination;
use crate::{config, fatal::Fatal};

/// Runs a subcommand of `logpushd job`.
///
/// # Errors
/// As [`job::run`]. Also if the configuration does not have the endpoint of `--endpoint`.
pub fn run(command: &JobCommand, out: &mut dyn Write) -> Result<(), Fatal> {
    job::run(command, &find, out)
}

fn find(query: &EndpointQuery<'_>) -> Result<JobEndpoint, Fatal> {
    let config = config::load(query.config).map_err(|found| Fatal::Config(found.to_string()))?;
    let endpoint = destination::endpoint(&config, query.name)?;
    // `logpushd destination` prints the warnings.
    let (destination_conf, _) =
        destination::of_endpoint(&config, endpoint, query.dataset, query.host)?;
    Ok(JobEndpoint {
        name: endpoint.name.clone(),
        destination_conf,
        format: endpoint.format,
        columns: endpoint.columns.clone(),
    })
}
