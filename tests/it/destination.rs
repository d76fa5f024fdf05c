//! `logpushd destination` prints what Cloudflare needs, and it works.

use std::process::Command;

use serde_json::Value;

use crate::support::{Daemon, Exit, Setup, finish, logpushd, require};

/// Characters that a query, a header or a shell could misread.
const ODD: &str = "it's $HOME + 100% \"good\"/=&é~";

fn start() -> Daemon {
    let setup = Setup::new();
    setup.write("secrets.txt", format!("\n {ODD} \nolder\n"));
    setup.start()
}

/// The one destination of a daemon's configuration.
fn destination(daemon: &Daemon) -> Value {
    let finished = finish(
        logpushd()
            .args(["destination", "--json", "--dataset", "dns_logs", "-c"])
            .arg(daemon.setup().config())
            .args(["--host", &daemon.address.to_string()]),
    );
    assert_eq!(finished.exit, Exit::Code(0), "{}", finished.stderr);
    let mut whole: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert_eq!(whole["destinations"].as_array().unwrap().len(), 1, "{whole:#}");
    whole["destinations"][0].take()
}

#[test]
fn the_printed_destination_passes_every_step_of_doctor() {
    let daemon = start();
    let entry = destination(&daemon);
    assert_eq!(
        (&entry["endpoint"], &entry["dataset"]),
        (&Value::from("main"), &Value::from("dns_logs"))
    );
    let text = entry["destination_conf"].as_str().unwrap();
    let finished =
        finish(logpushd().args(["doctor", text, "--ca"]).arg(daemon.path("fullchain.pem")));
    assert_eq!(finished.exit, Exit::Code(0), "{}{}", finished.stdout, finished.stderr);
    assert!(finished.stdout.contains("refused with a wrong secret (401)"), "{}", finished.stdout);
    assert!(!finished.stdout.contains(text), "{}", finished.stdout);
    daemon.wait_count("logpushd_sink_delivered_records_total{sink=\"archive\"}", |n| n == 1);
    assert!(daemon.path("out/dns_logs.ndjson").exists());
}

#[test]
fn the_printed_curl_command_works() {
    if !require::has(&[&require::CURL, &require::GZIP]) {
        return;
    }
    let daemon = start();
    let entry = destination(&daemon);
    let call = entry["curl"].as_str().unwrap();
    assert!(!call.contains("100%"), "the secret is not in it: {call}");
    let finished = finish(
        Command::new("sh")
            .args(["-c", call])
            .env("no_proxy", "*")
            .current_dir(daemon.setup().directory()),
    );
    let answer: Value = serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("{error}: {} {}", finished.stdout, finished.stderr));
    assert_eq!(answer["status"], "destination_check");
}

#[test]
fn the_output_can_be_copied() {
    let setup = Setup::new().table("server", r#"address = "0.0.0.0:8443""#);
    setup.write_config();
    let print = || finish(logpushd().args(["destination", "-c"]).arg(setup.config()));
    let finished = print();
    assert_eq!(finished.exit, Exit::Code(0), "{}", finished.stderr);
    let text = "https://localhost:8443/logpush/http_requests?header_X-Logpush-Secret=a-secret-of-the-tests";
    assert_eq!(finished.stdout.lines().filter(|line| *line == text).count(), 1);
    assert!(finished.stdout.starts_with("# endpoint main, dataset http_requests (an example"));
    // The daemon creates the certificate when it starts. This command does not.
    assert!(!setup.path("fullchain.pem").exists());
    assert_eq!(
        finish(logpushd().arg("destination").arg("-c").arg("nowhere.toml")).exit,
        Exit::Code(78)
    );
    setup.write("secrets.txt", "");
    assert_eq!(print().exit, Exit::Code(78));
}
