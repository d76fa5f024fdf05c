//! `logpushd quarantine replay` finds the paths of the endpoint and sends its token.

use std::fs;

use super::{TOKEN, committed, setup, upload};
use crate::support::{Daemon, Exit, Finished, Http, finish, gzip, logpushd, names_in, wait_for};

/// With a configuration that contains the daemon's actual port.
fn replay(daemon: &Daemon) -> Finished {
    let text = fs::read_to_string(daemon.setup().config()).unwrap();
    let real = format!("[server]\naddress = \"{}\"", daemon.address);
    let text = text.replace("[server]\naddress = \"127.0.0.1:0\"", &real);
    assert!(text.contains(&real), "{text}");
    daemon.setup().write("replay.toml", text);
    let mut command = logpushd();
    finish(command.args(["quarantine", "replay", "-c"]).arg(daemon.path("replay.toml")))
}

fn long(number: u64) -> String {
    format!("{{\"event\":{number},\"pad\":\"{}\"}}", "x".repeat(1500))
}

#[test]
fn events_over_a_limit_are_replayed_after_raising_it_and_a_body_after_its_repair() {
    let setup =
        setup().table("limits", r#"max_record_bytes = "1KiB""#).table("spool", r#"dir = "spool""#);
    let daemon = setup.start();
    let quarantined = "{\"status\":\"quarantined\",\"records\":0,\"quarantined\":1}";
    // It stays invalid, and among events the rest of the body would be rejected with it.
    let open = upload("/event", "{\"event\":");
    assert_eq!(daemon.send(Http::Two, open).success(), quarantined);
    // Two events that will be valid, and one that stays invalid.
    let body = [&long(1), "{\"event\":tru}", "{\"event\":0}", &long(2)].concat();
    assert_eq!(daemon.send(Http::Two, upload("/event", body)).success(), committed(1, 3));
    let whole = gzip(b"{\"event\":3}{\"event\":4}");
    let cut = upload("/event", &whole[..whole.len() - 4]).header("content-encoding", "gzip");
    assert_eq!(daemon.send(Http::Two, cut).success(), quarantined);

    let daemon = daemon.stop().exited_cleanly().setup.table("limits", "").start();
    let bodies = daemon.path("quarantine/bodies");
    let body = wait_for("the body", || {
        names_in(&bodies).into_iter().find(|name| name.starts_with("hec.splunk_hec."))
    });
    // Written to another file and renamed, since the file may share its inode with the spool's
    // file.
    daemon.setup().write("repaired", &whole);
    fs::rename(daemon.path("repaired"), bodies.join(&body)).unwrap();

    daemon.setup().write("tokens.txt", "another token");
    let refused = replay(&daemon);
    assert_eq!(refused.exit, Exit::Code(69), "{}", refused.stdout);
    assert!(refused.stderr.contains("SIGHUP"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("another token"), "{}", refused.stderr);
    daemon.setup().write("tokens.txt", TOKEN);

    let repaired = replay(&daemon);
    assert_eq!(repaired.exit, Exit::Code(65), "{}{}", repaired.stdout, repaired.stderr);
    for part in [
        "4 sent to hec/splunk_hec: 2 accepted, 2 still invalid and back in quarantine",
        "2 sent to hec/splunk_hec: 2 accepted, 0 still invalid",
    ] {
        assert!(repaired.stdout.contains(part), "{}", repaired.stdout);
    }
    let stopped = daemon.stop().exited_cleanly();
    let text = String::from_utf8(stopped.file("out/splunk_hec.ndjson")).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    let event = |number: u64| format!("{{\"event\":{number}}}");
    let mut want = [event(0), long(1), long(2), event(3), event(4)];
    want.sort_unstable();
    assert_eq!(lines, want);
}
