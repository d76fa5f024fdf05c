//! Events of real HEC senders are delivered.

use std::{env, path::Path, process::Command};

use super::{PREFIX, SUCCESS, TOKEN, events, setup};
use crate::{
    curl,
    support::{Daemon, Exit, Finished, finish, gzip, require, skip, wait_until},
};

/// The commands of Splunk's documentation.
fn curl(daemon: &Daemon, path: &str, arguments: &[&str]) -> Finished {
    curl::curl_at(daemon, &format!("{PREFIX}{path}"), arguments)
}

#[test]
fn curl_commands_of_the_splunk_documentation_work() {
    if !require::has(&[&require::CURL]) {
        return;
    }
    let daemon = setup().start();
    let events = events(5, 2000).replace("}\n{", "}{");
    daemon.setup().write("events.json", &events);
    daemon.setup().write("events.json.gz", gzip(events.as_bytes()));
    let (token, user) = (format!("Authorization: Splunk {TOKEN}"), format!("x:{TOKEN}"));
    for protocol in ["--http1.1", "--http2"] {
        for (path, arguments) in [
            (
                "/event",
                &["-H", &token, "-d", "{\"event\": \"hello\", \"sourcetype\": \"manual\"}"][..],
            ),
            ("", &["-u", &user, "-d", "{\"event\": 1}{\"event\": 2}"]),
            ("/raw?channel=x", &["-H", &token, "-d", "{\"raw\": true}"]),
            ("/event", &["-H", &token, "--data-binary", "@events.json"]),
            (
                "/event",
                &["-H", &token, "-H", "Content-Encoding: gzip", "--data-binary", "@events.json.gz"],
            ),
        ] {
            let finished = curl(&daemon, path, &[&[protocol], arguments].concat());
            assert_eq!(finished.stdout, format!("{SUCCESS} 200"), "{path} {}", finished.stderr);
        }
        let finished = curl(&daemon, "/health", &[protocol]);
        assert_eq!(finished.stdout, "{\"text\":\"HEC is healthy\",\"code\":17} 200");
    }
    let records = "logpushd_records_total{endpoint=\"hec\",dataset=\"splunk_hec\"}";
    assert_eq!(daemon.count(records), 2 * (1 + 2 + 1 + 2 * 2000));
    daemon.stop().exited_cleanly();
}

/// Two handlers of Python's logging: one sends each record in a separate request, the other
/// concatenates them.
const PROGRAM: &str = r#"
import logging, sys

port, token, certificate = int(sys.argv[1]), sys.argv[2], sys.argv[3]
log = logging.getLogger("test")
log.setLevel(logging.INFO)

from splunk_hec_handler import SplunkHecHandler
one = SplunkHecHandler("127.0.0.1", token, port=port, proto="https", ssl_verify=certificate, source="one")
log.addHandler(one)
for number in range(5):
    log.info({"number": number, "text": "}{ \"quoted\""})
log.removeHandler(one)

from splunk_handler import SplunkHandler
other = SplunkHandler("127.0.0.1", port, token, index="main", source="other", sourcetype="test", verify=certificate, flush_interval=3600, retry_count=0)
log.addHandler(other)
for number in range(200):
    log.info("record %d }{ \"quoted\"", number)
other.force_flush()
logging.shutdown()
"#;

/// A Python that has both of them.
fn python() -> Option<String> {
    let python = env::var("LOGPUSHD_HEC_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut command = Command::new(&python);
    command.args(["-c", "import splunk_hec_handler, splunk_handler"]);
    let is_there = command.output().is_ok_and(|output| output.status.success());
    if !is_there {
        skip(&format!("{python} has no splunk-hec-handler and splunk-handler"));
    }
    is_there.then_some(python)
}

#[test]
fn events_of_two_python_logging_handlers_are_delivered() {
    let Some(python) = python() else { return };
    let daemon = setup().start();
    let mut command = Command::new(python);
    command
        .args(["-c", PROGRAM, &daemon.address.port().to_string(), TOKEN])
        .arg(daemon.path("fullchain.pem"))
        .env("NO_PROXY", "*")
        .env_remove("REQUESTS_CA_BUNDLE")
        .env_remove("CURL_CA_BUNDLE");
    let finished = finish(&mut command);
    assert_eq!(finished.exit, Exit::Code(0), "{finished:?}");
    let path = daemon.path("out/splunk_hec.ndjson");
    wait_until("all records", || lines(&path).len() >= 205);
    let lines = lines(&path);
    assert_eq!(lines.len(), 205);
    for (number, line) in (0..).zip(lines.iter().take(5)) {
        assert_eq!(line["event"]["number"], number);
        assert_eq!(
            (line["event"]["text"].as_str(), line["source"].as_str()),
            (Some("}{ \"quoted\""), Some("one"))
        );
    }
    for (number, line) in lines.iter().skip(5).enumerate() {
        assert!(line["event"].to_string().contains(&format!("record {number} ")), "{line}");
        assert_eq!(
            (line["index"].as_str(), line["source"].as_str()),
            (Some("main"), Some("other"))
        );
    }
    // Concatenated: fewer requests than events.
    let batches = "logpushd_batches_total{endpoint=\"hec\",outcome=\"committed\"}";
    assert!(daemon.count(batches) < 100, "{}", daemon.count(batches));
    daemon.stop().exited_cleanly();
}

/// The complete lines: the last one may be incomplete while it is written.
fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap()).collect()
}
