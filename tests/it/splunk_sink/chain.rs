//! One daemon delivers to another one, over the protocol of Splunk's HTTP Event Collector.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::lines;
use crate::support::{Setup, http_requests, wait_for};

const TOKEN: &str = "a-token-of-the-chain";

#[test]
fn records_pass_from_daemon_to_daemon_unchanged() {
    let keys = "protocol = \"splunk_hec\"\nsecret_file = \"tokens.txt\"";
    let receiver = Setup::new().without("endpoint.main").table("endpoint.hec", keys);
    receiver.write("tokens.txt", TOKEN);
    let receiver = receiver.start();
    let keys = format!(
        "url = \"https://{}\"\ntoken_file = \"hec.txt\"\ntls = {{ ca_file = \"{}\" }}\n\
         index = \"cloudflare\"\nbatch = {{ max_records = 30 }}",
        receiver.address,
        receiver.path("fullchain.pem").display()
    );
    let sender = Setup::new().table("sink.splunk.splunk_hec", &keys);
    sender.write("hec.txt", TOKEN);
    let sender = sender.start();
    let records = http_requests(5, 100);
    sender.commit(&records);
    let found = wait_for("all records at the receiver", || {
        let file = std::fs::read_to_string(receiver.path("out/splunk_hec.ndjson")).ok()?;
        (file.lines().count() >= 100).then_some(file)
    });
    let mut found: Vec<_> = found
        .lines()
        .map(|line| {
            let event: BTreeMap<&str, &RawValue> = serde_json::from_str(line).unwrap();
            assert_eq!(event["sourcetype"].get(), "\"cloudflare:json\"");
            assert_eq!(event["index"].get(), "\"cloudflare\"");
            format!("{}\n", event["event"].get())
        })
        .collect();
    found.sort_unstable();
    assert_eq!(found, lines(&records));
    sender.stop().exited_cleanly();
    receiver.stop().exited_cleanly();
}
