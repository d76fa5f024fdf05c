//! Looks after the quarantine's bounds, once at the start and then every minute, and reports what the
//! spool has dropped.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tracing::{error, warn};

use crate::{
    blocking, config::Quarantine, file_ages::FileAges, metrics::Metrics, quarantine, spool::Spool,
};

const INTERVAL: Duration = Duration::from_secs(60);

/// Goes on for ever. The bounds are those that `config` has then.
pub(super) async fn run(
    mut config: watch::Receiver<Quarantine>,
    ages: FileAges,
    spool: Arc<Spool>,
    metrics: Arc<Metrics>,
) {
    let ages = Arc::new(Mutex::new(ages));
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Ok(()) = config.changed() => {}
        }
        spool.report_dropped();
        let config = config.borrow_and_update().clone();
        let ages = Arc::clone(&ages);
        let round = blocking::run(move || {
            // A panic leaves at worst files that are younger.
            let mut ages = ages.lock().unwrap_or_else(PoisonError::into_inner);
            quarantine::enforce(&config, &mut ages)
        });
        match round.await {
            Ok(Ok(outcome)) => metrics.quarantine(outcome.bytes, outcome.removed_bytes),
            Ok(Err(error)) => warn!(%error, "cannot look after the quarantine's bounds"),
            Err(error) => error!(%error, "looking after the quarantine's bounds failed"),
        }
    }
}
