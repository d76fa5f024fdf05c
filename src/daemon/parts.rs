//! Makes the daemon's parts from the configuration.

use std::{collections::HashMap, sync::Arc};

use super::Fatal;
use crate::{
    config::{Config, PathPattern},
    delivery::{Delivery, Wants},
    http::Intake,
    metrics::Metrics,
    quarantine::QuarantineSink,
    sink::{self, Sink},
    spool::Spool,
};

/// The checkpoint of quarantine; no sink's name begins like that.
const QUARANTINE: &str = "@quarantine";

pub(super) fn metrics(config: &Config) -> Metrics {
    let endpoints: Vec<_> = config.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
    let sinks: Vec<_> = config.sinks.iter().map(|sink| sink.name.clone()).collect();
    let datasets = config.endpoints.iter().filter_map(|endpoint| match &endpoint.path {
        PathPattern::Fixed { dataset, .. } => Some(dataset.clone()),
        PathPattern::Dataset { .. } => None,
    });
    Metrics::new(&endpoints, &sinks, &datasets.collect::<Vec<_>>(), &Intake::quarantine_reasons())
}

/// The consumers of the spool: the sinks in the order of the config, then quarantine.
pub(super) fn deliveries(
    config: &Config,
    spool: &Arc<Spool>,
    metrics: &Arc<Metrics>,
) -> Result<Vec<Delivery>, Fatal> {
    let by_endpoint: HashMap<_, _> = config
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.name.clone(), endpoint.sinks.clone()))
        .collect();
    let by_endpoint = Arc::new(by_endpoint);
    let mut deliveries = Vec::new();
    for (place, sink) in config.sinks.iter().enumerate() {
        let wants = Wants::Records(Arc::clone(&by_endpoint));
        let delivery = Delivery::new(
            sink.name.clone(),
            wants,
            Arc::clone(spool),
            (Arc::clone(metrics), place),
            |marks| sink::open(sink, marks),
        );
        deliveries.push(delivery.map_err(Fatal::Config)?);
    }
    let quarantine = Delivery::new(
        QUARANTINE.to_owned(),
        Wants::Rejects,
        Arc::clone(spool),
        (Arc::clone(metrics), config.sinks.len()),
        |marks| {
            let sink = QuarantineSink::open(&config.quarantine.dir, spool.batches(), marks)?;
            Ok(Box::new(sink) as Box<dyn Sink>)
        },
    );
    deliveries.push(quarantine.map_err(Fatal::Config)?);
    Ok(deliveries)
}
