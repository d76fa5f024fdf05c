//! `logpushd quarantine replay` finds the paths of the endpoint and shows its token.

use std::fs;

use super::{TOKEN, committed, setup, upload};
use crate::support::{Daemon, Exit, Finished, Http, finish, gzip, logpushd, names_in, wait_for};

/// With a configuration that says where the daemon really listens.
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
fn events_over_a_limit_come_back_after_it_was_raised_and_a_body_after_it_was_mended() {
    let setup =
        setup().table("limits", r#"max_record_bytes = "1KiB""#).table("spool", r#"dir = "spool""#);
    let daemon = setup.start();
    let quarantined = "{\"status\":\"quarantined\",\"records\":0,\"quarantined\":1}";
    // Stays bad, and among events it would take what follows with it.
    let open = upload("/event", "{\"event\":");
    assert_eq!(daemon.send(Http::Two, open).success(), quarantined);
    // Two that will be good, and one that is none and stays bad.
    let body = [&long(1), "{\"event\":tru}", "{\"event\":0}", &long(2)].concat();
    assert_eq!(daemon.send(Http::Two, upload("/event", body)).success(), committed(1, 3));
    let whole = gzip(b"{\"event\":3}{\"event\":4}");
    let cut = upload("/event", &whole[..whole.len() - 4]).header("content-encoding", "gzip");
    assert_eq!(daemon.send(Http::Two, cut).success(), quarantined);

    let daemon = daemon.stop().in_order().setup.table("limits", "").start();
    let bodies = daemon.path("quarantine/bodies");
    let body = wait_for("the body", || {
        names_in(&bodies).into_iter().find(|name| name.starts_with("hec.splunk_hec."))
    });
    // Beside it, then in its place: its bytes may be those of the spool's file.
    daemon.setup().write("mended", &whole);
    fs::rename(daemon.path("mended"), bodies.join(&body)).unwrap();

    daemon.setup().write("tokens.txt", "another token");
    let refused = replay(&daemon);
    assert_eq!(refused.exit, Exit::Code(69), "{}", refused.stdout);
    assert!(refused.stderr.contains("SIGHUP"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("another token"), "{}", refused.stderr);
    daemon.setup().write("tokens.txt", TOKEN);

    let mended = replay(&daemon);
    assert_eq!(mended.exit, Exit::Code(65), "{}{}", mended.stdout, mended.stderr);
    for part in [
        "4 sent to hec/splunk_hec: 2 taken, 2 still bad and back in quarantine",
        "2 sent to hec/splunk_hec: 2 taken, 0 still bad",
    ] {
        assert!(mended.stdout.contains(part), "{}", mended.stdout);
    }
    let stopped = daemon.stop().in_order();
    let text = String::from_utf8(stopped.file("out/splunk_hec.ndjson")).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    let event = |number: u64| format!("{{\"event\":{number}}}");
    let mut want = [event(0), long(1), long(2), event(3), event(4)];
    want.sort_unstable();
    assert_eq!(lines, want);
}
