//! Stores the time of each dataset's newest batch across restarts. Without it, an alert about a
//! silent dataset would end with a restart, since its metric would be missing.
//!
//! The file is written once a minute if a batch arrived, and when the daemon stops. A crash loses
//! at most the last minute.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, warn};

use crate::{
    blocking,
    config::{Config, Endpoint, PathPattern},
    durable,
    log_throttle::FailureThrottle,
    metrics::{Arrival, Metrics},
};

const INTERVAL: Duration = Duration::from_secs(60);

/// A dataset that was silent for longer is dropped at the next start.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// The name of the file in `spool.dir`.
const FILE: &str = "last-batches.json";

/// The file and its contents.
pub(super) struct LastBatches {
    path: PathBuf,
    metrics: Arc<Metrics>,
    written: Mutex<(Contents, FailureThrottle)>,
}

#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
struct Contents {
    /// Microseconds since 1970, by dataset.
    datasets: BTreeMap<String, u64>,
}

impl LastBatches {
    /// Restores the metrics from the file, for the datasets that an endpoint accepts. An unreadable
    /// file is treated as missing.
    pub(super) fn restore(config: &Config, metrics: &Arc<Metrics>, now: Arrival) -> Self {
        let path = config.spool.dir.join(FILE);
        let contents = read(&path).unwrap_or_else(|error| {
            warn!(%error, "cannot restore the times of the last batches");
            Contents::default()
        });
        for (dataset, at) in &contents.datasets {
            let age = Duration::from_micros(now.wall_micros.saturating_sub(*at));
            let is_accepted = config.endpoints.iter().any(|endpoint| accepts(endpoint, dataset));
            if is_accepted && age <= FORGOTTEN_AFTER {
                metrics.restore_last_batch(dataset, *at, now);
            }
        }
        let written = Mutex::new((contents, FailureThrottle::default()));
        Self { path, metrics: Arc::clone(metrics), written }
    }

    /// Writes the file in intervals if it has changed. Never returns.
    pub(super) async fn run(self: Arc<Self>) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            Arc::clone(&self).write().await;
        }
    }

    /// Writes the file if it has changed.
    pub(super) async fn write(self: Arc<Self>) {
        if let Err(error) = blocking::run(move || self.write_now()).await {
            error!(%error, "writing the times of the last batches failed");
        }
    }

    fn write_now(&self) {
        let datasets = self.metrics.last_batches(Arrival::now()).into_iter().collect();
        let contents = Contents { datasets };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, failures) = &mut *written;
        if contents == *last {
            return;
        }
        let outcome = serde_json::to_vec(&contents).map_err(io::Error::from);
        match outcome.and_then(|bytes| durable::replace(&self.path, &bytes)) {
            Ok(()) => {
                failures.recovered();
                *last = contents;
            }
            Err(error) => {
                if let Some(repeated) = failures.failed(&error.to_string(), Instant::now()) {
                    warn!(%error, repeated, "cannot write the times of the last batches");
                }
            }
        }
    }
}

fn read(path: &Path) -> io::Result<Contents> {
    let contents = match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Contents::default()),
        Err(error) => Err(error),
    };
    contents.map_err(durable::error_at("reading", path))
}

/// Returns whether an endpoint accepts a dataset: any dataset unless the configuration limits them.
fn accepts(endpoint: &Endpoint, dataset: &str) -> bool {
    match &endpoint.path {
        PathPattern::Fixed { dataset: its, .. } | PathPattern::Prefix { dataset: its, .. } => {
            its == dataset
        }
        PathPattern::Dataset { .. } => {
            endpoint.datasets.is_empty()
                || endpoint.datasets.iter().any(|its| its == dataset)
                || dataset == Metrics::OTHER_DATASETS
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::{config, metrics::Names};

    const DAY: u64 = 24 * 3600 * 1_000_000;

    fn config(dir: &Path, endpoint: &str) -> Config {
        let text = format!(
            "[server]\naddress = \"127.0.0.1:0\"\n[server.tls]\nself_signed = true\n\
             cert_file = \"c.pem\"\nkey_file = \"k.pem\"\n\
             [endpoint.push]\n{endpoint}\nauth = \"none\"\n[sink.out.stdout]\n\
             [spool]\ndir = \"{}\"\n",
            dir.display()
        );
        config::check_text(Path::new("/etc/logpushd.toml"), &text).unwrap()
    }

    /// Starts a daemon's metrics with this configuration at `now`.
    fn shown(config: &Config, now: Arrival) -> (Arc<Metrics>, LastBatches) {
        let metrics = Arc::new(Metrics::new(&Names::default()));
        let last = LastBatches::restore(config, &metrics, now);
        (metrics, last)
    }

    fn file(dir: &Path) -> String {
        fs::read_to_string(dir.join(FILE)).unwrap()
    }

    #[test]
    fn a_restart_restores_the_times() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), "path = \"/{dataset}\"");
        let now = Arrival::now();
        let (metrics, last) = shown(&config, now);
        assert_eq!(metrics.last_batches(now), []);
        last.write_now();
        assert!(!dir.path().join(FILE).exists(), "nothing to write");

        let earlier = Arrival { wall_micros: now.wall_micros - 5, ..now };
        metrics.endpoint("push").records("http_requests", 1, now);
        metrics.endpoint("push").records("of a client", 1, earlier);
        last.write_now();
        let metadata = fs::metadata(dir.path().join(FILE)).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o600);
        last.write_now();
        let later = fs::metadata(dir.path().join(FILE)).unwrap();
        assert_eq!(later.ino(), metadata.ino(), "not rewritten without a change");

        let (metrics, last) = shown(&config, Arrival::now());
        let expected = [
            ("http_requests".to_owned(), now.wall_micros),
            ("other".to_owned(), earlier.wall_micros),
        ];
        assert_eq!(metrics.last_batches(Arrival::now()), expected);
        last.write_now();
        assert_eq!(fs::metadata(dir.path().join(FILE)).unwrap().ino(), metadata.ino());
    }

    #[test]
    fn an_old_or_unaccepted_dataset_is_dropped_and_a_future_time_becomes_now() {
        let dir = tempfile::tempdir().unwrap();
        let now = Arrival::now();
        let wall = now.wall_micros;
        let (week, year) = (wall - 7 * DAY, wall + 365 * DAY);
        let datasets = [
            ("dns_logs", week),
            ("audit_logs", week - 1),
            ("http_requests", year),
            ("gateway_dns", wall - DAY),
            ("made_up", wall - DAY),
        ];
        let datasets = datasets.map(|(name, at)| (name.to_owned(), at)).into_iter().collect();
        let bytes = serde_json::to_vec(&Contents { datasets }).unwrap();
        fs::write(dir.path().join(FILE), bytes).unwrap();
        for (endpoint, expected) in [
            (
                "path = \"/{dataset}\"",
                vec![("dns_logs", week), ("gateway_dns", wall - DAY), ("http_requests", wall)],
            ),
            ("path = \"/{dataset}\"\ndatasets = [\"dns_logs\"]", vec![("dns_logs", week)]),
            ("path = \"/push\"\ndataset = \"gateway_dns\"", vec![("gateway_dns", wall - DAY)]),
        ] {
            let (metrics, _) = shown(&config(dir.path(), endpoint), now);
            let mut shown = metrics.last_batches(now);
            shown.sort();
            let expected = expected.into_iter().map(|(name, at)| (name.to_owned(), at));
            assert_eq!(shown, expected.collect::<Vec<_>>(), "{endpoint}");
        }
    }

    #[test]
    fn a_damaged_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path(), "path = \"/{dataset}\"");
        fs::write(dir.path().join(FILE), "{\"datasets\":").unwrap();
        let (metrics, last) = shown(&config, Arrival::now());
        metrics.endpoint("push").records(
            "dns_logs",
            1,
            Arrival { at: Instant::now(), wall_micros: 7 },
        );
        last.write_now();
        assert!(
            file(dir.path()).starts_with("{\"datasets\":{\"dns_logs\":"),
            "{}",
            file(dir.path())
        );
    }
}
