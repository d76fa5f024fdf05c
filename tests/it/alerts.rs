//! The alert rules on a real Prometheus, with shorter times.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    DEADLINE, Daemon, Http, Setup, Upload, closed_port, free_port, numbered, repository,
    require::{PROMETHEUS, has},
    wait_for, wait_until,
};

const RULES: &str = "pkg/prometheus/logpushd.rules.yml";

/// A Prometheus that scrapes one daemon each second, stopped when this is dropped.
struct Prometheus {
    process: Child,
    port: u16,
    dir: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Prometheus {
    fn start(daemon: &Daemon) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let rules = fs::read_to_string(repository(RULES)).unwrap();
        fs::write(dir.path().join("rules.yml"), shortened(&rules)).unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\n\
             rule_files: [rules.yml]\n\
             scrape_configs:\n  - job_name: logpushd\n    static_configs:\n      - targets: [\"{}\"]\n",
            daemon.admin
        );
        fs::write(dir.path().join("prometheus.yml"), config).unwrap();
        let port = free_port();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let this = Self { process, port, dir };
        wait_until("a Prometheus that has scraped", || {
            this.query("up").is_some_and(|samples| !samples.is_empty())
        });
        this
    }

    /// Its answer; `None` while it does not answer.
    fn ask(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()
    }

    /// The values of a series, as text.
    fn query(&self, series: &str) -> Option<Vec<String>> {
        let answer = self.ask(&format!("/api/v1/query?query={series}"))?;
        let samples = answer["data"]["result"].as_array()?.iter();
        Some(samples.map(|sample| sample["value"][1].as_str().unwrap().to_owned()).collect())
    }

    /// The firing alerts: since when each is pending, by its name and its sink or dataset.
    fn firing(&self) -> BTreeMap<(String, String), String> {
        let answer = self.ask("/api/v1/alerts").unwrap_or_default();
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let fires = alerts.into_iter().filter(|alert| alert["state"] == "firing");
        let of = |alert: Value| {
            let labels = &alert["labels"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let what = labels.get("sink").or(labels.get("dataset")).unwrap_or(&Value::Null);
            ((text(&labels["alertname"]), text(what)), text(&alert["activeAt"]))
        };
        fires.map(of).collect()
    }

    /// Waits until an alert fires, and returns since when it was pending.
    fn wait_firing(&self, alert: &str, what: &str) -> String {
        let key = (format!("Logpushd{alert}"), what.to_owned());
        wait_for(&format!("{alert} {what}"), || self.firing().remove(&key))
    }

    /// The firing alerts, by their names.
    fn names(&self) -> Vec<String> {
        self.firing().into_keys().map(|(name, _)| name.replace("Logpushd", "")).collect()
    }
}

/// The rules with 2 s for their waiting times of minutes and hours, and with lower thresholds in
/// seconds.
fn shortened(rules: &str) -> String {
    let mut changed = 0;
    let mut text = String::new();
    for line in rules.lines() {
        let line = match line.split_once("for: ") {
            Some((before, _)) if before.trim().is_empty() => format!("{before}for: 2s"),
            _ => line
                .replace("logpushd_sink_lag_seconds > 300", "logpushd_sink_lag_seconds > 3")
                .replace("[2d]) > 3600", "[2d]) > 5"),
        };
        changed += usize::from(!rules.contains(&format!("{line}\n")));
        text += &line;
        text.push('\n');
    }
    assert!(changed > 15, "{changed} lines were changed:\n{text}");
    assert!(text.contains("_seconds > 3\n") && text.contains("[2d]) > 5\n"), "{text}");
    text
}

/// A certificate that is valid for two more days.
fn certificate(setup: &Setup) {
    let key = KeyPair::generate().unwrap();
    let mut params =
        CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let end = Timestamp::now().to_zoned(TimeZone::UTC).checked_add(2.days()).unwrap();
    let [month, day] = [end.month(), end.day()].map(|number| u8::try_from(number).unwrap());
    params.not_after = rcgen::date_time_ymd(end.year().into(), month, day);
    setup.write("fullchain.pem", params.self_signed(&key).unwrap().pem());
    setup.write("privkey.pem", key.serialize_pem());
}

#[test]
fn each_failure_fires_its_alert() {
    if !has(&[&PROMETHEUS]) {
        return;
    }
    let (_held, nobody) = closed_port();
    let setup = Setup::new()
        .table("server.tls", "cert_file = \"fullchain.pem\"\nkey_file = \"privkey.pem\"")
        // After the restart it has the same address.
        .table("admin", &format!("address = \"127.0.0.1:{}\"", free_port()))
        .table("spool", "dir = \"spool\"\nmax_bytes = \"1MiB\"");
    certificate(&setup);
    let daemon = setup.start();
    daemon.commit(&numbered(1, 10));
    let prometheus = Prometheus::start(&daemon);
    prometheus.wait_firing("CertificateExpiresSoon", "");
    prometheus.wait_firing("CertificateExpires", "");

    // No more uploads: an alert that is pending before the restart is still pending after it.
    let since = prometheus.wait_firing("DatasetIsSilent", "http_requests");
    let mut firing = prometheus.names();
    // In an hour as short as this one nothing need arrive.
    firing.retain(|name| name != "NothingArrives");
    let expected = ["CertificateExpires", "CertificateExpiresSoon", "DatasetIsSilent"];
    assert_eq!(firing, expected, "no other alert fires");
    let started = prometheus.query("process_start_time_seconds").unwrap();
    let mut stopped = daemon.stop().exited_cleanly();
    let syslog = format!("address = \"tcp://{nobody}\"\nmessage = \"json\"");
    stopped.setup.set("sink.siem.syslog", &syslog);
    let daemon = stopped.start();
    wait_until("a scrape after the restart", || {
        let now = prometheus.query("process_start_time_seconds");
        now.is_some_and(|now| now != started && !now.is_empty())
            && prometheus.query("up").is_some_and(|up| up == ["1"])
    });
    assert_eq!(prometheus.wait_firing("DatasetIsSilent", "http_requests"), since);

    // For the failed sink; more than three quarters of the spool.
    let text = "x".repeat(900_000);
    let upload = Upload::of(format!("{{\"a\":\"{text}\"}}\n")).to("/logpush/dns_logs");
    daemon.send(Http::One, upload).committed();
    prometheus.wait_firing("SinkFails", "siem");
    prometheus.wait_firing("SinkLags", "siem");
    prometheus.wait_firing("SpoolFilling", "");
    let archive = |(_, what): &(String, String)| what == "archive";
    assert!(!prometheus.firing().keys().any(archive), "{:?}", prometheus.firing());

    let stopped = daemon.kill();
    prometheus.wait_firing("Down", "");
    // Also while the daemon does not run.
    assert_eq!(prometheus.wait_firing("DatasetIsSilent", "http_requests"), since);
    let log = fs::read_to_string(prometheus.dir.path().join("log")).unwrap();
    assert!(!log.contains("level=error"), "{log}");
    drop(stopped);
}
