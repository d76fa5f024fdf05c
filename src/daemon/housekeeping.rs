//! Looks after the quarantine's bounds, once at the start and then every minute.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::{config::Quarantine, metrics::Metrics, quarantine};

const INTERVAL: Duration = Duration::from_secs(60);

/// Goes on until `stop`. The bounds are those that `config` has then.
pub(super) fn run(
    mut config: watch::Receiver<Quarantine>,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> impl Future<Output = ()> + Send + 'static {
    let (metrics, stop) = (Arc::clone(metrics), stop.clone());
    let rounds = async move {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Ok(()) = config.changed() => {}
            }
            let config = config.borrow_and_update().clone();
            let round = spawn_blocking(move || quarantine::enforce(&config, SystemTime::now()));
            match round.await {
                Ok(Ok(outcome)) => metrics.quarantine(outcome.bytes, outcome.removed_bytes),
                Ok(Err(error)) => warn!(%error, "cannot look after the quarantine's bounds"),
                Err(error) => error!(%error, "looking after the quarantine's bounds failed"),
            }
        }
    };
    async move {
        stop.run_until_cancelled(rounds).await;
    }
}
