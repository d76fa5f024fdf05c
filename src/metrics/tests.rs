//! Tests of the whole exposition, since dashboards and alerts depend on its names.

use std::{iter, sync::LazyLock, time::Instant};

use super::*;
use crate::{
    decode::RejectReason,
    sink::{RequestErrorClass, RequestOutcome, RequestResult, UploadMetrics as _},
};

/// 2026-09-21T14:13:20.5Z
const NOW: u64 = 1_790_000_000_500_000;

#[test]
fn the_exposition_is_stable() {
    let metrics = Arc::new(Metrics { started: at(NOW - 60_000_000), ..metrics() });
    let [main, second] = ["main", "second"].map(|name| metrics.endpoint(name));
    let [archive, siem] = ["archive", "siem"].map(|name| metrics.sink(name));
    main.batch(BatchOutcome::Committed);
    main.batch(BatchOutcome::Committed);
    second.batch(BatchOutcome::Empty);
    main.records("http_requests", 1_000, at(NOW - 2_000_000));
    main.records("http_requests", 500, at(NOW - 3_000_000));
    second.records("our_own", 7, at(NOW));
    metrics.received_bytes(4_096);
    main.received_bytes("http_requests", 3_000);
    main.received_bytes("a client's", 1_096);
    main.inflated_bytes("http_requests", 40_000);
    second.inflated_bytes("our_own", 9_152);
    metrics.committed(1_000, 2_000, Duration::from_millis(31));
    metrics.committed(500, 1_000, Duration::from_secs(4));
    metrics.event_lag("http_requests", Duration::from_secs(42));
    metrics.event_lag("http_requests", Duration::from_secs(100_000));
    metrics.refused(RefusalReason::Unauthorized);
    main.refused(RefusalReason::Unauthorized);
    metrics.quarantined(QuarantineReason::Record(RejectReason::TooLong), 3);
    for micros in [900, 1_000, 1_001, 600_000, 60_000_000] {
        metrics.commit(Duration::from_micros(micros));
    }
    metrics.ready();
    metrics.spool(8_192, 2, 90_000);
    metrics.quarantine(900, 100);
    metrics.quarantine(700, 200);
    archive.delivered(1_500);
    archive.filtered(500);
    archive.resent(20);
    siem.error();
    siem.action_required(true);
    archive.dropped(7);
    siem.lag(Duration::from_millis(1250));
    siem.backlog(3, 4_000);
    archive.succeeded(at(NOW - 1_000_000));
    let own = archive.own();
    own.rotation_failures.fetch_add(2, Relaxed);
    own.compression_failures.fetch_add(3, Relaxed);
    own.oversize_records.fetch_add(3, Relaxed);
    own.discarded_records.fetch_add(4, Relaxed);
    own.refused_records.fetch_add(4, Relaxed);
    siem.opened();
    for (outcome, error, millis) in [
        (RequestOutcome::Delivered, None, 20),
        (RequestOutcome::Retried, Some(RequestErrorClass::Timeout), 60_001),
    ] {
        siem.sent(2_000);
        siem.ended(&RequestResult { outcome, error, took: Duration::from_millis(millis) });
    }
    siem.sent(1_000);
    siem.set_last_error(RequestErrorClass::Throttled, at(NOW - 3_000_000));
    metrics.certificate_expiry(1_800_000_000);
    metrics.acme_failure();
    metrics.log_lines_dropped(4);
    main.secret("old");
    main.secret("new").used(1_790_000_000_500_000);
    metrics.process(Process {
        cpu_micros: 7_250_000,
        resident_bytes: Some(30_000_000),
        virtual_bytes: Some(900_000_000),
        threads: Some(12),
        open_fds: Some(40),
        max_fds: Some(1_024),
    });
    let open = metrics.connection();
    drop(metrics.connection());

    let golden = include_str!("golden.txt").replace("VERSION", env!("CARGO_PKG_VERSION"));
    let text = metrics.render_at(at(NOW));
    for (number, (got, expected)) in iter::zip(text.lines(), golden.lines()).enumerate() {
        assert_eq!(got, expected, "line {} of\n{text}", number + 1);
    }
    assert_eq!(text.len(), golden.len(), "{text}");

    drop(open);
    metrics.not_ready();
    assert!(metrics.render().contains("\nlogpushd_ready 0\n"));
    assert!(metrics.render().contains("\nlogpushd_connections 0\n"));
}

#[test]
fn a_client_cannot_create_series() {
    let metrics = metrics();
    let main = metrics.endpoint("main");
    for hostile in ["evil\"} 1\nfake_total 2", "evil", "", "HTTP_REQUESTS", "http_requests "] {
        main.records(hostile, 1, at(NOW));
        metrics.event_lag(hostile, Duration::from_secs(1));
        main.received_bytes(hostile, 1);
        main.inflated_bytes(hostile, 1);
        metrics.restore_last_batch(hostile, NOW, at(NOW));
    }
    let text = metrics.render_at(at(NOW));
    assert!(!text.contains("evil") && !text.contains("fake"), "{text}");
    let line = "logpushd_records_total{endpoint=\"main\",dataset=\"other\"} 5\n";
    assert!(text.contains(line), "{text}");
    assert_eq!(text.matches("\nlogpushd_records_total{").count(), 1);
    for name in [
        "last_batch_timestamp_seconds",
        "event_lag_seconds_count",
        "endpoint_received_bytes_total",
        "endpoint_inflated_bytes_total",
    ] {
        assert_eq!(text.matches(&format!("\nlogpushd_{name}{{")).count(), 1, "{name}");
    }
}

#[test]
fn removed_endpoints_and_sinks_are_hidden_and_keep_their_counts() {
    let metrics = metrics();
    let (second, siem) = (metrics.endpoint("second"), metrics.sink("siem"));
    let names = |endpoints: &[&str], sinks: &[&str], datasets: &[&str]| {
        let [endpoints, sinks, datasets] = [endpoints, sinks, datasets]
            .map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        Names { endpoints, sinks, datasets }
    };
    let delivered = |sink: &str| {
        let text = metrics.render_at(at(NOW));
        let series = format!("\nlogpushd_sink_delivered_records_total{{sink=\"{sink}\"}} ");
        text.split(&series).nth(1).map(|rest| rest.split('\n').next().unwrap().to_owned())
    };
    siem.delivered(5);
    second.records("our_own", 3, at(NOW));
    metrics.show(&names(&["main", "added"], &["added", "archive"], &["another"]));
    assert_eq!((delivered("siem"), delivered("added")), (None, Some("0".to_owned())));
    assert!(!metrics.render_at(at(NOW)).contains("\"second\""));
    siem.delivered(5);
    metrics.sink("added").delivered(2);
    assert_eq!(delivered("added"), Some("2".to_owned()));
    metrics.endpoint("added").records("another", 4, at(NOW));
    second.records("our_own", 3, at(NOW));

    metrics.show(&names(&["second", "added"], &["siem"], &[]));
    assert_eq!((delivered("siem"), delivered("added")), (Some("10".to_owned()), None));
    let text = metrics.render_at(at(NOW));
    for (endpoint, dataset, records) in [("second", "our_own", 6), ("added", "another", 4)] {
        let line = format!("{{endpoint=\"{endpoint}\",dataset=\"{dataset}\"}} {records}\n");
        assert!(text.contains(&line), "{line} not in {text}");
    }
}

#[test]
fn the_last_batch_of_a_dataset_is_right_after_the_clock_was_set() {
    const YEAR: u64 = 365 * 24 * 3600 * 1_000_000;

    let shown = |metrics: &Metrics, now| {
        let text = metrics.render_at(now);
        let line = text.lines().find(|line| line.contains("_seconds{dataset=\"our_own\"}"));
        line.unwrap().rsplit_once(' ').unwrap().1.to_owned()
    };
    let metrics = metrics();
    let main = metrics.endpoint("main");
    // The first batch arrives while the wall clock is a year ahead.
    let ahead = |arrival: Arrival| Arrival { wall_micros: arrival.wall_micros + YEAR, ..arrival };
    main.records("our_own", 1, ahead(at(NOW)));
    assert_eq!(shown(&metrics, ahead(at(NOW + 1))), "1821536000.500000");
    assert_eq!(shown(&metrics, at(NOW + 5_000_000)), "1790000000.500000", "a second, corrected");
    main.records("our_own", 1, at(NOW + 7_000_000));
    assert_eq!(shown(&metrics, at(NOW + 9_000_000)), "1790000007.500000");
    assert_eq!(shown(&metrics, ahead(at(NOW + 9_000_000))), "1821536007.500000");
}

#[test]
fn a_new_batch_replaces_a_restored_time() {
    let metrics = metrics();
    let main = metrics.endpoint("main");
    let last = |now| metrics.last_batches(at(now));
    let of = |dataset: &str, wall_micros| vec![(dataset.to_owned(), wall_micros)];
    metrics.restore_last_batch("our_own", NOW - 5_000_000, at(NOW));
    assert_eq!(last(NOW), of("our_own", NOW - 5_000_000));
    // The wall clock was wrong in the earlier run.
    main.records("our_own", 1, at(NOW + 1));
    assert_eq!(last(NOW + 2), of("our_own", NOW + 1));
    metrics.restore_last_batch("our_own", NOW, at(NOW + 2));
    assert_eq!(last(NOW + 2), of("our_own", NOW + 1), "a real batch wins");

    let future = Metrics::new(&Names::default());
    future.restore_last_batch("http_requests", NOW + 1_000_000, at(NOW));
    assert_eq!(future.last_batches(at(NOW + 9)), of("http_requests", NOW));
}

#[test]
fn an_unknown_process_has_only_a_start_time() {
    let text = Metrics { started: at(NOW), ..metrics() }.render_at(at(NOW + 7));
    assert!(text.contains("\nprocess_start_time_seconds 1790000000.500000\n"), "{text}");
    assert_eq!(text.matches("# TYPE process_").count(), 1, "{text}");
    let metrics = metrics();
    metrics.process(Process { threads: Some(3), ..Process::default() });
    let text = metrics.render_at(at(NOW));
    assert!(text.contains("\nprocess_threads 3\n") && !text.contains("process_open_fds"), "{text}");
}

/// Returns a time at which both clocks agree.
fn at(wall_micros: u64) -> Arrival {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since = Duration::from_micros(wall_micros + 3_600_000_000 - NOW);
    Arrival { at: *BEGIN + since, wall_micros }
}

fn metrics() -> Metrics {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let names = Names {
        endpoints: names(&["main", "second"]),
        sinks: names(&["archive", "siem"]),
        datasets: names(&["our_own", "http_requests"]),
    };
    Metrics::new(&names)
}
