//! A sink with masks never gets an original value, and gets the fields that it adds.

use std::{fs, net::UdpSocket, path::Path};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    DEADLINE, Daemon, Exit, Finished, Http, Setup, Upload,
    collector::{Collector, ok, refusal},
    finish, logpushd, names_in, wait_for, wait_until,
};

const KEY: &str = "0123456789abcdef0123456789abcdef";
const OTHER_KEY: &str = "fedcba9876543210fedcba9876543210";

/// HMAC-SHA-256 of `agent/1` with each key, from `openssl dgst -sha256 -hmac`.
const HASH: &str = "b2495f91bedd121a1223045eeebc54ebe88465e599747cbd9df98c047a966f15";
const OTHER_HASH: &str = "ab7d7e9d71bf8788e1d27db9afbe8505beff95a608f8a96d832c7320ec75c000";

const MASKS: &str = r#"mask_key_file = "mask.key"
    mask = { ClientIP = "truncate", ClientRequestUserAgent = "hash", "RequestHeaders.cookie" = "redact" }
    add_fields = { where_from = "{endpoint}/{dataset}", number = "{batch}", tier = 1 }"#;

const RECORDS: &str = r#"{"ClientIP":"203.0.113.77","ClientRequestUserAgent":"agent/1","RequestHeaders":{"cookie":"c=77","x":1},"N":1669761187123456789}
{"Client\u0049P":"2001:db8:1:77::1","ClientIP":"x-77","N":2,"tier":"x"}
{"ClientIP":["::ffff:203.0.113.77","77"],"RequestHeaders":"cookie: c=77","N": 3}
"#;

fn masked(hash: &str) -> String {
    let added = r#""number":"1","tier":1,"where_from":"main/firewall_events""#;
    format!(
        r#"{{"ClientIP":"203.0.113.0","ClientRequestUserAgent":"{hash}","RequestHeaders":{{"cookie":"REDACTED","x":1}},"N":1669761187123456789,{added}}}
{{"ClientIP":"2001:db8:1::","N":2,{added}}}
{{"ClientIP":["203.0.113.0"],"N":3,{added}}}
"#
    )
}

fn upload(records: &str) -> Upload {
    Upload::of(records).to("/logpush/firewall_events").gzipped()
}

#[test]
fn no_sink_gets_an_original_value() {
    let collector = Collector::start();
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(DEADLINE)).unwrap();
    let setup = Setup::new()
        .table("sink.archive.file", &format!("path = \"out.ndjson\"\n{MASKS}"))
        .table("sink.web.http", &format!("url = \"{}\"\n{MASKS}", collector.url("/in")))
        .table(
            "sink.siem.syslog",
            &format!(
                "address = \"udp://{}\"\nmessage = \"cef\"\n{MASKS}",
                server.local_addr().unwrap()
            ),
        );
    setup.write("mask.key", format!("{KEY}\n"));
    let daemon = setup.start();
    assert_eq!(daemon.send(Http::Two, upload(RECORDS)).committed(), 3);
    daemon.wait_file("out.ndjson", masked(HASH).as_bytes());
    wait_until("a request", || collector.received().len() == 1);
    assert_eq!(String::from_utf8(collector.received().remove(0).body).unwrap(), masked(HASH));
    let mut messages = Vec::new();
    while messages.len() < 3 {
        let mut message = vec![0; 65536];
        let length = server.recv(&mut message).unwrap();
        messages.push(String::from_utf8(message[..length].to_vec()).unwrap());
    }
    let all = messages.concat();
    for (part, is_there) in [
        ("src=203.0.113.0 ", true),
        (HASH, true),
        ("2001:db8:1::", true),
        ("113.77", false),
        ("agent/1", false),
        ("c=77", false),
        ("x-77", false),
    ] {
        assert_eq!(all.contains(part), is_there, "{part} in {all}");
    }
    let stopped = daemon.stop().exited_cleanly();
    assert_no_secret(&stopped.setup, &[KEY]);
}

#[test]
fn added_fields_are_the_same_after_a_kill() {
    let keys = r#"path = "out.ndjson"
        mask = { ip = "truncate" }
        add_fields = { received = "{received}", number = "{batch}", digest = "{digest}" }"#;
    let mut setup =
        Setup::new().table("sink.archive.file", keys).table("spool", r#"dir = "spool""#);
    for batch in 0..3 {
        // Killed when it has written half of the records, without a checkpoint after them.
        setup.faults("tear out.ndjson 1\n");
        let daemon = setup.start();
        let record = |n: u32| format!("{{\"ip\":\"192.0.{batch}.{n}\",\"n\":{n}}}\n");
        let records: String = (0..40).map(record).collect();
        let answer = daemon.connect(Http::Two).try_send(upload(&records));
        drop(answer);
        setup = daemon.end().setup;
        setup.faults("");
        let daemon = setup.start();
        // Sends the same batch again if the answer was lost.
        daemon.send(Http::Two, upload(&records));
        let lines = wait_for("all records", || {
            let text = fs::read_to_string(daemon.path("out.ndjson")).unwrap();
            (text.matches('\n').count() == 40 * (batch + 1)).then_some(text)
        });
        let lines: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of_batch = &lines[40 * batch..];
        for (n, line) in of_batch.iter().enumerate() {
            assert_eq!((&line["ip"], &line["n"]), (&json!(format!("192.0.{batch}.0")), &json!(n)));
            for name in ["received", "number", "digest"] {
                assert!(line[name].is_string(), "{line}");
                assert_eq!(line[name], of_batch[0][name], "{line}");
            }
        }
        setup = daemon.kill().setup;
    }
}

/// The dead letters of the sink `web`.
fn dead_letters(daemon: &Daemon) -> Vec<Value> {
    let quarantine = daemon.path("quarantine");
    let files = names_in(&quarantine)
        .into_iter()
        .filter(|name| name.starts_with("records-web-") && !name.contains(".replay"));
    let text: String =
        files.map(|name| fs::read_to_string(quarantine.join(name)).unwrap()).collect();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Replays the dead letters with the configuration of the daemon, after a change of its text.
fn replay(daemon: &Daemon, change: (&str, &str), options: &[&str]) -> Finished {
    let text = fs::read_to_string(daemon.setup().config()).unwrap();
    assert!(text.contains(change.0), "{text}");
    let real = format!("[server]\naddress = \"{}\"", daemon.address);
    let text = text.replace("[server]\naddress = \"127.0.0.1:0\"", &real);
    daemon.setup().write("replay.toml", text.replace(change.0, change.1));
    let config = daemon.path("replay.toml");
    finish(logpushd().args(["quarantine", "replay", "-c"]).arg(config).args(options))
}

const HTTP: &str = r#"where = { ClientIP = "203.0.113.77" }
    rename = { N = "count" }"#;

#[test]
fn a_dead_letter_is_replayed_as_its_target_refused_it() {
    let collector = Collector::start();
    collector.answer_by(|_| refusal(400, "no"));
    let web = format!("url = \"{}\"\n{HTTP}\n{MASKS}", collector.url("/in"));
    let setup = Setup::new().table("sink.web.http", &web);
    setup.write("mask.key", KEY);
    let daemon = setup.start();
    daemon.send(Http::Two, upload(RECORDS)).committed();
    let letter = wait_for("a dead letter", || dead_letters(&daemon).pop());
    let record = letter["record"].as_str().unwrap().to_owned();
    let line = masked(HASH).split_inclusive('\n').next().unwrap().replace("\"N\"", "\"count\"");
    assert_eq!(format!("{record}\n"), line);
    assert_eq!(letter["selection"].as_str().map(str::len), Some(8), "{letter}");

    // The daemon is killed with the replayed batch in its spool.
    collector.answer_by(|_| refusal(503, "busy"));
    let replayed = replay(&daemon, ("", ""), &[]);
    assert_eq!(replayed.exit, Exit::Code(0), "{}{}", replayed.stdout, replayed.stderr);
    let waiting = names_in(&daemon.path("spool/batches"));
    let ending = format!("@web+{}", letter["selection"].as_str().unwrap());
    assert!(waiting.iter().any(|name| name.ends_with(&ending)), "{waiting:?}");
    let daemon = daemon.kill().start();
    let before = collector.received().len();
    collector.answer_by(|_| ok());
    let requests = wait_for("the record", || {
        Some(collector.received().split_off(before))
            .filter(|requests| requests.iter().any(|request| request.status == 200))
    });
    for request in requests {
        assert_eq!(String::from_utf8(request.body).unwrap(), line);
    }
    daemon.stop().exited_cleanly();
}

#[test]
fn a_dead_letter_goes_through_changed_masks_only_with_an_option() {
    let collector = Collector::start();
    collector.answer_by(|_| refusal(400, "no"));
    let web = format!(
        "url = \"{}\"\nmask = {{ a = \"hash\", b = \"redact\" }}\nmask_key_file = \"mask.key\"",
        collector.url("/in")
    );
    let setup = Setup::new().table("sink.web.http", &web);
    setup.write("mask.key", KEY);
    let daemon = setup.start();
    daemon.send(Http::Two, upload("{\"a\":\"agent/1\",\"b\":1,\"c\":1}\n")).committed();
    let letter = wait_for("a dead letter", || dead_letters(&daemon).pop());
    let record = letter["record"].as_str().unwrap();
    assert_eq!(record, format!("{{\"a\":\"{HASH}\",\"b\":\"REDACTED\",\"c\":1}}"));

    // The daemon reloads other masks.
    let other = web.replace("a = \"hash\", b", "c = \"hash\", b");
    daemon.setup().write_config_with(&[("sink.web.http", Some(&other))]);
    reload(&daemon, 1);
    collector.answer_by(|_| ok());
    let skipped = replay(&daemon, ("", ""), &[]);
    assert_eq!(skipped.exit, Exit::Code(65), "{}{}", skipped.stdout, skipped.stderr);
    assert!(
        skipped.stdout.contains("has other filters, masks or added fields"),
        "{}",
        skipped.stdout
    );
    // A command with the old configuration cannot get past the masks of the daemon.
    let refused = replay(&daemon, ("c = \"hash\", b", "a = \"hash\", b"), &[]);
    assert_eq!(refused.exit, Exit::Code(69), "{}{}", refused.stdout, refused.stderr);
    assert!(
        refused.stderr.contains("sink web has other filters or masks now"),
        "{}",
        refused.stderr
    );

    let before = collector.received().len();
    let replayed = replay(&daemon, ("", ""), &["--apply-selection"]);
    assert_eq!(replayed.exit, Exit::Code(0), "{}{}", replayed.stdout, replayed.stderr);
    wait_until("the record", || collector.received().len() > before);
    let body = String::from_utf8(collector.received().pop().unwrap().body).unwrap();
    let (start, end) = (format!("{{\"a\":\"{HASH}\",\"b\":\"REDACTED\",\"c\":\""), "\"}\n");
    assert!(body.starts_with(&start) && body.ends_with(end), "{body}");
    assert_eq!(body.len(), start.len() + 64 + end.len(), "{body}");
    daemon.stop().exited_cleanly();
}

/// Asserts that no file but the key file has one of the keys.
fn assert_no_secret(setup: &Setup, keys: &[&str]) {
    fn search(directory: &Path, keys: &[&str]) {
        for name in names_in(directory) {
            let path = directory.join(&name);
            if path.is_dir() {
                search(&path, keys);
            } else if name != "mask.key" {
                let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
                let found = keys.iter().find(|key| text.contains(**key));
                assert_eq!(found, None, "in {}", path.display());
            }
        }
    }
    search(setup.directory(), keys);
}

fn reload(daemon: &Daemon, count: usize) {
    daemon.signal(Signal::HUP);
    daemon.wait_logs("reloaded", count);
}

#[test]
fn a_reload_takes_a_new_key_and_refuses_a_missing_one() {
    let setup = Setup::new().table("sink.archive.file", &format!("path = \"out.ndjson\"\n{MASKS}"));
    setup.write("mask.key", KEY);
    let daemon = setup.start();
    let record = RECORDS.split_inclusive('\n').next().unwrap();
    let line = |hash: &str, number: u64| {
        let line = masked(hash).split_inclusive('\n').next().unwrap().to_owned();
        line.replace("\"number\":\"1\"", &format!("\"number\":\"{number}\""))
    };
    let send = |number: u64| {
        let record = record.replace("\"x\":1", &format!("\"x\":{number}"));
        daemon.send(Http::Two, upload(&record)).committed();
        move |hash: &str| line(hash, number).replace("\"x\":1", &format!("\"x\":{number}"))
    };
    let mut expected = send(1)(HASH);
    daemon.wait_file("out.ndjson", expected.as_bytes());

    fs::remove_file(daemon.path("mask.key")).unwrap();
    daemon.signal(Signal::HUP);
    let refused = daemon.wait_log("reload: the configuration stays as it was");
    assert!(refused.to_string().contains("cannot use secret file"), "{refused}");
    expected += &send(2)(HASH);
    daemon.wait_file("out.ndjson", expected.as_bytes());

    daemon.setup().write("mask.key", OTHER_KEY);
    reload(&daemon, 1);
    expected += &send(3)(OTHER_HASH);
    daemon.wait_file("out.ndjson", expected.as_bytes());

    // The same key in another form changes nothing.
    daemon.setup().write("mask.key", format!("  {OTHER_KEY}\r\nmore\n"));
    reload(&daemon, 2);
    let changed = daemon.logged("reloaded").pop().unwrap()["sinks_changed"].clone();
    assert!(!changed.to_string().contains("archive"), "{changed}");
    let log = format!("{:?}", daemon.log());
    assert!(!log.contains(KEY) && !log.contains(OTHER_KEY));
    let stopped = daemon.stop().exited_cleanly();
    assert_no_secret(&stopped.setup, &[KEY, OTHER_KEY]);
}

#[test]
fn validate_warns_of_a_key_that_can_be_guessed_or_read() {
    let setup = Setup::new().table("sink.archive.file", &format!("path = \"out.ndjson\"\n{MASKS}"));
    let validate = |key: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        setup.write("mask.key", key);
        fs::set_permissions(setup.path("mask.key"), fs::Permissions::from_mode(mode)).unwrap();
        fs::set_permissions(setup.directory(), fs::Permissions::from_mode(0o755)).unwrap();
        setup.write_config();
        finish(logpushd().args(["validate", "-c"]).arg(setup.config()))
    };
    let good = validate(KEY, 0o600);
    assert_eq!(good.exit, Exit::Code(0), "{}", good.stderr);
    assert!(!good.stderr.contains("mask.key"), "{}", good.stderr);
    let short = validate("guess-me", 0o600);
    assert!(
        short.stderr.contains("has a key of 8 characters, which can be guessed"),
        "{}",
        short.stderr
    );
    assert!(!short.stderr.contains("guess-me"), "{}", short.stderr);
    let open = validate(KEY, 0o644);
    assert!(open.stderr.contains("every user of this machine can read"), "{}", open.stderr);
    let empty = validate("\n", 0o600);
    assert_eq!(empty.exit, Exit::Code(78), "{}", empty.stderr);
}
