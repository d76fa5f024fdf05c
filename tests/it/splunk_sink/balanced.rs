//! Several indexers behind a load balancer: each counts the requests of a channel for itself.

use std::{collections::BTreeSet, time::Duration};

use super::{REQUIRED, posts, same, setup, wait_empty};
use crate::support::splunk::{Splunk, Sticky};

#[test]
fn a_sticky_load_balancer_causes_no_duplicates() {
    for sticky in [Sticky::Cookie, Sticky::Connection] {
        let splunk = Splunk::start_cluster(3, sticky);
        splunk.set_delay(Duration::from_millis(500));
        let daemon = setup(&splunk, "batch = { max_records = 10 }").start();
        let records = daemon.commit_numbered(0..6, 50);
        same(&splunk, &records);
        wait_empty(&daemon);
        same(&splunk, &records);
        let indexers: BTreeSet<_> = posts(&splunk).iter().map(|seen| seen.indexer).collect();
        assert!(indexers.len() > 1, "{sticky:?} {indexers:?}");
        daemon.stop().exited_cleanly();
    }
}

#[test]
fn a_load_balancer_that_is_not_sticky_is_for_the_operator() {
    let splunk = Splunk::start_cluster(2, Sticky::Never);
    splunk.set_delay(Duration::from_secs(600));
    let daemon = setup(&splunk, "in_flight = 1\nbatch = { max_records = 10 }").start();
    daemon.commit_numbered(0..4, 40);
    daemon.wait_count(REQUIRED, |value| value == 1);
    let log = daemon.wait_log("the sink failed: action required");
    assert!(log["error"].as_str().unwrap().contains("reach several indexers"), "{log}");
    assert_eq!(daemon.count("logpushd_spool_batches"), 4);
    daemon.stop();
}
