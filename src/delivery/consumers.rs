//! Who takes which batches: the one place that says it, for the daemon and for whoever looks at its
//! spool.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    config::{Config, SinkConfig, WhenFull},
    spool::{Batch, Consumer, Origin},
};

/// The name of quarantine in its checkpoint, metrics and log; no sink's name begins like that.
pub const QUARANTINE: &str = "@quarantine";

/// A sink takes the batches of the endpoints that name it, and of those that the config no longer has;
/// of these it takes what its own `datasets` and `endpoints` name, if they are set. A batch that names a
/// sink is for that one alone.
pub fn sink_consumer(config: &Config, sink: &SinkConfig) -> Consumer {
    let without: BTreeSet<_> = endpoints_without(config, &sink.name).into_iter().cloned().collect();
    let taker = sink.clone();
    Consumer {
        name: sink.name.clone(),
        accepts: Arc::new(move |batch: &Batch| {
            let Origin { endpoint, dataset, sink, .. } = &batch.header.origin;
            batch.header.records > 0
                && !without.contains(endpoint)
                && sink.as_ref().is_none_or(|only| *only == taker.name)
                && taker.choice.takes(endpoint, dataset)
        }),
        may_drop: sink.when_full == WhenFull::Drop,
    }
}

/// The endpoints that do not name a sink.
pub fn endpoints_without<'a>(config: &'a Config, sink: &String) -> BTreeSet<&'a String> {
    let without = config.endpoints.iter().filter(|endpoint| !endpoint.sinks.contains(sink));
    without.map(|endpoint| &endpoint.name).collect()
}

/// Quarantine takes the batches with rejected records.
pub fn quarantine_consumer() -> Consumer {
    Consumer {
        name: QUARANTINE.to_owned(),
        accepts: Arc::new(|batch: &Batch| batch.header.rejected > 0),
        may_drop: false,
    }
}
