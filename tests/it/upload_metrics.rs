//! The metrics of sinks that send requests.

use std::net::TcpListener;

use serde_json::Value;

use crate::support::{
    Daemon, Setup, closed_port,
    collector::{Collector, ok, refusal},
    count_lines, numbered, wait_for, wait_until,
};

fn of(metric: &str, sink: &str) -> String {
    format!("logpushd_sink_{metric}{{sink=\"{sink}\"}}")
}

fn requests(daemon: &Daemon, sink: &str, outcome: &str) -> u64 {
    let labels = format!("{{sink=\"{sink}\",outcome=\"{outcome}\"}}");
    daemon.count(&format!("logpushd_sink_requests_total{labels}"))
}

/// The class of the last error of a sink.
fn last_error(daemon: &Daemon, sink: &str) -> Option<String> {
    let text = daemon.ask("/metrics").1;
    let series = format!("logpushd_sink_last_error_timestamp_seconds{{sink=\"{sink}\",class=\"");
    let mut found = text.lines().filter_map(|line| line.strip_prefix(&series));
    let class = found.next()?.split_once('"').unwrap().0.to_owned();
    assert_eq!(found.next(), None, "one series: {text}");
    Some(class)
}

#[test]
fn requests_and_delivered_records_are_counted() {
    let collector = Collector::start();
    let is_first = std::sync::atomic::AtomicBool::new(true);
    collector.answer_by(move |request| {
        if is_first.swap(false, std::sync::atomic::Ordering::Relaxed) {
            return refusal(503, "busy");
        }
        let text = String::from_utf8_lossy(&request.body);
        match count_lines(&request.body) {
            5.. => refusal(413, "too large"),
            _ if text.contains("\"bad\"") => refusal(400, "no field `bad` here"),
            _ => ok(),
        }
    });
    let url = collector.url("/in");
    let daemon = Setup::new()
        .table("sink.collector.http", &format!("url = \"{url}\"\nin_flight = 1"))
        .start();
    assert_eq!(daemon.count(&of("request_seconds_count", "collector")), 0, "there from the start");
    assert_eq!(last_error(&daemon, "collector"), None);
    let text = daemon.ask("/metrics").1;
    assert!(!text.contains("logpushd_sink_requests_total{sink=\"archive\""), "{text}");

    let good = numbered(1, 7);
    let records = [&good[..], b"{\"bad\":1}\n"].concat();
    daemon.commit(&records);
    let delivered = of("delivered_records_total", "collector");
    daemon.wait_count(&of("refused_records_total", "collector"), |count| count == 1);
    daemon.wait_count(&delivered, |count| count == 7);
    daemon.wait_count(&of("requests_in_flight", "collector"), |count| count == 0);
    // 8 records: 503, 413; 4 records: 200; 4: 400; 2: 200; 2: 400; 1: 200; 1: 400.
    for (outcome, count) in
        [("delivered", 3), ("retried", 1), ("too_large", 1), ("refused", 3), ("partial", 0)]
    {
        assert_eq!(requests(&daemon, "collector", outcome), count, "{outcome}");
    }
    let received = collector.received();
    let bytes = received.iter().map(|request| request.body.len() as u64).sum::<u64>();
    assert_eq!(daemon.count(&of("sent_bytes_total", "collector")), bytes);
    assert_eq!(daemon.count(&of("request_seconds_count", "collector")), received.len() as u64);
    assert_eq!(last_error(&daemon, "collector").as_deref(), Some("refused"));
    assert_eq!(daemon.count(&delivered), 7, "the refused record is not delivered");
    daemon.stop().exited_cleanly();
}

#[test]
fn a_sink_that_delivers_nothing_has_a_class_of_error_and_no_success() {
    let (_held, nobody) = closed_port();
    // The system accepts connections, and nothing answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_address = silent.local_addr().unwrap();
    let (throttling, moved, locked) = (Collector::start(), Collector::start(), Collector::start());
    throttling.answer_by(|_| refusal(429, "slow down"));
    moved.answer_by(|_| (308, vec![("location", "/elsewhere".to_owned())], String::new()));
    locked.answer_by(|_| refusal(401, "who are you"));
    let classes = [
        ("resolve", "http://no-such-name.invalid/".to_owned()),
        ("connect", format!("http://{nobody}/")),
        ("timeout", format!("http://{silent_address}/")),
        ("tls", format!("https://{}/", locked.address)),
        ("throttled", throttling.url("/")),
        ("redirect", moved.url("/")),
        ("credentials", locked.url("/")),
    ];
    let mut setup = Setup::new();
    for (class, url) in &classes {
        let timeout = if *class == "timeout" { "2s" } else { "60s" };
        let keys = format!("url = \"{url}\"\ntimeout = \"{timeout}\"");
        setup.set(&format!("sink.{class}.http"), &keys);
    }
    let daemon = setup.start();
    daemon.commit(&numbered(1, 10));
    daemon.wait_count(&of("requests_in_flight", "timeout"), |count| count == 1);
    for (class, _) in &classes {
        let last = wait_for(&format!("the last error of {class}"), || last_error(&daemon, class));
        assert_eq!(last, *class);
        let delivered = daemon.count(&of("delivered_records_total", class));
        assert_eq!(delivered, 0, "{class}: a batch in flight is not delivered");
    }
    assert!(!daemon.ask("/metrics").1.contains("last_success_timestamp_seconds{sink=\"connect\"}"));
    assert!(requests(&daemon, "credentials", "action_required") > 0);
    assert!(requests(&daemon, "connect", "retried") > 0);

    // The metrics continue after the target works again.
    throttling.answer_by(|_| ok());
    daemon.wait_count(&of("delivered_records_total", "throttled"), |count| count == 10);
    wait_until("a success", || {
        let text = daemon.ask("/metrics").1;
        text.contains(&of("last_success_timestamp_seconds", "throttled"))
    });
    assert_eq!(last_error(&daemon, "throttled").as_deref(), Some("throttled"));
    let reasons = daemon.logged("the sink failed");
    let is_late = |line: &Value| line.to_string().contains("no answer within 2");
    assert!(reasons.iter().any(is_late), "{reasons:?}");
}
