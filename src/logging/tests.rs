use std::{fs, path::Path};

use serde_json::{Value, json};
use tracing::{debug, error, error_span, info, subscriber::with_default, warn};

use super::{line::shown_target, *};

/// Returns the lines that `run` logs.
fn logged(format: LogFormat, reader: LogReader, run: impl FnOnce(&LogHandle)) -> String {
    let (subscriber, log) = subscriber(Style { format, reader }, LogLevel::Info);
    with_default(subscriber, || run(&log));
    log.queue.waiting()
}

fn json(run: impl FnOnce(&LogHandle)) -> Value {
    let text = logged(LogFormat::Json, LogReader::Any, run);
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_text_line_begins_with_its_time_or_its_priority() {
    for (reader, starts) in [(LogReader::Any, "20"), (LogReader::Journal, "<6> INFO logpushd")] {
        let text = logged(LogFormat::Text, reader, |_| info!(peer = "192.0.2.1", "accepted"));
        assert!(text.starts_with(starts), "{text}");
        assert!(text.ends_with(": accepted peer=\"192.0.2.1\"\n"), "{text}");
    }
}

#[test]
fn the_journal_gets_the_priority_of_each_level() {
    let text = logged(LogFormat::Text, LogReader::Journal, |log| {
        log.set_level(LogLevel::Trace);
        error!("a");
        warn!("b");
        info!("c");
        debug!("d");
        tracing::trace!("e");
    });
    let priorities: Vec<_> = text.lines().filter_map(|line| line.get(..3)).collect();
    assert_eq!(priorities, ["<3>", "<4>", "<6>", "<7>", "<7>"]);
}

#[test]
fn a_json_line_is_one_flat_object() {
    let line = json(|_| info!(bytes = 7, "with \"quotes\"\nand lines"));
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["message"], "with \"quotes\"\nand lines");
    assert_eq!(line["bytes"], 7);
    assert_eq!(line["target"], module_path!());
    assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
}

#[test]
fn json_values_are_plain() {
    let path = Path::new("/a \"b\"");
    let large = u128::from(u64::MAX) + 1;
    let line = json(|_| {
        info!(
            path = %path.display(), large, ok = true, ratio = 0.5, none = f64::NAN,
            sinks = %list(&["a", "b"]), bidi = "\u{202e}\u{e0001}", "event"
        );
    });
    assert_eq!(line["path"], "/a \"b\"");
    assert!(line["large"].is_number(), "{line}");
    let rest = json!({"ok": true, "ratio": 0.5, "none": "NaN", "sinks": "a, b"});
    for (key, value) in rest.as_object().unwrap() {
        assert_eq!(&line[key], value);
    }
    assert_eq!(line["bidi"], "\u{202e}\u{e0001}");
}

#[test]
fn no_value_breaks_a_line_or_passes_for_another_field() {
    let evil = "x peer=1.2.3.4 \"\n2026 refused\u{202e}\u{9b}31m\u{2028}\\";
    for format in [LogFormat::Text, LogFormat::Json] {
        let text = logged(format, LogReader::Any, |_| {
            info!(evil, shown = %evil, debug = ?evil, "event {evil}");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        let inner = text.trim_end_matches('\n');
        assert!(!inner.contains(crate::printable::is_hidden), "{inner:?}");
    }
    let text = logged(LogFormat::Text, LogReader::Any, |_| info!(shown = %evil, n = 1, "event"));
    let expected = r#" shown="x peer=1.2.3.4 \"\n2026 refused\u{202e}\u{9b}31m\u{2028}\\" n=1"#;
    assert!(text.trim_end().ends_with(expected), "{text}");
}

#[test]
fn an_event_has_the_fields_of_its_span() {
    let line = json(|_| error_span!("sink", sink = "a").in_scope(|| info!(bytes = 7, "event")));
    assert_eq!((&line["sink"], &line["bytes"]), (&json!("a"), &json!(7)));
    let line = json(|log| {
        log.set_level(LogLevel::Error);
        error_span!("sink", sink = "a").in_scope(|| error!(sink = "b", "event"));
    });
    assert_eq!(line["sink"], "b");
}

#[test]
fn a_line_has_a_maximum_length() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let long = "\u{202e}".repeat(1 << 20);
        let text = logged(format, LogReader::Any, |_| info!(long, shown = %long, "{long}"));
        assert!(text.len() < 100_000, "{}", text.len());
        assert!(text.contains('…'));
    }
}

#[test]
fn the_level_changes_while_running() {
    let text = logged(LogFormat::Text, LogReader::Journal, |log| {
        log.set_level(LogLevel::Warn);
        info!("one");
        log.set_level(LogLevel::Info);
        info!("two");
        debug!("three");
        log.set_level(LogLevel::Error);
        warn!("four");
    });
    assert!(text.contains("two") && text.lines().count() == 1, "{text}");
}

#[test]
fn libraries_log_details_only_at_debug_level() {
    use tracing::Level;

    let info = targets(LogLevel::Info);
    assert!(info.would_enable("logpushd::serve", &Level::INFO));
    assert!(!info.would_enable("h2::codec", &Level::INFO));
    assert!(info.would_enable("h2::codec", &Level::WARN));
    assert!(targets(LogLevel::Debug).would_enable("h2::codec", &Level::DEBUG));
    assert!(!targets(LogLevel::Error).would_enable("rustls", &Level::WARN));
}

#[test]
fn crates_of_the_workspace_are_modules_of_the_daemon() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    for entry in fs::read_dir(directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let module = if name == "sinks" { "sink" } else { &name };
        assert_eq!(shown_target(&format!("{name}::a")), format!("logpushd::{module}::a"));
    }
    for other in ["logpushd::serve", "rustls::conn", "spooler::a"] {
        assert_eq!(shown_target(other), other);
    }
    let line = json(|_| info!(target: "spool::disk", "event"));
    assert_eq!(line["target"], "logpushd::spool::disk");
}
