//! The `loki` sink.

use std::net::SocketAddr;

use super::{Promise, Target, run};
use crate::support::loki::{Loki, Rules};

const REFUSED: &str = r#"{"Refused":true,"#;

struct LokiTarget {
    loki: Loki,
}

impl Target for LokiTarget {
    const KIND: &'static str = "loki";

    /// Loki ignores entries that it has.
    const PROMISE: Promise = Promise::ExactlyOnce;

    fn keys(&self, proxy: SocketAddr) -> String {
        format!("url = \"http://{proxy}\"")
    }

    fn address(&self) -> SocketAddr {
        self.loki.collector.address
    }

    fn read(&mut self) -> Vec<String> {
        let streams = self.loki.streams().into_iter();
        let lines = streams.flat_map(|(labels, entries)| {
            entries.into_iter().map(move |entry| format!("{} {}", labels["dataset"], entry.line))
        });
        lines.collect()
    }

    /// Byte for byte.
    fn expected(&self, dataset: &str, record: &str) -> String {
        format!("{dataset} {record}")
    }

    /// Requests are compressed with Snappy, which the proxy does not know.
    fn max_body_bytes(&self) -> usize {
        10 << 10
    }

    fn refused(&self, record: &str) -> Option<String> {
        Some(record.replacen('{', REFUSED, 1))
    }

    fn accept_refused(&mut self) -> bool {
        self.loki.set(Rules { bad: None, ..self.loki.rules() });
        true
    }
}

#[test]
fn loki() {
    let loki = Loki::start();
    loki.set(Rules { bad: Some(REFUSED), ..loki.rules() });
    run(LokiTarget { loki });
}
