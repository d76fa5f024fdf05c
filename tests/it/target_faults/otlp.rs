//! The `otlp` sink, into a server that ignores a log record whose `log.record.uid` it has.

use std::{collections::BTreeMap, net::SocketAddr};

use sinks::otlp::proto::Status;

use super::{Promise, Target, run};
use crate::support::{
    collector::{Collector, ok},
    otlp::{body, logs, protobuf},
};

const REFUSED: &str = r#"{"Refused":true,"#;

struct Otlp {
    collector: Collector,
}

impl Target for Otlp {
    const KIND: &'static str = "otlp";

    /// As far as the server honors the identity of a record.
    const PROMISE: Promise = Promise::ExactlyOnce;

    fn keys(&self, proxy: SocketAddr) -> String {
        format!("url = \"http://{proxy}\"")
    }

    fn address(&self) -> SocketAddr {
        self.collector.address
    }

    fn read(&mut self) -> Vec<String> {
        let mut records = BTreeMap::new();
        for log in self.collector.taken().iter().flat_map(logs) {
            let first = records.entry(log.uid.clone()).or_insert_with(|| log.clone());
            assert_eq!(*first, log, "the record has changed");
        }
        records.into_values().map(|log| format!("{} {}", log.event, log.body)).collect()
    }

    fn expected(&self, dataset: &str, record: &str) -> String {
        format!("{dataset} {}", body(record))
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
fn otlp() {
    let collector = Collector::start();
    collector.answer_by(|request| {
        if logs(request).iter().any(|log| log.body.contains("\"Refused\":true")) {
            protobuf(400, &Status { message: "there is no attribute `Refused`".to_owned() })
        } else {
            ok()
        }
    });
    run(Otlp { collector });
}
