//! The exposition as a whole: its names are a promise to dashboards and alarms.

use std::{iter, sync::LazyLock, time::Instant};

use super::*;

/// 2026-09-21T14:13:20.5Z
const NOW: u64 = 1_790_000_000_500_000;

#[test]
fn the_exposition_is_as_promised() {
    let metrics = Arc::new(metrics());
    metrics.batch(0, Outcome::Committed);
    metrics.batch(0, Outcome::Committed);
    metrics.batch(1, Outcome::Empty);
    metrics.records(0, "http_requests", 1_000, at(NOW - 2_000_000));
    metrics.records(0, "http_requests", 500, at(NOW - 3_000_000));
    metrics.records(1, "our_own", 7, at(NOW));
    metrics.received_bytes(4_096);
    metrics.inflated_bytes(49_152);
    metrics.refused(Refusal::Unauthorized);
    metrics.endpoint_refused(0, Refusal::Unauthorized);
    metrics.quarantined(1, 3);
    for micros in [900, 1_000, 1_001, 600_000, 60_000_000] {
        metrics.commit(Duration::from_micros(micros));
    }
    metrics.ready();
    metrics.spool(8_192, 2, 90_000);
    metrics.quarantine(900, 100);
    metrics.quarantine(700, 200);
    metrics.sink_delivered(0, 1_500);
    metrics.sink_filtered(0, 500);
    metrics.sink_resent(0, 20);
    metrics.sink_oversize(0, 3);
    metrics.sink_error(1);
    metrics.sink_dropped(0, 7);
    metrics.sink_lag(1, Duration::from_millis(1250));
    metrics.certificate_expiry(1_800_000_000);
    metrics.acme_failure();
    metrics.log_lines_dropped(4);
    metrics.secret("main", "old");
    metrics.secret_used(metrics.secret("main", "new"), 1_790_000_000_500_000);
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
fn a_client_cannot_make_series() {
    let metrics = metrics();
    for hostile in ["evil\"} 1\nfake_total 2", "evil", "", "HTTP_REQUESTS", "http_requests "] {
        metrics.records(0, hostile, 1, at(NOW));
    }
    let text = metrics.render_at(at(NOW));
    assert!(!text.contains("evil") && !text.contains("fake"), "{text}");
    let line = "logpushd_records_total{endpoint=\"main\",dataset=\"other\"} 5\n";
    assert!(text.contains(line), "{text}");
    assert_eq!(text.matches("\nlogpushd_records_total{").count(), 1);
    assert_eq!(text.matches("\nlogpushd_last_batch_timestamp_seconds{").count(), 1);
}

#[test]
fn a_place_beyond_the_lists_counts_nothing() {
    let metrics = metrics();
    let before = metrics.render_at(at(NOW));
    metrics.batch(2, Outcome::Committed);
    metrics.quarantined(2, 1);
    metrics.sink_delivered(2, 1);
    metrics.sink_error(2);
    metrics.sink_lag(2, Duration::from_secs(1));
    assert_eq!(metrics.render_at(at(NOW)), before);
}

#[test]
fn who_goes_is_not_shown_and_counts_on_when_it_comes_back() {
    let metrics = metrics();
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
    metrics.sink_delivered(1, 5);
    metrics.records(1, "our_own", 3, at(NOW));
    metrics.show(&names(&["main", "added"], &["added", "archive"], &["another"]));
    assert_eq!((delivered("siem"), delivered("added")), (None, Some("0".to_owned())));
    assert!(!metrics.render_at(at(NOW)).contains("\"second\""));
    metrics.sink_delivered(1, 5);
    metrics.sink_delivered(metrics.sink("added"), 2);
    assert_eq!(delivered("added"), Some("2".to_owned()));
    metrics.records(metrics.endpoint("added"), "another", 4, at(NOW));
    metrics.records(1, "our_own", 3, at(NOW));

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
    // Steps are what the clocks differ by: the first arrives while the wall clock is a year ahead.
    let ahead = |arrival: Arrival| Arrival { wall_micros: arrival.wall_micros + YEAR, ..arrival };
    metrics.records(0, "our_own", 1, ahead(at(NOW)));
    assert_eq!(shown(&metrics, ahead(at(NOW + 1))), "1821536000.500000");
    assert_eq!(shown(&metrics, at(NOW + 5_000_000)), "1790000000.500000", "a second, corrected");
    metrics.records(0, "our_own", 1, at(NOW + 7_000_000));
    assert_eq!(shown(&metrics, at(NOW + 9_000_000)), "1790000007.500000");
    assert_eq!(shown(&metrics, ahead(at(NOW + 9_000_000))), "1821536007.500000");
}

/// A moment when both clocks agree.
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
    Metrics::new(&names, &["not_json", "too_long"])
}
