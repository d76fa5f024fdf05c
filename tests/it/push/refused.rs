//! Rejected uploads, and how they are reported.

use std::{
    net::TcpListener,
    process::Command,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Running, deduplicating, fails, ok, push};
use crate::support::{
    Exit, SECRET, Setup, closed_port,
    cloudflare::wire::{self, Request},
    finish, gunzip, gzip, logpushd, numbered,
    tls::Authority,
    wait_until,
};

/// Status, headers and text.
type Reply = (u16, &'static [(&'static str, &'static str)], &'static str);

/// No status: there is no answer at all.
const HANGS: u16 = 0;

/// A server that gives the listed answers, and repeats the last of them.
struct ScriptedServer {
    setup: Setup,
    url: String,
    seen: Arc<Mutex<Vec<(Instant, Request)>>>,
}

impl ScriptedServer {
    fn new(answers: &'static [Reply]) -> Self {
        let setup = Setup::new();
        let authority = Authority::new();
        let pair = authority.sign_server();
        setup.write("ca.pem", authority.pem());
        setup.write("cert.pem", &pair.cert);
        setup.write("key.pem", &pair.key);
        let tls = wire::server(&setup.path("cert.pem"), &setup.path("key.pem")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!(
            "https://{}/x?a=b&header_X-A=1%202&header_X-S={SECRET}",
            listener.local_addr().unwrap()
        );
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tls, noted) = (Arc::clone(&tls), Arc::clone(&noted));
                thread::spawn(move || {
                    let answer = |request: &Request| {
                        let mut seen = noted.lock().unwrap();
                        let (status, headers, text) = answers[seen.len().min(answers.len() - 1)];
                        seen.push((Instant::now(), request.clone()));
                        drop(seen);
                        if status == HANGS {
                            thread::sleep(Duration::from_secs(600));
                        }
                        let own = |(name, value): &(&str, &str)| {
                            ((*name).to_owned(), (*value).to_owned())
                        };
                        (status, headers.iter().map(own).collect(), text.to_owned())
                    };
                    wire::serve(stream, tls, &answer).ok();
                });
            }
        });
        Self { setup, url, seen }
    }

    fn push(&self, words: &[&str]) -> Command {
        let mut command = logpushd();
        command.args(["push", &self.url, "--ca", "ca.pem"]).args(words);
        command.current_dir(self.setup.directory());
        command
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

#[test]
fn transient_failures_are_retried_after_the_requested_delay() {
    let server = ScriptedServer::new(&[
        (503, &[("Retry-After", "1")], "full"),
        (429, &[("Retry-After", "0")], ""),
        (500, &[], ""),
        (204, &[], ""),
        (200, &[], "whatever"),
    ]);
    let records = numbered(1, 20);
    server.setup.write("records", &records);
    let finished = finish(&mut server.push(&["records", "--max-records", "10"]));
    ok(&finished, &["20 records", "in 2 batches", "3 retries"]);
    let seen = server.seen.lock().unwrap();
    assert_eq!(seen.len(), 5);
    assert!(seen[1].0 - seen[0].0 >= Duration::from_secs(1));
    for ((_, request), _) in seen.iter().zip(0..4) {
        assert_eq!(request.body, seen[0].1.body, "the same bytes each time");
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/x?a=b"));
        let header = |name: &str| request.header(name).map(String::as_str);
        assert_eq!(header("content-encoding"), Some("gzip"));
        assert_eq!(header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(header("x-a"), Some("1 2"));
    }
    let sent = [gunzip(&seen[0].1.body), gunzip(&seen[4].1.body)].concat();
    assert_eq!(sent, records);
}

#[test]
fn repeated_transient_failures_end_the_push() {
    // The second attempt is made at once, however late it is by then.
    let server = ScriptedServer::new(&[
        (503, &[("Retry-After", "0")], "the spool is full"),
        (503, &[], "the spool is full"),
    ]);
    server.setup.write("1", "{}\n");
    server.setup.write("2", "{}\n");
    let finished = finish(&mut server.push(&["1", "2", "--give-up-after", "4s"]));
    fails(
        &finished,
        69,
        &[
            "1: 0 records accepted, then: gave up after ",
            "503 Service Unavailable the spool is full",
            "2: not started",
            "To resume, run the same command again",
            "logpushd: 2 of 2 files not sent: ",
        ],
    );
    assert!(server.count() > 1);
    // The requested delay is later than that.
    let later = ScriptedServer::new(&[(503, &[("Retry-After", "3600")], "later")]);
    later.setup.write("1", "{}\n");
    fails(
        &finish(&mut later.push(&["1"])),
        69,
        &["before the next retry in 3600 s (--give-up-after)", "later"],
    );
    assert_eq!(later.count(), 1);
    // Or later than any deadline.
    let never = ScriptedServer::new(&[
        (503, &[("Retry-After", "1")], "later"),
        (503, &[("Retry-After", "18446744073709551615")], "never"),
    ]);
    never.setup.write("1", "{}\n");
    fails(&finish(&mut never.push(&["1"])), 69, &["retry in 18446744073709551615 s", "never"]);
    assert_eq!(never.count(), 2);
}

#[test]
fn a_hung_server_times_out() {
    let server = ScriptedServer::new(&[(200, &[], ""), (HANGS, &[], "")]);
    server.setup.write("records", numbered(1, 20));
    let words = ["records", "--max-records", "10", "--give-up-after", "3s"];
    let finished = finish(&mut server.push(&words));
    fails(
        &finished,
        69,
        &["records: 10 records accepted, then: gave up after ", "no answer within "],
    );
    assert_eq!(server.count(), 2, "what it has is not sent twice");
}

#[test]
fn a_rejection_ends_the_push_and_is_printed() {
    let server = ScriptedServer::new(&[
        (200, &[], ""),
        (
            413,
            &[],
            "over\u{1b}[2J the limit of 7, a-secret-of-the-tests, a%2dsecret%2Dof%2Dthe%2Dtests",
        ),
    ]);
    server.setup.write("records", "{}\n{}\n{}\n");
    let finished = finish(&mut server.push(&["records", "--max-records", "1"]));
    fails(
        &finished,
        69,
        &[
            "1 record, 3 bytes in 1 batch",
            "records: 1 record accepted, then: refused: 413 Payload Too Large",
            r"over\u{1b}[2J the limit of 7, ***, ***",
            "--max-bytes",
        ],
    );
    assert_eq!(server.count(), 2);
}

#[test]
fn a_wrong_secret_and_an_unknown_server_are_reported() {
    let daemon = deduplicating().start();
    daemon.setup().write("records", "{}\n");
    let url =
        format!("https://{}/logpush/dns_logs?header_X-Logpush-Secret=wrong-one", daemon.address);
    let run = |words: &[&str]| {
        let mut command = logpushd();
        command.args(["push", &url, "records"]).args(words);
        finish(command.current_dir(daemon.setup().directory()))
    };
    let refused = run(&["--ca", "fullchain.pem"]);
    fails(&refused, 69, &["refused: 401 Unauthorized", "secret_file"]);
    assert!(!format!("{refused:?}").contains("wrong-one"), "{refused:?}");
    let stranger = run(&[]);
    fails(&stranger, 69, &["UnknownIssuer", "pass its certificate with --ca"]);
    assert_eq!(stranger.stdout, "", "nothing was begun");
    fails(&run(&["--ca", "gone.pem"]), 74, &["gone.pem"]);
    fails(&run(&["--header-file", "records"]), 64, &["records:1: not a header"]);
    fails(&finish(&mut push(&daemon, &["gone"])), 74, &["gone"]);
    fails(&finish(&mut push(&daemon, &["-", "-"])), 64, &["can be read only once"]);
    for (url, says) in
        [("http://h/", "write https://"), ("https://h/a b", "cannot contain a space")]
    {
        fails(&finish(logpushd().args(["push", url, "x"])), 64, &[says]);
    }
    for words in [
        &["--max-bytes", "2GB"][..],
        &["--max-bytes", "0"],
        &["--gzip", "10"],
        &["--parallel", "0"],
    ] {
        assert_eq!(run(words).exit, Exit::Code(64), "{words:?}");
    }
    // The failed connection is reported at once, not after ten minutes.
    let (_socket, nobody) = closed_port();
    let mut command = logpushd();
    command.args(["push", &format!("https://{nobody}/x"), "records"]);
    command.current_dir(daemon.setup().directory());
    fails(&finish(&mut command), 69, &["connecting to", "refused"]);
    daemon.stop().exited_cleanly();
}

/// HTTP/2: the answer comes while the body is still being sent.
#[test]
fn a_rejection_is_read_before_a_large_body_ends() {
    let limits = deduplicating().table("limits", r#"max_body_bytes = "64KiB""#);
    let daemon = limits.start();
    // Every byte of a record is as large on the wire.
    let records = numbered(1, 200_000);
    daemon.setup().write("records", &records);
    let large = ["records", "--gzip", "0", "--max-bytes", "64MiB", "--max-records", "1000000"];
    let refused = finish(&mut push(&daemon, &large));
    fails(
        &refused,
        69,
        &[
            "0 records accepted, then: refused: 413 Payload Too Large",
            "raise limits.max_body_bytes from 65536 (64 KiB)",
        ],
    );
    let url = format!("https://{}/logpush/dns_logs?header_X-Logpush-Secret=no", daemon.address);
    let mut command = logpushd();
    command.args(["push", &url, "--ca", "fullchain.pem"]).args(large);
    let refused = finish(command.current_dir(daemon.setup().directory()));
    fails(&refused, 69, &["0 records accepted, then: refused: 401 Unauthorized"]);
    daemon.stop().exited_cleanly();
}

#[test]
fn a_damaged_file_blocks_no_other() {
    let daemon = deduplicating().start();
    let whole = gzip(&numbered(1, 1000));
    daemon.setup().write("1.gz", &whole[..whole.len() - 9]);
    daemon.setup().write("2.gz", gzip(b"{\"a\":1}\n"));
    let finished = finish(&mut push(&daemon, &["1.gz", "2.gz", "--max-records", "400"]));
    fails(
        &finished,
        74,
        &[
            "1.gz: 800 records accepted, then: gzip data ends in the middle",
            "1 of 2 files not sent: ",
        ],
    );
    let want = [
        numbered(1, 1000).split_inclusive(|b| *b == b'\n').take(800).collect::<Vec<_>>().concat(),
        b"{\"a\":1}\n".to_vec(),
    ];
    daemon.wait_file("out/http_requests.ndjson", &want.concat());
    daemon.stop().exited_cleanly();
}

#[test]
fn an_interrupted_push_prints_how_to_resume() {
    let server = ScriptedServer::new(&[(200, &[], ""), (503, &[("Retry-After", "300")], SECRET)]);
    server.setup.write("1", "{}\n");
    server.setup.write("2", "{}\n");
    server.setup.write("3", "{}\n");
    let running = Running::start(&mut server.push(&["1", "2", "3"]));
    wait_until("a batch that is to wait", || server.count() == 2);
    let pid = i32::try_from(running.0.id()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let (code, text) = running.end();
    assert_eq!(code, Some(69), "{text}");
    for part in [
        "1 file, 1 record, ",
        "\n2: 0 records accepted, then: interrupted\n3: not started",
        "To resume, run the same command again",
    ] {
        assert!(text.contains(part), "{part:?} not in {text}");
    }
    assert_eq!(server.count(), 2);
}
