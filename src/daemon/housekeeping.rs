//! Enforces the quarantine's bounds at startup and then every minute, and reports what the spool
//! has dropped.

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

/// Enforces the current bounds in `config`. Never returns.
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
            // After a panic, files are at worst recorded as too young.
            let mut ages = ages.lock().unwrap_or_else(PoisonError::into_inner);
            quarantine::enforce(&config, &mut ages)
        });
        match round.await {
            Ok(Ok(outcome)) => metrics.quarantine(outcome.bytes, outcome.removed_bytes),
            Ok(Err(error)) => warn!(%error, "cannot enforce the quarantine's bounds"),
            Err(error) => error!(%error, "enforcing the quarantine's bounds failed"),
        }
    }
}
