//! Makes the daemon's parts from the configuration.

use std::sync::Arc;

use crate::{
    config::{Config, PathPattern},
    delivery::{self, Delivery},
    fatal::Fatal,
    http::Intake,
    metrics::Metrics,
    quarantine::QuarantineSink,
    select::Selection,
    sink::{self, Sink},
    spool::Spool,
};

pub(super) fn metrics(config: &Config) -> Metrics {
    let endpoints: Vec<_> = config.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
    // Quarantine holds the spool as sinks do: its errors and its lag must be seen.
    let sinks = config.sinks.iter().map(|sink| sink.name.clone());
    let sinks: Vec<_> = sinks.chain([delivery::QUARANTINE.to_owned()]).collect();
    let datasets = config.endpoints.iter().filter_map(|endpoint| match &endpoint.path {
        PathPattern::Fixed { dataset, .. } | PathPattern::Prefix { dataset, .. } => {
            Some(dataset.clone())
        }
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
        let consumer = delivery::sink_consumer(config, sink);
        let delivery =
            Delivery::new(consumer, Arc::clone(spool), (Arc::clone(metrics), place), |marks| {
                sink::open(sink, &spool.cursors(), marks)
            });
        let delivery = delivery.map_err(Fatal::Config)?;
        deliveries.push(delivery.selecting(Selection::new(&sink.choice)));
    }
    let consumer = delivery::quarantine_consumer();
    let place = config.sinks.len();
    let delivery =
        Delivery::new(consumer, Arc::clone(spool), (Arc::clone(metrics), place), |marks| {
            let sink = QuarantineSink::open(&config.quarantine.dir, spool.batches(), marks)?;
            Ok(Box::new(sink) as Box<dyn Sink>)
        });
    deliveries.push(delivery.map_err(Fatal::Config)?);
    deliveries.iter_mut().for_each(Delivery::release_delivered);
    Ok(deliveries)
}
