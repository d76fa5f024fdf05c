//! The `http` sink, into a collector that ignores requests with an `Idempotency-Key` that it has.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{Promise, Target, run};
use crate::support::collector::{Collector, ok, refusal};

const REFUSED: &str = r#"{"Refused":true,"#;

struct Http {
    collector: Collector,
}

impl Target for Http {
    const KIND: &'static str = "http";

    /// As far as the collector honors the key.
    const PROMISE: Promise = Promise::ExactlyOnce;

    fn keys(&self, proxy: SocketAddr) -> String {
        format!("url = \"http://{proxy}/in/{{dataset}}\"")
    }

    fn address(&self) -> SocketAddr {
        self.collector.address
    }

    fn read(&mut self) -> Vec<String> {
        let mut requests = BTreeMap::new();
        for request in self.collector.taken() {
            let key = request.headers["idempotency-key"].to_str().unwrap().to_owned();
            let dataset = request.path.strip_prefix("/in/").unwrap().to_owned();
            let content = (dataset, String::from_utf8(request.body).unwrap());
            let first = requests.entry(key.clone()).or_insert_with(|| content.clone());
            assert!(*first == content, "the request {key} has changed");
        }
        let records = |(dataset, lines): &(String, String)| {
            lines.lines().map(|line| self.expected(dataset, line)).collect::<Vec<_>>()
        };
        requests.values().flat_map(records).collect()
    }

    /// Byte for byte.
    fn expected(&self, dataset: &str, record: &str) -> String {
        format!("{dataset} {record}")
    }

    fn refused(&self, record: &str) -> Option<String> {
        Some(record.replacen('{', REFUSED, 1))
    }

    fn accept_refused(&mut self) -> bool {
        self.collector.answer_by(|_| ok());
        true
    }
}

#[test]
fn http() {
    let collector = Collector::start();
    collector.answer_by(|request| {
        let is_refused = memchr::memmem::find(&request.body, REFUSED.as_bytes()).is_some();
        if is_refused { refusal(400, "there is no field `Refused`") } else { ok() }
    });
    run(Http { collector });
}
