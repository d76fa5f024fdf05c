//! Network sinks lose nothing while their targets fail and the daemon is killed.
//!
//! A proxy between the daemon and the target injects faults: it answers 413, 429 and 503, closes
//! connections before and after the target has the request, delays and cuts answers, and hangs.
//! Meanwhile the daemon is killed with SIGKILL repeatedly, and so is the target. Then the records in
//! the target are compared with those that were sent: none is missing, none is changed, and none is
//! there twice where the sink promises that. Records that the target refuses are in quarantine
//! once, and `quarantine replay --sink` sends them to this sink alone.
//!
//! To test a kind of sink, implement [`Target`] for its server, and call [`run`] in a test.
//!
//! `LOGPUSHD_TARGET_KILLS` and `LOGPUSHD_TARGET_RECORDS` make a run longer, and its delays 10 s;
//! `LOGPUSHD_TARGET_SEED` repeats its choices:
//!
//!     LOGPUSHD_TARGET_KILLS=200 LOGPUSHD_TARGET_RECORDS=100000 \
//!         cargo test --locked --test it target_faults:: -- --nocapture

mod batches;
mod check;
mod clickhouse;
mod elasticsearch;
mod http;
mod loki;
mod otlp;
mod run;
mod splunk_hec;

use std::{env, net::SocketAddr, thread, time::SystemTime};

pub(crate) use self::{
    batches::{canonical, record},
    run::run,
};
use crate::support::{Random, Setup, samples::all_datasets};

/// The name of the sink in the configuration.
pub(crate) const SINK: &str = "tested";

/// What a sink promises about records that it may have to send again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Promise {
    ExactlyOnce,
    AtLeastOnce,
}

/// A server that a kind of sink delivers to.
pub(crate) trait Target: Send {
    /// The kind of sink.
    const KIND: &'static str;

    const PROMISE: Promise;

    /// The keys of the sink, whose requests go to `proxy`. Without `timeout` and `batch`.
    fn keys(&self, proxy: SocketAddr) -> String;

    /// Writes the files that the keys name.
    fn write_files(&self, _setup: &Setup) {}

    /// Where the server listens now.
    fn address(&self) -> SocketAddr;

    /// Kills the server. One that keeps its records in memory stays; the proxy closes all
    /// connections anyway.
    fn kill(&mut self) {}

    /// Starts the server again after [`Target::kill`], and waits until it answers.
    fn start(&mut self) {}

    /// All records in the server, in any order, each in the form of [`Target::expected`].
    fn read(&mut self) -> Vec<String>;

    /// How [`Target::read`] returns a record.
    fn expected(&self, dataset: &str, record: &str) -> String {
        format!("{dataset} {}", canonical(record))
    }

    /// The dataset of generated records.
    fn dataset(&self) -> &'static str {
        "http_requests"
    }

    /// A generated record. No two are equal.
    fn record(&self, random: &mut Random, number: u64) -> String {
        record(random, number)
    }

    /// The same record with something that the server refuses, if it ever refuses one record.
    fn refused(&self, _record: &str) -> Option<String> {
        None
    }

    /// Makes the server accept what it has refused. Returns whether it can. Called while the
    /// server is up and all else is delivered.
    fn accept_refused(&mut self) -> bool {
        false
    }

    /// Other records: a dataset and its lines each.
    fn others(&self) -> Vec<(String, Vec<u8>)> {
        all_datasets()
    }

    /// The longest body that is not answered 413, without gzip.
    fn max_body_bytes(&self) -> usize {
        40 << 10
    }

    /// The body of the server's answer with this status: 413, 429 or 503.
    fn body(&self, _status: u16) -> String {
        "injected by a test".to_owned()
    }
}

/// The size of a run.
#[derive(Clone, Copy, Debug)]
struct Size {
    kills: u64,
    records: u64,
    seed: u64,
    /// Whether faults take as long as in production.
    is_long: bool,
}

impl Size {
    fn of_environment() -> Self {
        let kills = number("LOGPUSHD_TARGET_KILLS");
        let seed = number("LOGPUSHD_TARGET_SEED").unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            u64::from(now.subsec_nanos()) ^ now.as_secs() << 20
        });
        Self {
            kills: kills.unwrap_or(6),
            records: number("LOGPUSHD_TARGET_RECORDS").unwrap_or(2000),
            seed,
            is_long: kills.is_some(),
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is {value}, not a number")))
}

/// Prints how to repeat a run that failed.
struct Repeat(Size);

impl Drop for Repeat {
    fn drop(&mut self) {
        if thread::panicking() {
            let Size { kills, records, seed, .. } = self.0;
            let test = thread::current().name().unwrap_or("target_faults::").to_owned();
            eprintln!(
                "repeat it: LOGPUSHD_TARGET_SEED={seed} LOGPUSHD_TARGET_KILLS={kills} LOGPUSHD_TARGET_RECORDS={records} cargo test --locked --test it {test}"
            );
        }
    }
}
