//! The `splunk_hec` sink, into an indexer that loses what it has not indexed when it is killed.

use std::{net::SocketAddr, time::Duration};

use super::{Promise, Target, run};
use crate::support::{
    Setup,
    splunk::{Splunk, TOKEN},
};

const REFUSED: &str = r#"{"Refused":true,"#;

struct SplunkHec {
    splunk: Splunk,
}

impl Target for SplunkHec {
    const KIND: &'static str = "splunk_hec";

    const PROMISE: Promise = Promise::AtLeastOnce;

    fn keys(&self, proxy: SocketAddr) -> String {
        format!(
            "url = \"http://{proxy}\"\ntoken_file = \"hec.txt\"\nsource = \"{{dataset}}\"\n\
             acknowledgements = \"on\"\nacknowledgement_timeout = \"5s\""
        )
    }

    fn write_files(&self, setup: &Setup) {
        setup.write("hec.txt", TOKEN);
    }

    fn address(&self) -> SocketAddr {
        self.splunk.address
    }

    fn kill(&mut self) {
        self.splunk.crash();
    }

    fn start(&mut self) {
        self.splunk.restart();
    }

    fn read(&mut self) -> Vec<String> {
        let events = self.splunk.events();
        let text = |event: &crate::support::splunk::Event| {
            let dataset = event.member("source").unwrap();
            self.expected(dataset.as_str().unwrap(), event.record())
        };
        events.iter().map(text).collect()
    }

    /// Byte for byte.
    fn expected(&self, dataset: &str, record: &str) -> String {
        format!("{dataset} {record}")
    }

    fn refused(&self, record: &str) -> Option<String> {
        Some(record.replacen('{', REFUSED, 1))
    }

    fn accept_refused(&mut self) -> bool {
        self.splunk.refuse(|_| None);
        true
    }

    fn body(&self, status: u16) -> String {
        match status {
            429 => "{\"text\":\"HEC queue at capacity\",\"code\":26}".to_owned(),
            503 => "{\"text\":\"Server is busy\",\"code\":9}".to_owned(),
            _ => "<html>".to_owned(),
        }
    }
}

#[test]
fn splunk_hec() {
    let splunk = Splunk::start();
    splunk.set_delay(Duration::from_millis(300));
    splunk
        .refuse(|event| event.record().starts_with(REFUSED).then_some((6, "Invalid data format")));
    run(SplunkHec { splunk });
}
