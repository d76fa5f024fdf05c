//! The audit log records who did what to the daemon, contains no secret, and delays nothing.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    Daemon, Exit, Http, Setup, Upload, finish, logpushd, tls::Pair, wait_for, wait_until,
};

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
fn actions_of_operators_and_strangers_are_in_the_audit_log() {
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

    let stopped = daemon.stop().exited_cleanly();
    let all = events(&stopped.setup.path("audit.ndjson"));
    let failures: Vec<_> =
        all.iter().filter(|line| line["event"] == "authentication_failures").collect();
    assert_eq!(failures.iter().map(|line| line["count"].as_u64().unwrap()).sum::<u64>(), 2);
    assert!(
        failures.iter().all(|line| line["network"] == "127.0.0.1" && line["endpoint"] == "main")
    );
    assert!(all.iter().any(|line| line["event"] == "stop" && line["reason"] == "SIGTERM"));
    for line in &all {
        let time = line["time"].as_str().unwrap();
        let (_, fraction) = time.strip_suffix('Z').unwrap().split_once('.').unwrap();
        assert_eq!(fraction.len(), 6, "microseconds, also with zeros at the end: {line}");
        let text = line.to_string();
        assert!(!["0123456789abcdef", "fedcba98", "wrong-"].iter().any(|part| text.contains(part)));
    }
}

#[test]
fn changes_to_the_quarantine_by_commands_are_in_the_audit_log() {
    let daemon = setup().start();
    let path = daemon.path("audit.ndjson");
    let bad = |text: &str| {
        daemon.send(Http::Two, Upload::of(text).secret("0123456789abcdef")).ok();
    };
    let quarantine = |words: &[&str]| {
        let text = fs::read_to_string(daemon.setup().config()).unwrap();
        let address = format!("address = \"{}\"", daemon.address);
        let text = text.replacen("address = \"127.0.0.1:0\"", &address, 2);
        daemon.setup().write("commands.toml", text);
        let mut command = logpushd();
        let command = command.arg("quarantine").args(words);
        finish(command.arg("-c").arg(daemon.path("commands.toml")))
    };
    let records = || {
        let list = quarantine(&["list", "--json"]).stdout;
        serde_json::from_str::<Value>(&list).unwrap()["records"].as_u64().unwrap()
    };
    let audited = |event: &str| {
        let lines = events(&path);
        lines.into_iter().filter(|line| line["event"] == event).collect::<Vec<_>>()
    };

    bad("nonsense of a sender\n");
    wait_until("a record in quarantine", || records() == 1);
    assert_eq!(quarantine(&["replay", "--dry-run"]).exit, Exit::Code(0));
    assert_eq!(audited("replay"), [Value::Null; 0], "nothing was sent");
    let replayed = quarantine(&["replay"]);
    assert_eq!(replayed.exit, Exit::Code(65), "{}", replayed.stderr);
    let replay = audited("replay");
    assert_eq!(replay.len(), 1, "{replay:?}");
    let files = replay[0]["files"].as_array().unwrap();
    let is_ours =
        |file: &Value| Path::new(file.as_str().unwrap()).starts_with(daemon.path("quarantine"));
    assert!(files.len() == 1 && files.iter().all(is_ours), "{replay:?}");

    wait_until("the record that is still invalid", || records() == 1);
    let words = ["delete", "--reason", "not_json"];
    let call = |more: &str| quarantine(&[&words[..], &[more]].concat());
    assert_eq!(call("--dry-run").exit, Exit::Code(0));
    assert_eq!(quarantine(&words).exit, Exit::Code(64), "no --yes");
    assert_eq!(audited("quarantine_delete"), [Value::Null; 0], "nothing was deleted");
    let deleted = call("--yes");
    assert_eq!(deleted.exit, Exit::Code(0), "{}", deleted.stderr);
    let delete = audited("quarantine_delete");
    assert_eq!(delete.len(), 1, "{delete:?}");
    assert!(delete[0]["records"].as_u64() >= Some(1) && delete[0]["bodies"] == 0, "{delete:?}");
    let files = delete[0]["files"].as_array().unwrap();
    assert!(!files.is_empty() && files.iter().all(is_ours), "{delete:?}");
    assert_eq!(call("--yes").exit, Exit::Code(0));
    assert_eq!(audited("quarantine_delete").len(), 1, "nothing was left to delete");
    assert!(!fs::read_to_string(&path).unwrap().contains("nonsense"), "no record is in it");

    // An action that cannot be audited is not done.
    bad("other nonsense\n");
    wait_until("a record in quarantine", || records() == 1);
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(daemon.path("elsewhere"), &path).unwrap();
    for words in [&["replay"][..], &["delete", "--all", "--yes"]] {
        let refused = quarantine(words);
        assert_eq!(refused.exit, Exit::Code(74), "{}", refused.stderr);
        assert!(refused.stderr.contains("audit.ndjson"), "{}", refused.stderr);
    }
    assert_eq!(records(), 1);
    daemon.stop().exited_cleanly();
}

#[test]
fn a_renamed_file_is_re_created_and_a_link_is_not_followed() {
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
    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(fs::read(stopped.setup.path("other")).unwrap(), b"");

    let mut command = logpushd();
    let refused = finish(command.args(["run", "-c"]).arg(stopped.setup.write_config()));
    assert_eq!(refused.exit, Exit::Code(74), "{}", refused.stderr);
    assert!(refused.stderr.contains("log.audit_file: cannot open "), "{}", refused.stderr);
}
