//! Decides which consumer takes which batches, for the daemon and for commands that read its spool.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    config::{Config, SinkConfig, WhenFull},
    spool::{Batch, Consumer, Origin},
};

/// The name of the quarantine in its checkpoint, metrics and log. No sink has such a name.
pub const QUARANTINE: &str = "@quarantine";

/// The consumer of a sink. It takes the batches of endpoints that name the sink, and of endpoints
/// that are no longer in the configuration. The sink's `datasets` and `endpoints` limit these
/// further. A batch that names a sink is for that sink only.
pub fn sink_consumer(config: &Config, sink: &SinkConfig) -> Consumer {
    let without: BTreeSet<_> = endpoints_without(config, &sink.name).into_iter().cloned().collect();
    let taker = sink.clone();
    Consumer {
        name: sink.name.clone(),
        accepts: Arc::new(move |batch: &Batch| {
            let Origin { endpoint, dataset, sink, .. } = &batch.header.origin;
            batch.header.records > 0
                && !without.contains(endpoint)
                && sink.as_ref().is_none_or(|only| only.name == taker.name)
                && taker.choice.takes(endpoint, dataset)
        }),
        may_drop: sink.when_full == WhenFull::Drop,
    }
}

/// Returns the endpoints that do not name a sink.
pub fn endpoints_without<'a>(config: &'a Config, sink: &String) -> BTreeSet<&'a String> {
    let without = config.endpoints.iter().filter(|endpoint| !endpoint.sinks.contains(sink));
    without.map(|endpoint| &endpoint.name).collect()
}

/// The consumer of the quarantine. It takes the batches with rejected records.
pub fn quarantine_consumer() -> Consumer {
    Consumer {
        name: QUARANTINE.to_owned(),
        accepts: Arc::new(|batch: &Batch| batch.header.rejected > 0),
        may_drop: false,
    }
}
