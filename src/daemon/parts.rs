//! Creates the parts of the daemon from the configuration.

use std::sync::Arc;

use crate::{
    config::{self, Config, PathPattern, SinkConfig},
    delivery::{self, Delivery},
    fatal::Fatal,
    metrics::{Metrics, Names},
    quarantine::QuarantineSink,
    select::Choice,
    sink::{self, Sink, SinkEnvironment},
    spool::{self, Spool},
};

pub(super) fn spool_options(config: &Config) -> spool::Options {
    let config::Spool { max_bytes, dedup_window, .. } = config.spool;
    spool::Options { max_bytes, dedup_window }
}

pub(super) fn metrics(config: &Config) -> Metrics {
    Metrics::new(&names(config))
}

/// The names that have metric series of their own.
pub(super) fn names(config: &Config) -> Names {
    // The quarantine can hold back the spool as a sink can, so its errors and its lag are exposed.
    let sinks = config.sinks.iter().map(|sink| sink.name.clone());
    let datasets = config.endpoints.iter().filter_map(|endpoint| match &endpoint.path {
        PathPattern::Fixed { dataset, .. } | PathPattern::Prefix { dataset, .. } => {
            Some(dataset.clone())
        }
        PathPattern::Dataset { .. } => None,
    });
    Names {
        endpoints: config.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect(),
        sinks: sinks.chain([delivery::QUARANTINE.to_owned()]).collect(),
        datasets: datasets.collect(),
    }
}

/// Creates the consumers of the spool: the sinks in the order of the configuration, then the
/// quarantine.
pub(super) fn deliveries(
    config: &Config,
    spool: &Arc<Spool>,
    metrics: &Metrics,
    environment: &SinkEnvironment,
) -> Result<Vec<Delivery>, Fatal> {
    delivery::forget_stale_files(&spool.cursors(), config)
        .map_err(|error| Fatal::Io(format!("spool.dir: {error}")))?;
    let mut deliveries = Vec::new();
    for sink in &config.sinks {
        deliveries
            .push(delivery(config, sink, spool, metrics, environment).map_err(Fatal::Config)?);
    }
    let consumer = delivery::quarantine_consumer();
    let metrics = metrics.sink(&consumer.name);
    let (spool, environment) = (Arc::clone(spool), environment.clone());
    let batches = spool.batches().to_owned();
    let all = Choice::default();
    let delivery = Delivery::new(consumer, spool, metrics, environment, &all, |context| {
        let sink = QuarantineSink::open(&config.quarantine.dir, &batches, context)?;
        Ok(Box::new(sink) as Box<dyn Sink>)
    });
    deliveries.push(delivery.map_err(Fatal::Config)?);
    deliveries.iter_mut().for_each(Delivery::release_delivered);
    Ok(deliveries)
}

/// Creates the delivery of a new sink.
pub(super) fn delivery(
    config: &Config,
    sink: &SinkConfig,
    spool: &Arc<Spool>,
    metrics: &Metrics,
    environment: &SinkEnvironment,
) -> Result<Delivery, String> {
    let consumer = delivery::sink_consumer(config, sink);
    let metrics = metrics.sink(&sink.name);
    let (spool, environment) = (Arc::clone(spool), environment.clone());
    Delivery::new(consumer, spool, metrics, environment, &sink.choice, |context| {
        sink::open(&sink.kind, context)
    })
}
