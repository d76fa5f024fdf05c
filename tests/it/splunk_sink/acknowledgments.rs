//! With indexer acknowledgment, a record is delivered when Splunk has indexed it.

use std::time::Duration;

use super::{REQUIRED, contains, posts, same, setup, wait_empty};
use crate::support::{
    numbered,
    splunk::{Splunk, Sticky},
    wait_until,
};

#[test]
fn nothing_is_lost_when_the_indexer_crashes_before_it_indexes() {
    let mut splunk = Splunk::start();
    // Longer than the test.
    splunk.set_delay(Duration::from_secs(600));
    let daemon = setup(&splunk, "in_flight = 2\nbatch = { max_records = 10 }").start();
    let records = daemon.commit_numbered(0..5, 40);
    wait_until("all requests are accepted", || splunk.waiting() == 20);
    assert_eq!(daemon.count("logpushd_spool_batches"), 5);
    assert_eq!(splunk.crash(), 200);
    splunk.set_delay(Duration::ZERO);
    splunk.restart();
    // The daemon finds out by the next number of each channel, long before the timeout of 5
    // minutes. The request that gets this number is sent again.
    contains(&splunk, &records);
    wait_empty(&daemon);
    contains(&splunk, &records);
    assert!(splunk.records().len() <= 220, "{}", splunk.records().len());
    daemon.stop().exited_cleanly();
}

#[test]
fn a_request_without_acknowledgment_is_sent_again() {
    let mut splunk = Splunk::start();
    splunk.set_delay(Duration::from_secs(600));
    let keys = "acknowledgement_timeout = \"3s\"\nacknowledgements = \"on\"";
    let daemon = setup(&splunk, keys).start();
    let records = numbered(1, 20);
    daemon.commit(&records);
    wait_until("a second request", || posts(&splunk).len() == 2);
    let log = daemon.wait_log("the sink failed");
    let error = log["error"].as_str().unwrap();
    assert!(error.contains("has not acknowledged a request within 3 s"), "{error}");
    let channels: Vec<_> = posts(&splunk)
        .iter()
        .map(|seen| seen.headers["x-splunk-request-channel"].to_str().unwrap().to_owned())
        .collect();
    // The number of the first request may still be acknowledged.
    assert_ne!(channels[0], channels[1]);
    splunk.crash();
    splunk.set_delay(Duration::ZERO);
    splunk.restart();
    same(&splunk, &records);
    wait_empty(&daemon);
    daemon.stop().exited_cleanly();
}

#[test]
fn more_requests_wait_than_there_are_connections() {
    let splunk = Splunk::start();
    splunk.set_delay(Duration::from_secs(3));
    let daemon = setup(&splunk, "in_flight = 2\nbatch = { max_records = 10 }").start();
    let records = daemon.commit_numbered(0..6, 50);
    wait_until("30 requests wait for their acknowledgments", || splunk.waiting() == 30);
    same(&splunk, &records);
    wait_empty(&daemon);
    same(&splunk, &records);
    // Several acknowledgments per query.
    let queries = splunk.requests().len() - posts(&splunk).len();
    assert!(queries < 15, "{queries} queries");
    let mut connections: Vec<_> = splunk.requests().iter().map(|seen| seen.connection).collect();
    connections.sort_unstable();
    connections.dedup();
    assert!(connections.len() <= 2, "{connections:?}");
    daemon.stop().exited_cleanly();
}

#[test]
fn the_settings_must_match_the_token() {
    for (mode, acknowledges, message) in
        [("on", false, "ACK is disabled"), ("off", true, "Data channel is missing")]
    {
        let splunk = Splunk::start();
        splunk.set_acknowledges(acknowledges);
        let daemon = setup(&splunk, &format!("acknowledgements = \"{mode}\"")).start();
        let records = numbered(1, 20);
        daemon.commit(&records);
        daemon.wait_count(REQUIRED, |value| value == 1);
        let log = daemon.wait_log("the sink failed");
        assert!(log["error"].as_str().unwrap().contains(message), "{log}");
        // Nothing was written that would come again.
        assert!(splunk.events().is_empty());
        splunk.set_acknowledges(!acknowledges);
        let daemon = daemon.stop().exited_cleanly().start();
        same(&splunk, &records);
        wait_empty(&daemon);
        same(&splunk, &records);
        daemon.stop().exited_cleanly();
    }
}

#[test]
fn without_acknowledgments_the_answer_counts() {
    let splunk = Splunk::start();
    splunk.set_acknowledges(false);
    splunk.set_delay(Duration::from_secs(600));
    let daemon = setup(&splunk, "").start();
    daemon.commit(&numbered(1, 20));
    wait_empty(&daemon);
    // This is why Splunk has acknowledgments.
    assert_eq!(splunk.crash(), 20);
    daemon.stop().exited_cleanly();
}

#[test]
fn records_survive_repeated_crashes_of_a_cluster() {
    let mut splunk = Splunk::start_cluster(3, Sticky::Cookie);
    splunk.set_delay(Duration::from_millis(200));
    let daemon = setup(&splunk, "batch = { max_records = 10 }").start();
    let mut records = Vec::new();
    for round in 0..4 {
        records.extend(daemon.commit_numbered(round * 5..round * 5 + 5, 40));
        wait_until("accepted requests", || splunk.waiting() > 0);
        splunk.crash();
        splunk.restart();
    }
    contains(&splunk, &records);
    wait_empty(&daemon);
    daemon.stop().exited_cleanly();
}
