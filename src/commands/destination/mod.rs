//! `logpushd destination`: what to write into a Logpush job for each endpoint, and how to try it.

mod curl;
mod place;
#[cfg(test)]
mod tests;

use std::io::Write;

use serde::Serialize;

use self::place::Place;
use super::{json, secret};
use crate::{
    cli::Destinations,
    cloudflare::datasets,
    config::{Config, Endpoint, PathPattern, Protocol},
    destination::{Destination, Parsed, Scheme, Verification},
    fatal::Fatal,
};

/// In place of `{dataset}` if nobody says which.
const EXAMPLE: &str = "http_requests";

/// What Cloudflare demands of a `splunk://` destination. It wants any GUID for the channel, which
/// nobody looks at here.
const SPLUNK_PARAMETERS: &str = "channel=00000000-0000-4000-8000-000000000000\
    &insecure-skip-verify=false&sourcetype=cloudflare:json";

/// One endpoint and dataset.
#[derive(Debug, Serialize)]
struct Entry {
    endpoint: String,
    dataset: String,
    destination_conf: String,
    curl: String,
    /// What is doubtful about it.
    warnings: Vec<String>,
    /// Nobody asked for this dataset.
    #[serde(skip)]
    is_example: bool,
}

/// Prints them.
///
/// # Errors
/// There is no name or port to write, a secret cannot be read, or Cloudflare would refuse the text.
pub fn run(config: &Config, options: &Destinations, out: &mut dyn Write) -> Result<(), Fatal> {
    let entries = entries(config, options)?;
    if options.json {
        #[derive(Serialize)]
        struct Whole<'a> {
            destinations: &'a [Entry],
        }
        let whole = Whole { destinations: &entries };
        return Ok(json::write(out, &whole)?);
    }
    let mut separator = "";
    for entry in &entries {
        let Entry { endpoint, dataset, destination_conf, curl, warnings, is_example } = entry;
        let example =
            if *is_example { " (an example: --dataset NAME writes another one)" } else { "" };
        writeln!(out, "{separator}# endpoint {endpoint}, dataset {dataset}{example}")?;
        for warning in warnings {
            writeln!(out, "# mind: {warning}")?;
        }
        writeln!(out, "{destination_conf}\n# to try it:\n{curl}")?;
        separator = "\n";
    }
    Ok(())
}

/// The endpoint of that name.
///
/// # Errors
/// There is none.
pub fn endpoint<'a>(config: &'a Config, name: &str) -> Result<&'a Endpoint, Fatal> {
    let found = config.endpoints.iter().find(|known| known.name == name);
    found.ok_or_else(|| no_endpoint(config, name))
}

/// The `destination_conf` for one endpoint and dataset, and what is doubtful about it.
///
/// # Errors
/// As [`run`]; the endpoint does not have the dataset.
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
    let place = Place::of(config, host)?;
    let (text, mut warnings) = written(&destination(endpoint, path, &place)?, name)?;
    warnings.splice(0..0, place.warnings);
    Ok((text, warnings))
}

fn entries(config: &Config, options: &Destinations) -> Result<Vec<Entry>, Fatal> {
    let place = Place::of(config, options.host.as_deref())?;
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
                    "`{}` is not the name of a dataset: it is 1 to 64 of a-z, 0-9 and _",
                    dataset.escape_debug()
                )));
            };
            let destination = destination(endpoint, path, &place)?;
            let (destination_conf, mut warnings) = written(&destination, &endpoint.name)?;
            warnings.splice(0..0, place.warnings.clone());
            if matches!(endpoint.path, PathPattern::Dataset { .. }) {
                warnings.extend(datasets::check_name(&dataset));
                if !endpoint.datasets.is_empty() && !endpoint.datasets.contains(&dataset) {
                    warnings.push(format!(
                        "endpoint {} answers 404: {dataset} is not in its `datasets`",
                        endpoint.name
                    ));
                }
            }
            entries.push(Entry {
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
            "no endpoint takes the dataset {}: leave --dataset out to see what there is",
            options.dataset.join(", ")
        ))),
        (_, false) => Ok(entries),
    }
}

fn no_endpoint(config: &Config, name: &str) -> Fatal {
    let known: Vec<_> = config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    let (name, known) = (name.escape_debug(), known.join(", "));
    Fatal::Usage(format!("there is no endpoint `{name}`: the configuration has {known}"))
}

/// How the endpoint is to be pushed to.
fn destination(endpoint: &Endpoint, path: String, place: &Place) -> Result<Destination, Fatal> {
    let (scheme, path_and_query) = match endpoint.protocol {
        Protocol::Logpush => (Scheme::Https, path),
        Protocol::SplunkHec => (Scheme::Splunk, format!("{path}?{SPLUNK_PARAMETERS}")),
    };
    Ok(Destination {
        scheme,
        server: place.server.clone(),
        path_and_query,
        headers: secret::header(endpoint).map_err(Fatal::Io)?.into_iter().collect(),
        verification: Verification::Required,
    })
}

/// Its text, and what is doubtful about it.
fn written(destination: &Destination, endpoint: &str) -> Result<(String, Vec<String>), Fatal> {
    let refused = |problems| {
        Fatal::Config(format!("Cloudflare refuses what endpoint {endpoint} needs: {problems}"))
    };
    let text = destination.encode().map_err(refused)?;
    let Parsed { warnings, .. } = Destination::parse(&text).map_err(refused)?;
    let warnings =
        warnings.iter().map(|warning| format!("{}: {}", warning.message, warning.advice));
    Ok((text, warnings.collect()))
}
