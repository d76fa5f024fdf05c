//! `logpushd doctor`: each fault provoked for real, and reported in Cloudflare's words and in ours.

mod answers;
mod certificates;
mod golden;
mod network;
mod pki;
mod server;

use std::{
    io::Write as _,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use self::golden::{compare, render};
use crate::support::{Exit, Finished, SECRET, Setup, finish, logpushd};

/// How `doctor` is called.
#[derive(Clone, Copy, Default)]
struct Call<'a> {
    ca: Option<&'a Path>,
    no_batch: bool,
}

impl Call<'_> {
    fn trusting(ca: &Path) -> Call<'_> {
        Call { ca: Some(ca), ..Call::default() }
    }

    fn command(&self, destination: &str) -> Command {
        let mut command = logpushd();
        command.args(["doctor", destination]);
        if let Some(path) = self.ca {
            command.arg("--ca").arg(path);
        }
        if self.no_batch {
            command.arg("--no-batch");
        }
        command
    }

    /// Runs it, and returns the report and the exit code.
    #[track_caller]
    fn run(&self, destination: &str) -> (Value, Exit) {
        let Finished { exit, stdout, stderr } = finish(self.command(destination).arg("--json"));
        let report: Value = serde_json::from_str(&stdout)
            .unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
        let is_failed = |step: &Value| step["outcome"] == "fail";
        let failed = report["steps"].as_array().unwrap().iter().any(is_failed);
        assert_eq!(report["ok"], !failed);
        assert_eq!(exit == Exit::Code(0), !failed, "{stdout}");
        assert_eq!(stderr.is_empty(), !failed, "{stderr}");
        (report, exit)
    }

    /// Runs it, and compares its report with the golden file.
    #[track_caller]
    fn check(&self, golden: &str, destination: &str, address: SocketAddr) -> Exit {
        let (report, exit) = self.run(destination);
        let ca = self.ca.and_then(Path::to_str).unwrap_or("no authority");
        compare(golden, &render(&report, address).replace(ca, "ca.pem"));
        exit
    }
}

/// The only finding of a step.
#[track_caller]
fn finding<'a>(report: &'a Value, step: &str) -> &'a Value {
    let steps = report["steps"].as_array().unwrap();
    let found = steps.iter().find(|finding| finding["step"] == step);
    found.unwrap_or_else(|| panic!("no step {step} in {report:#}"))
}

const HEADER: &str = "header_X-Logpush-Secret=a-secret-of-the-tests";

const FAILED: Exit = Exit::Code(69);

#[test]
fn a_working_daemon_passes_every_step() {
    let daemon = Setup::new().start();
    let (address, ca) = (daemon.address, daemon.path("fullchain.pem"));
    let destination = format!("https://{address}/logpush/http_requests?{HEADER}");
    let call = Call::trusting(&ca);
    assert_eq!(call.check("good", &destination, address), Exit::Code(0));

    assert_eq!(daemon.wait_logs("answered Cloudflare's destination check", 1).len(), 1);
    let checks = "logpushd_batches_total{endpoint=\"main\",outcome=\"destination_check\"}";
    assert_eq!(daemon.count(checks), 1);
    assert_eq!(daemon.count("logpushd_refused_total{reason=\"unauthorized\"}"), 2);
    daemon.wait_count("logpushd_sink_delivered_records_total{sink=\"archive\"}", |n| n == 1);
    let file = std::fs::read_to_string(daemon.path("out/http_requests.ndjson")).unwrap();
    assert!(file.starts_with("{\"logpushd_doctor\":\"a test"), "{file}");

    // The readable form, with the verdict at the end.
    let finished = finish(&mut call.command(&destination));
    assert_eq!(finished.exit, Exit::Code(0));
    assert!(!finished.stdout.contains(SECRET), "{}", finished.stdout);
    let lines: Vec<_> = finished.stdout.lines().collect();
    assert!(lines[0].starts_with("ok    destination            https://127.0.0.1:"), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("ok    batch  ")), "{lines:?}");
    assert!(lines.last().unwrap().starts_with("No step failed; "), "{lines:?}");

    let quiet = Call { no_batch: true, ..call };
    let (report, _) = quiet.run(&destination);
    assert!(!report.to_string().contains("\"batch\""), "{report:#}");
    assert_eq!(
        daemon.count("logpushd_records_total{endpoint=\"main\",dataset=\"http_requests\"}"),
        2
    );
}

#[test]
fn the_destination_may_come_from_standard_input() {
    let mut child = logpushd()
        .args(["doctor", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"http://localhost/a b\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, "logpushd: the destination is invalid\n");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let words = finding(&report, "destination")["cloudflare"].as_str().unwrap();
    assert!(words.starts_with("invalid destination_conf: config string must match"), "{words}");
    // From a file as well.
    let setup = Setup::new();
    setup.write("url", "http://localhost/a b\n");
    let from_file = finish(logpushd().args(["doctor", "@url"]).current_dir(setup.directory()));
    assert_eq!(from_file.exit, Exit::Code(64), "{from_file:?}");
    assert!(from_file.stdout.contains("invalid destination_conf"), "{from_file:?}");
}

#[test]
fn an_unreadable_ca_file_is_reported() {
    let setup = Setup::new();
    let path = setup.path("gone.pem");
    let finished = finish(&mut Call::trusting(&path).command("https://127.0.0.1:1/"));
    assert_eq!(finished.exit, Exit::Code(74), "{}", finished.stderr);
    assert!(finished.stderr.contains("gone.pem"), "{}", finished.stderr);
}

#[test]
fn an_endpoint_for_csv_gets_no_record_that_it_would_reject() {
    let rows = "path = \"/rows/{dataset}\"\nformat = \"csv\"\ncolumns = [\"a\"]\nsecret_file = \"secrets.txt\"";
    let daemon = Setup::new().table("endpoint.rows", rows).start();
    let url = format!("https://{}/rows/dns_logs?{HEADER}", daemon.address);
    let (report, exit) = Call::trusting(&daemon.path("fullchain.pem")).run(&url);
    assert_eq!(exit, Exit::Code(0), "{report:#}");
    let batch = finding(&report, "batch");
    assert_eq!(batch["outcome"], "pass", "{report:#}");
    assert!(batch["ours"].as_str().unwrap().contains("the endpoint expects CSV"), "{batch}");
    for outcome in ["committed", "quarantined"] {
        let batches = format!("logpushd_batches_total{{endpoint=\"rows\",outcome=\"{outcome}\"}}");
        assert_eq!(daemon.count(&batches), 0, "{outcome}");
    }
    let stopped = daemon.stop().exited_cleanly();
    assert!(!stopped.log.contains("records are in quarantine"), "{}", stopped.log);
}
