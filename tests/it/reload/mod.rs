//! SIGHUP applies every setting but addresses and directories: no request fails, no sink loses or
//! duplicates a record, and an invalid file changes nothing.

mod sinks;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Instant,
};

use rustix::process::Signal;

use crate::support::{
    Answer, Connection, Daemon, Http, SECRET, Setup, Upload, names_in, numbered, tls,
    tls::Authority, wait_until,
};

const MAIN: &str = "path = \"/logpush/{dataset}\"\nsecret_file = \"secrets.txt\"";

type Changes<'a> = [(&'a str, Option<&'a str>)];

/// Writes the configuration with these changes, and waits until it applies.
#[track_caller]
fn reload(daemon: &Daemon, changes: &Changes<'_>) {
    daemon.setup().write_config_with(changes);
    let before = daemon.logged("reloaded").len();
    daemon.signal(Signal::HUP);
    wait_until("a reload", || daemon.logged("reloaded").len() > before);
}

/// Writes the configuration with these changes, and waits until it is reported as invalid.
#[track_caller]
fn refused(daemon: &Daemon, changes: &Changes<'_>) -> String {
    const COMPLAINT: &str = "reload: the configuration stays as it was";
    daemon.setup().write_config_with(changes);
    let before = daemon.logged(COMPLAINT).len();
    daemon.signal(Signal::HUP);
    wait_until("a complaint", || daemon.logged(COMPLAINT).len() > before);
    assert!(daemon.logged("reloaded").is_empty());
    daemon.logged(COMPLAINT)[before]["message"].as_str().unwrap().to_owned()
}

#[track_caller]
fn post(daemon: &Daemon, path: &str, body: impl Into<Vec<u8>>) -> Answer {
    daemon.send(Http::Two, Upload::of(body.into()).to(path))
}

/// How often each line is in these files.
fn lines(paths: impl IntoIterator<Item = impl AsRef<Path>>) -> BTreeMap<String, u64> {
    let mut lines = BTreeMap::new();
    for path in paths {
        let text = fs::read_to_string(path).unwrap_or_default();
        for line in text.lines() {
            *lines.entry(line.to_owned()).or_default() += 1;
        }
    }
    lines
}

/// A certificate that clients trust without verification.
fn certify(setup: &Setup, authority: &Authority) {
    let pair = authority.sign_server();
    setup.write("fullchain.pem", pair.cert);
    setup.write("privkey.pem", pair.key);
}

#[test]
fn reloads_of_all_settings_under_load_fail_no_request_and_lose_no_record() {
    const ROUNDS: u64 = 24;

    let authority = Authority::new();
    let setup = Setup::new()
        .table("server.tls", "cert_file = \"fullchain.pem\"\nkey_file = \"privkey.pem\"")
        .table("sink.archive.file", "path = \"out/archive\"")
        .table("sink.moves.file", "path = \"out/moves-0\"");
    setup.write("ca.pem", authority.pem());
    certify(&setup, &authority);
    let daemon = setup.start();
    let trust = tls::Client::trusting(&daemon.path("ca.pem"));
    let (over, batches) = (AtomicBool::new(false), AtomicU64::new(0));
    let connect = |http| Connection::open(daemon.address, trust.clone(), http).unwrap();
    let send = |connection: &Connection| {
        let records = numbered(batches.fetch_add(1, Ordering::Relaxed), 20);
        assert_eq!(connection.send(Upload::of(records).gzipped()).committed(), 20);
    };

    // In every other round there is a temporary sink; it gets a batch between two reloads surely or
    // surely not.
    let mut invited = Vec::new();
    let mut uninvited = Vec::new();
    thread::scope(|scope| {
        let mut senders = Vec::new();
        for http in Http::BOTH {
            let (over, send, connect) = (&over, &send, &connect);
            senders.push(scope.spawn(move || {
                let kept = connect(http);
                while !over.load(Ordering::Relaxed) {
                    send(&kept);
                    send(&connect(http));
                }
            }));
        }
        for round in 1..=ROUNDS {
            let moves = format!("path = \"out/moves-{}\"", round / 3);
            let archive = format!(
                "path = \"out/archive\"\nfsync = \"{}\"",
                ["checkpoint", "batch"][usize::from(round % 4 < 2)]
            );
            let limits = format!("max_connections = {}", 500 + 100 * (round % 3));
            let other = format!("path = \"/other-{round}/{{dataset}}\"\nauth = \"none\"");
            let has_temporary = round % 2 == 1;
            let mut changes = vec![
                ("sink.moves.file", Some(moves.as_str())),
                ("sink.archive.file", Some(archive.as_str())),
                ("limits", Some(limits.as_str())),
                ("endpoint.other", Some(other.as_str())),
            ];
            if has_temporary {
                changes.push(("sink.temporary.file", Some("path = \"out/temporary\"")));
            }
            if round % 5 == 0 {
                certify(daemon.setup(), &authority);
            }
            reload(&daemon, &changes);
            let record = format!("{{\"round\":{round}}}");
            let upload = Upload::of(record.clone()).to(&format!("/other-{round}/a"));
            assert_eq!(connect(Http::Two).send(upload).committed(), 1);
            let upload = Upload::of("{}").to(&format!("/other-{}/a", round - 1));
            assert_eq!(connect(Http::One).send(upload).status, 404);
            // A new temporary sink also gets batches that another sink has not finished. A batch is
            // in that sink's file before it is finished, by the time of a sync: so no batch in the
            // backlog may be as old as this.
            let answered = Instant::now();
            for name in ["archive", "moves"] {
                let age = format!("logpushd_sink_lag_seconds{{sink=\"{name}\"}}");
                wait_until("what lies between", || {
                    let since = answered.elapsed().as_secs_f64();
                    daemon.metric(&age) < since
                });
            }
            if has_temporary { &mut invited } else { &mut uninvited }.push(record);
        }
        over.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.join().unwrap();
        }
    });
    assert!(
        daemon.logged("a task of the daemon").is_empty() && daemon.logged("reload: ").is_empty()
    );
    assert_eq!(daemon.count(r#"logpushd_refused_total{reason="unavailable"}"#), 0);
    assert_eq!(daemon.count(r#"logpushd_refused_total{reason="tls_handshake"}"#), 0);
    let stopped = daemon.stop().exited_cleanly();

    let mut want: BTreeMap<String, u64> = (0..batches.load(Ordering::Relaxed))
        .flat_map(|batch| {
            let records = String::from_utf8(numbered(batch, 20)).unwrap();
            records.lines().map(|line| (line.to_owned(), 1)).collect::<Vec<_>>()
        })
        .collect();
    assert!(want.len() as u64 > 20 * ROUNDS, "the load was too low");
    want.extend(invited.iter().chain(&uninvited).map(|record| (record.clone(), 1)));
    let out = stopped.setup.path("out");
    assert!(lines([out.join("archive")]) == want, "the archive has each record once");
    let moves = names_in(&out).into_iter().filter(|name| name.starts_with("moves-"));
    let moves: Vec<_> = moves.map(|name| out.join(name)).collect();
    assert!(moves.len() > 5, "{moves:?}");
    assert!(lines(moves) == want, "the moved files have each record once");
    let temporary = lines([out.join("temporary")]);
    assert!(temporary.values().all(|count| *count == 1));
    assert!(invited.iter().all(|record| temporary.contains_key(record)));
    assert!(!uninvited.iter().any(|record| temporary.contains_key(record)));
}

#[test]
fn an_invalid_file_changes_nothing() {
    let daemon = Setup::new().start();
    let other = ("endpoint.other", Some("path = \"/other/{dataset}\"\nauth = \"none\""));
    let logged =
        refused(&daemon, &[other, ("sink.archive.file", Some("path = \"a\"\nnonsense = 1"))]);
    assert!(logged.contains("nonsense") && logged.contains("logpushd.toml:"), "{logged}");

    // Nor does a file with problems that only show when its settings are used.
    daemon.setup().write("ca.pem", "nothing");
    let syslog = "address = \"tls://127.0.0.1:1\"\n[sink.more.syslog.tls]\nca_file = \"ca.pem\"";
    let logged = refused(&daemon, &[other, ("sink.more.syslog", Some(syslog))]);
    assert!(logged.contains("sink.more.syslog.tls: ") && logged.contains("ca.pem"), "{logged}");
    let key = fs::read(daemon.path("privkey.pem")).unwrap();
    daemon.setup().write("privkey.pem", tls::Pair::self_signed().key);
    let logged = refused(&daemon, &[other, ("sink.more.file", Some("path = \"out/more\""))]);
    assert!(logged.contains("server.tls: ") && logged.contains("does not belong"), "{logged}");

    assert_eq!(post(&daemon, "/other/a", "{}").status, 404);
    daemon.commit(b"{\"a\":1}\n");
    daemon.wait_file("out/http_requests.ndjson", b"{\"a\":1}\n");
    assert!(!daemon.ask("/metrics").1.contains("\"more\""));

    daemon.setup().write("privkey.pem", key);
    reload(&daemon, &[other, ("sink.more.file", Some("path = \"out/more\""))]);
    assert_eq!(post(&daemon, "/other/a", "{}").committed(), 1);
    daemon.stop().exited_cleanly();
}

#[test]
fn settings_that_need_a_restart_are_reported_and_the_rest_applies() {
    let daemon = Setup::new().start();
    reload(
        &daemon,
        &[
            ("server", Some("address = \"127.0.0.1:1\"")),
            ("admin", Some("address = \"127.0.0.1:2\"\nallowed_hosts = [\"a.example\"]")),
            ("spool", Some("dir = \"elsewhere\"")),
            ("quarantine", Some("dir = \"beside\"\nmax_age = \"1d\"")),
            ("log", Some("format = \"text\"\nlevel = \"debug\"")),
            ("endpoint.other", Some("path = \"/other/{dataset}\"\nauth = \"none\"")),
        ],
    );
    let hosts = "admin.allowed_hosts";
    for key in
        ["server.address", "admin.address", hosts, "spool.dir", "quarantine.dir", "log.format"]
    {
        assert_eq!(daemon.logged(&format!("reload: needs a restart: {key}")).len(), 1, "{key}");
    }
    assert_eq!(daemon.logged("reload: ").len(), 6);
    assert_eq!(post(&daemon, "/other/a", "{}").committed(), 1);
    daemon.wait_file("out/a.ndjson", b"{}\n");
    daemon.wait_log("connection ended");
    assert!(!daemon.path("elsewhere").exists() && !daemon.path("beside").exists());

    // A reported difference is reported as long as it exists, and no longer.
    reload(&daemon, &[("server", Some("address = \"127.0.0.1:1\""))]);
    assert_eq!(daemon.logged("reload: ").len(), 7);
    reload(&daemon, &[]);
    assert_eq!(daemon.logged("reload: ").len(), 7);
    daemon.stop().exited_cleanly();
}

#[test]
fn endpoints_are_added_changed_and_removed() {
    let daemon = Setup::new().start();
    let kept = daemon.connect(Http::Two);
    let status = |path: &str, secret: &str, body: &str| {
        kept.send(Upload::of(body).to(path).secret(secret)).status
    };
    daemon.setup().write("others.txt", "another-secret");
    let other = "path = \"/other\"\ndataset = \"of_our_own\"\nsecret_file = \"others.txt\"";
    reload(&daemon, &[("endpoint.other", Some(other))]);
    assert_eq!(status("/other", "another-secret", "{}"), 200);
    assert_eq!(status("/other", SECRET, "{}"), 401);
    let series = r#"logpushd_records_total{endpoint="other",dataset="of_our_own"}"#;
    assert_eq!(daemon.count(series), 1);
    let other = format!("{other}\nallow_from = [\"192.0.2.0/24\"]");
    reload(&daemon, &[("endpoint.other", Some(&other))]);
    assert_eq!(status("/other", "another-secret", "{}"), 403);

    // A main endpoint at another path, with another format.
    let main = MAIN.replace("/logpush/", "/moved/") + "\nformat = \"text\"";
    reload(&daemon, &[("endpoint.main", Some(&main))]);
    assert_eq!(status("/logpush/http_requests", SECRET, "{}"), 404);
    assert_eq!(status("/moved/words", SECRET, "a line\n"), 200);
    assert_eq!(status("/other", "another-secret", "{}"), 404);
    assert!(!daemon.ask("/metrics").1.contains("endpoint=\"other\""));
    daemon.wait_log("endpoint removed");
    wait_until("the line", || {
        fs::read_to_string(daemon.path("out/words.ndjson"))
            .is_ok_and(|text| text.contains("a line"))
    });
    daemon.stop().exited_cleanly();
}

#[test]
fn new_limits_apply_to_the_next_request() {
    let daemon = Setup::new().start();
    let long = format!("{{\"a\":\"{}\"}}\n", "x".repeat(9000)).into_bytes();
    let (upload, feed) = Upload::fed(None);
    let connection = daemon.connect(Http::One);
    thread::scope(|scope| {
        let answer = scope.spawn(|| connection.send(upload));
        assert!(feed.push(&long[..100]));
        daemon.wait_count("logpushd_received_bytes_total", |bytes| bytes > 0);
        reload(&daemon, &[("limits", Some("max_body_bytes = \"8KiB\""))]);
        assert_eq!(post(&daemon, "/logpush/a", long.clone()).status, 413);
        assert!(feed.push(&long[100..]));
        drop(feed);
        assert_eq!(answer.join().unwrap().committed(), 1, "it ends as it began");
    });
    let record = "max_record_bytes = \"4KiB\"\nmax_body_bytes = \"64KiB\"";
    reload(&daemon, &[("limits", Some(record))]);
    assert_eq!(post(&daemon, "/logpush/a", long.clone()).status, 200);
    daemon.wait_count(r#"logpushd_quarantined_records_total{reason="too_long"}"#, |n| n == 1);
    daemon.wait_count("logpushd_spool_batches", |batches| batches == 0);
    reload(
        &daemon,
        &[("spool", Some("dir = \"spool\"\ndedup_window = \"1h\"\nmax_bytes = \"5KiB\""))],
    );
    assert_eq!(post(&daemon, "/logpush/a", long).status, 413);
    assert_eq!(post(&daemon, "/logpush/b", "{\"b\":1}").committed(), 1);
    assert_eq!(post(&daemon, "/logpush/b", "{\"b\":1}").ok().0, "duplicate");

    // If the new limit is below the number of connections, a new client gets an answer with the
    // reason.
    let kept: Vec<_> = (0..3).map(|_| daemon.connect(Http::One)).collect();
    for verified in &kept {
        assert_eq!(verified.send(Upload::of("{}").to("/logpush/b")).status, 200);
    }
    reload(&daemon, &[("limits", Some("max_connections = 2"))]);
    assert_eq!(post(&daemon, "/logpush/b", "{}").status, 503);
    drop(kept);
    wait_until("room again", || post(&daemon, "/logpush/b", "{}").status == 200);
    reload(&daemon, &[]);
    let many: Vec<_> = (0..10).map(|_| daemon.connect(Http::One)).collect();
    assert_eq!(post(&daemon, "/logpush/b", "{}").status, 200);
    drop(many);
    daemon.stop().exited_cleanly();
}
