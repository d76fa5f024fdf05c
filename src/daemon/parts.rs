//! Makes the daemon's parts from the configuration.

use std::{collections::HashSet, sync::Arc};

use super::Fatal;
use crate::{
    config::{Config, Endpoint, PathPattern, WhenFull},
    delivery::Delivery,
    http::Intake,
    metrics::Metrics,
    quarantine::QuarantineSink,
    sink::{self, Sink},
    spool::{Batch, Consumer, Spool, Wants},
};

/// The name of quarantine in its checkpoint, metrics and log; no sink's name begins like that.
const QUARANTINE: &str = "@quarantine";

pub(super) fn metrics(config: &Config) -> Metrics {
    let endpoints: Vec<_> = config.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
    // Quarantine holds the spool as sinks do: its errors and its lag must be seen.
    let sinks = config.sinks.iter().map(|sink| sink.name.clone());
    let sinks: Vec<_> = sinks.chain([QUARANTINE.to_owned()]).collect();
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
    let mut deliveries = Vec::new();
    for (place, sink) in config.sinks.iter().enumerate() {
        let consumer = Consumer {
            name: sink.name.clone(),
            wants: wants_records(&config.endpoints, &sink.name),
            when_full: sink.when_full,
        };
        let delivery =
            Delivery::new(consumer, Arc::clone(spool), (Arc::clone(metrics), place), |marks| {
                sink::open(sink, marks)
            });
        deliveries.push(delivery.map_err(Fatal::Config)?);
    }
    let consumer = Consumer {
        name: QUARANTINE.to_owned(),
        wants: Arc::new(|batch: &Batch| batch.header.rejected > 0),
        when_full: WhenFull::Block,
    };
    let place = config.sinks.len();
    let delivery =
        Delivery::new(consumer, Arc::clone(spool), (Arc::clone(metrics), place), |marks| {
            let sink = QuarantineSink::open(&config.quarantine.dir, spool.batches(), marks)?;
            Ok(Box::new(sink) as Box<dyn Sink>)
        });
    deliveries.push(delivery.map_err(Fatal::Config)?);
    deliveries.iter().for_each(Delivery::release_delivered);
    Ok(deliveries)
}

/// A sink takes the batches of the endpoints that name it, and of those that the config no longer has.
fn wants_records(endpoints: &[Endpoint], sink: &str) -> Wants {
    let without: HashSet<_> = endpoints
        .iter()
        .filter(|endpoint| !endpoint.sinks.iter().any(|name| name == sink))
        .map(|endpoint| endpoint.name.clone())
        .collect();
    Arc::new(move |batch: &Batch| {
        batch.header.records > 0 && !without.contains(&batch.header.endpoint)
    })
}
