//! The audit log tells who did what to the daemon, has no secret, and delays nothing.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Daemon, Exit, Http, Setup, Upload, finish, logpushd, tls::Pair, wait_for};

fn setup() -> Setup {
    let setup = Setup::new().table("log", "format = \"json\"\naudit_file = \"audit.ndjson\"\n");
    setup.write("secrets.txt", "old: 0123456789abcdef\n");
    setup
}

fn events(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn wait_event(daemon: &Daemon, event: &str) -> Value {
    let path = daemon.path("audit.ndjson");
    wait_for(event, || events(&path).into_iter().find(|line| line["event"] == event))
}

#[test]
fn what_an_operator_and_strangers_did_is_in_the_audit_log() {
    let daemon = setup().start();
    let path = daemon.path("audit.ndjson");
    assert_eq!(wait_event(&daemon, "start")["pid"], daemon.pid());
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let send = |secret: &str| daemon.send(Http::Two, Upload::of("test").secret(secret)).status;
    assert_eq!(send("0123456789abcdef"), 200);
    assert_eq!(wait_event(&daemon, "secret_used")["secret"], "old");
    assert_eq!([send("wrong-1"), send("wrong-2")], [401, 401]);

    daemon.setup().write("secrets.txt", "new: fedcba9876543210\n");
    let pair = Pair::self_signed();
    daemon.setup().write("fullchain.pem", pair.cert);
    daemon.setup().write("privkey.pem", pair.key);
    let limits = ("limits", Some("max_connections = 77"));
    let spool = ("spool", Some("dir = \"elsewhere\"\ndedup_window = \"0s\""));
    daemon.setup().write_config_with(&[limits, spool]);
    daemon.signal(Signal::HUP);
    let reload = wait_event(&daemon, "reload");
    assert_eq!(reload["changed"], serde_json::json!(["limits.max_connections", "spool.dir"]));
    assert_eq!(reload["need_restart"], serde_json::json!(["spool.dir"]));
    let changed = wait_event(&daemon, "secrets_changed");
    assert_eq!(changed["added"], serde_json::json!(["new"]));
    assert_eq!(changed["removed"], serde_json::json!(["old"]));
    wait_event(&daemon, "certificate_changed");

    daemon.setup().write("logpushd.toml", "nonsense = true\n");
    daemon.signal(Signal::HUP);
    let refused = wait_event(&daemon, "reload_refused");
    assert!(refused["problem"].as_str().unwrap().contains("nonsense"), "{refused}");

    let stopped = daemon.stop().in_order();
    let all = events(&stopped.setup.path("audit.ndjson"));
    let failures: Vec<_> =
        all.iter().filter(|line| line["event"] == "authentication_failures").collect();
    assert_eq!(failures.iter().map(|line| line["count"].as_u64().unwrap()).sum::<u64>(), 2);
    assert!(
        failures.iter().all(|line| line["network"] == "127.0.0.1" && line["endpoint"] == "main")
    );
    assert!(all.iter().any(|line| line["event"] == "stop" && line["reason"] == "SIGTERM"));
    for line in &all {
        assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
        let text = line.to_string();
        assert!(!["0123456789abcdef", "fedcba98", "wrong-"].iter().any(|part| text.contains(part)));
    }
}

#[test]
fn a_renamed_file_is_begun_again_and_a_link_is_not_followed() {
    let daemon = setup().start();
    let path = daemon.path("audit.ndjson");
    wait_event(&daemon, "start");
    fs::rename(&path, daemon.path("audit.1")).unwrap();
    daemon.signal(Signal::USR1);
    daemon.wait_log("reopening files");
    daemon.send(Http::Two, Upload::of("test").secret("0123456789abcdef"));
    wait_event(&daemon, "secret_used");

    fs::rename(&path, daemon.path("audit.2")).unwrap();
    fs::write(daemon.path("other"), "").unwrap();
    std::os::unix::fs::symlink(daemon.path("other"), &path).unwrap();
    daemon.setup().write("logpushd.toml", "nonsense = true\n");
    daemon.signal(Signal::HUP);
    daemon.wait_log("cannot write the audit log: events are lost");
    let stopped = daemon.stop().in_order();
    assert_eq!(fs::read(stopped.setup.path("other")).unwrap(), b"");

    let mut command = logpushd();
    let refused = finish(command.args(["run", "-c"]).arg(stopped.setup.write_config()));
    assert_eq!(refused.exit, Exit::Code(74), "{}", refused.stderr);
    assert!(refused.stderr.contains("log.audit_file: cannot open "), "{}", refused.stderr);
}
