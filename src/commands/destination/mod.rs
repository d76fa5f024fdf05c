//! `logpushd destination`: prints the destination of a Logpush job for each endpoint, and a test of
//! it.

mod curl;
mod public_address;
#[cfg(test)]
mod tests;

use std::io::Write;

use serde::Serialize;

use self::public_address::PublicAddress;
use super::{json, secret};
use crate::{
    cli::Destinations,
    cloudflare::datasets,
    config::{Config, Endpoint, PathPattern, Protocol},
    destination::{Destination, Parsed, Scheme, Verification},
    fatal::Fatal,
};

/// The dataset of the example for a path with `{dataset}`.
const EXAMPLE: &str = "http_requests";

/// The parameters that Cloudflare requires in a `splunk://` destination. The channel can be any
/// GUID; logpushd ignores it.
const SPLUNK_PARAMETERS: &str = "channel=00000000-0000-4000-8000-000000000000\
    &insecure-skip-verify=false&sourcetype=cloudflare:json";

/// The destination of one endpoint and dataset.
#[derive(Debug, Serialize)]
struct DestinationEntry {
    endpoint: String,
    dataset: String,
    destination_conf: String,
    curl: String,
    /// Reasons why it may not work.
    warnings: Vec<String>,
    /// Whether the dataset is only an example.
    #[serde(skip)]
    is_example: bool,
}

/// Prints the destinations that `options` select.
///
/// # Errors The public name or port is unknown, a secret cannot be read, or Cloudflare refuses such
///   a destination.
pub fn run(config: &Config, options: &Destinations, out: &mut dyn Write) -> Result<(), Fatal> {
    let entries = entries(config, options)?;
    if options.json {
        #[derive(Serialize)]
        struct DestinationsJson<'a> {
            destinations: &'a [DestinationEntry],
        }
        return Ok(json::write(out, &DestinationsJson { destinations: &entries })?);
    }
    let mut separator = "";
    for entry in &entries {
        let DestinationEntry { endpoint, dataset, destination_conf, curl, warnings, is_example } =
            entry;
        let example =
            if *is_example { " (an example: choose another one with --dataset NAME)" } else { "" };
        writeln!(out, "{separator}# endpoint {endpoint}, dataset {dataset}{example}")?;
        for warning in warnings {
            writeln!(out, "# warning: {warning}")?;
        }
        writeln!(out, "{destination_conf}\n# test it:\n{curl}")?;
        separator = "\n";
    }
    Ok(())
}

/// Returns the endpoint called `name`.
///
/// # Errors
/// The configuration does not have it.
pub fn endpoint<'a>(config: &'a Config, name: &str) -> Result<&'a Endpoint, Fatal> {
    let found = config.endpoints.iter().find(|known| known.name == name);
    found.ok_or_else(|| no_endpoint(config, name))
}

/// Returns the `destination_conf` of one endpoint and dataset, and warnings about it.
///
/// # Errors
/// As [`run`]. Also if the endpoint does not have the dataset.
pub fn of_endpoint(
    config: &Config,
    endpoint: &Endpoint,
    dataset: &str,
    host: Option<&str>,
) -> Result<(String, Vec<String>), Fatal> {
    let name = &endpoint.name;
    let Some(path) = endpoint.path.path_of(dataset) else {
        return Err(Fatal::Config(format!("endpoint {name} has no dataset `{dataset}`")));
    };
    let address = PublicAddress::of(config, host)?;
    let (text, mut warnings) = encode(&destination(endpoint, path, &address)?, name)?;
    warnings.splice(0..0, address.warnings);
    Ok((text, warnings))
}

fn entries(config: &Config, options: &Destinations) -> Result<Vec<DestinationEntry>, Fatal> {
    let address = PublicAddress::of(config, options.host.as_deref())?;
    let wanted =
        |endpoint: &&Endpoint| options.endpoint.as_ref().is_none_or(|name| *name == endpoint.name);
    let mut entries = Vec::new();
    for endpoint in config.endpoints.iter().filter(wanted) {
        let datasets = match &endpoint.path {
            PathPattern::Fixed { dataset, .. } | PathPattern::Prefix { dataset, .. } => {
                vec![dataset.clone()]
            }
            PathPattern::Dataset { .. } if options.dataset.is_empty() => {
                vec![endpoint.datasets.first().map_or(EXAMPLE, String::as_str).to_owned()]
            }
            PathPattern::Dataset { .. } => options.dataset.clone(),
        };
        for dataset in datasets {
            if !options.dataset.is_empty() && !options.dataset.contains(&dataset) {
                continue;
            }
            let Some(path) = endpoint.path.path_of(&dataset) else {
                return Err(Fatal::Usage(format!(
                    "`{}` is not a dataset name: use 1 to 64 of a-z, 0-9 and _",
                    dataset.escape_debug()
                )));
            };
            let destination = destination(endpoint, path, &address)?;
            let (destination_conf, mut warnings) = encode(&destination, &endpoint.name)?;
            warnings.splice(0..0, address.warnings.clone());
            if matches!(endpoint.path, PathPattern::Dataset { .. }) {
                warnings.extend(datasets::check_name(&dataset));
                if !endpoint.datasets.is_empty() && !endpoint.datasets.contains(&dataset) {
                    warnings.push(format!(
                        "endpoint {} answers 404: {dataset} is not in its `datasets`",
                        endpoint.name
                    ));
                }
            }
            entries.push(DestinationEntry {
                endpoint: endpoint.name.clone(),
                curl: curl::call(&destination, endpoint, &config.server.tls),
                is_example: options.dataset.is_empty()
                    && matches!(endpoint.path, PathPattern::Dataset { .. }),
                dataset,
                destination_conf,
                warnings,
            });
        }
    }
    match (&options.endpoint, entries.is_empty()) {
        (Some(name), true) if !config.endpoints.iter().any(|known| known.name == *name) => {
            Err(no_endpoint(config, name))
        }
        (_, true) => Err(Fatal::Usage(format!(
            "no endpoint takes the dataset {}: omit --dataset to list all endpoints",
            options.dataset.join(", ")
        ))),
        (_, false) => Ok(entries),
    }
}

fn no_endpoint(config: &Config, name: &str) -> Fatal {
    let known: Vec<_> = config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    let (name, known) = (name.escape_debug(), known.join(", "));
    Fatal::Usage(format!("no endpoint `{name}`: the configuration has {known}"))
}

/// Returns the destination for an endpoint and one of its paths.
fn destination(
    endpoint: &Endpoint,
    path: String,
    address: &PublicAddress,
) -> Result<Destination, Fatal> {
    let (scheme, path_and_query) = match endpoint.protocol {
        Protocol::Logpush => (Scheme::Https, path),
        Protocol::SplunkHec => (Scheme::Splunk, format!("{path}?{SPLUNK_PARAMETERS}")),
    };
    Ok(Destination {
        scheme,
        server: address.server.clone(),
        path_and_query,
        headers: secret::header(endpoint).map_err(Fatal::Io)?.into_iter().collect(),
        verification: Verification::Required,
    })
}

/// Encodes a destination, and returns the text with warnings about it.
fn encode(destination: &Destination, endpoint: &str) -> Result<(String, Vec<String>), Fatal> {
    let refused = |problems| {
        Fatal::Config(format!(
            "Cloudflare refuses the destination of endpoint {endpoint}: {problems}"
        ))
    };
    let text = destination.encode().map_err(refused)?;
    let Parsed { warnings, .. } = Destination::parse(&text).map_err(refused)?;
    let warnings =
        warnings.iter().map(|warning| format!("{}: {}", warning.message, warning.advice));
    Ok((text, warnings.collect()))
}
