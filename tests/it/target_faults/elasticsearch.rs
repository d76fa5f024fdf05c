//! The `elasticsearch` sink, into two implementations of its target.

use std::net::SocketAddr;

use super::{Promise, Target, canonical, run};
use crate::support::search_server::{Product, SearchServer};

/// A member that the mapping of the test does not allow.
const REFUSED: &str = r#"{"Refused":{"member":1},"#;

/// Only the server that keeps its documents in a file is stopped.
struct Search {
    server: SearchServer,
    product: Product,
}

impl Target for Search {
    const KIND: &'static str = "elasticsearch";

    const PROMISE: Promise = Promise::ExactlyOnce;

    fn keys(&self, proxy: SocketAddr) -> String {
        format!("url = \"http://{proxy}\"\nindex = \"logpush-{{dataset}}\"")
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn kill(&mut self) {
        if self.product == Product::Noida {
            self.server.stop();
        }
    }

    fn start(&mut self) {
        if self.product == Product::Noida {
            self.server.restart();
        }
    }

    fn read(&mut self) -> Vec<String> {
        self.server
            .documents()
            .into_iter()
            .map(|document| {
                let dataset = document.index.strip_prefix("logpush-").unwrap();
                self.expected(dataset, &document.source)
            })
            .collect()
    }

    /// Without the time that the sink adds. Noida writes numbers and strings in its own form.
    fn expected(&self, dataset: &str, record: &str) -> String {
        let mut members: serde_json::Value = serde_json::from_str(record).unwrap();
        members.as_object_mut().unwrap().remove("@timestamp");
        format!("{dataset} {}", canonical(&members.to_string()))
    }

    fn refused(&self, record: &str) -> Option<String> {
        Some(record.replacen('{', REFUSED, 1))
    }

    fn accept_refused(&mut self) -> bool {
        self.server.put("/logpush-http_requests/_mapping", &refused("true"));
        true
    }

    /// Both servers refuse records with two members of the same name.
    fn others(&self) -> Vec<(String, Vec<u8>)> {
        let mut datasets = crate::support::samples::all_datasets();
        datasets.retain(|(dataset, _)| dataset != "somebodys_own");
        datasets
    }

    fn body(&self, status: u16) -> String {
        format!(
            r#"{{"error":{{"type":"injected_exception","reason":"a test"}},"status":{status}}}"#
        )
    }
}

/// The mapping of [`REFUSED`].
fn refused(dynamic: &str) -> String {
    format!(r#"{{"properties":{{"Refused":{{"type":"object","dynamic":"{dynamic}"}}}}}}"#)
}

fn search(product: Product) {
    let Some(server) = SearchServer::start(product) else { return };
    server.install_templates();
    let mappings = format!(r#"{{"mappings":{}}}"#, refused("strict"));
    server.put("/logpush-http_requests", &mappings);
    run(Search { server, product });
}

#[test]
fn elasticsearch() {
    search(Product::Noida);
}

#[test]
fn opensearch() {
    search(Product::Osmem);
}
