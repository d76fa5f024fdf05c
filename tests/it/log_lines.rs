//! What the log reports about clients: enough for an operator, and nothing that a client can abuse.

use std::{
    io::{self, Read as _, Write as _},
    process::{Command, Stdio},
    thread,
};

use rustix::{
    fs::fstat,
    process::{Pid, Signal, kill_process},
};

use crate::support::{Daemon, Http, Setup, Upload, gzip, logpushd, numbered, wait_for, wait_until};

/// Sends bytes over TLS, and waits until the other side has answered and closed.
fn send_raw(daemon: &Daemon, bytes: &[u8]) {
    let mut stream = daemon.trust().raw(daemon.address, &[b"http/1.1"]).unwrap();
    stream.write_all(bytes).unwrap();
    stream.flush().unwrap();
    stream.read_to_end(&mut Vec::new()).ok();
}

#[test]
fn client_input_in_a_log_line_is_truncated() {
    let daemon = Setup::new().start();
    let long = "M".repeat(30_000);
    for head in [
        format!("{long} /logpush/a HTTP/1.1\r\n"),
        format!("POST /{long} HTTP/1.1\r\n"),
        format!("POST /logpush/a HTTP/1.1\r\nx-logpush-secret: {long}\r\n"),
        format!("POST /logpush/a HTTP/1.1\r\ncontent-encoding: {long}\r\n"),
    ] {
        send_raw(&daemon, format!("{head}host: x\r\nconnection: close\r\n\r\n").as_bytes());
    }
    daemon.wait_logs("refused", 4);
    let stopped = daemon.stop().exited_cleanly();
    let longest = stopped.log.lines().map(str::len).max().unwrap();
    assert!(longest < 1024, "{longest}");
}

#[test]
fn a_flood_of_one_rejection_hides_no_other() {
    let daemon = Setup::new().start();
    let connection = daemon.connect(Http::Two);
    for _ in 0..200 {
        assert_eq!(connection.send(Upload::of("x").to("/nowhere")).status, 404);
    }
    assert_eq!(connection.send(Upload::of("x").secret("wrong")).status, 401);
    let upload = Upload::of(gzip(b"{}\n")).header("content-encoding", "br");
    assert_eq!(connection.send(upload).status, 415);

    let count = |reason: &str| {
        let lines = daemon.logged("refused");
        lines.iter().filter(|line| line["reason"] == reason).count()
    };
    wait_until("both rejections in the log", || {
        count("unauthorized") == 1 && count("unsupported_encoding") == 1
    });
    // Their number depends on the duration of the flood: ten in 10 s.
    assert!(count("not_found") < 200);
    let refused = &daemon.logged("refused")[0];
    assert_eq!((&refused["status"], &refused["length"]), (&404.into(), &1.into()));
    assert_eq!((&refused["path"], &refused["method"]), (&"/nowhere".into(), &"POST".into()));
}

/// Runs a command whose standard error looks like systemd's journal, and returns what it writes
/// there.
fn in_the_journal(mut command: Command, stop_at: &str) -> String {
    let (mut reader, writer) = io::pipe().unwrap();
    let stat = fstat(&writer).unwrap();
    command.env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino));
    let mut child = command.stdout(Stdio::null()).stderr(writer).spawn().unwrap();
    drop(command);
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
    let stop_at = stop_at.to_owned();
    let read = thread::spawn(move || {
        let mut text = Vec::new();
        let mut piece = [0; 4096];
        let mut is_asked = false;
        while let Ok(count @ 1..) = reader.read(&mut piece) {
            text.extend_from_slice(&piece[..count]);
            // Once: a second signal ends a daemon at once, and is logged.
            if !is_asked
                && text.ends_with(b"\n")
                && String::from_utf8_lossy(&text).contains(&stop_at)
            {
                is_asked = true;
                kill_process(pid, Signal::TERM).ok();
            }
        }
        String::from_utf8(text).unwrap()
    });
    wait_for("its end", || child.try_wait().unwrap());
    read.join().unwrap()
}

fn run(setup: &Setup) -> Command {
    let mut command = logpushd();
    command.args(["run", "-c"]).arg(setup.write_config());
    command
}

#[test]
fn the_journal_gets_priorities_and_one_event_per_problem() {
    let text = || Setup::new().table("log", "format = \"text\"");
    let setup = text().table("sink.out.stdout", "");
    let log = in_the_journal(run(&setup), ": sink name=\"out\"");
    for line in log.lines() {
        let has_priority = ["<6> INFO logpushd", "<4> WARN logpushd"];
        assert!(has_priority.iter().any(|start| line.starts_with(start)), "{line}");
    }
    assert!(log.contains("<4> WARN"), "the certificate is for development: {log}");

    let last_words = in_the_journal(run(&text().table("spool", "dir = \"secrets.txt\"")), "never");
    let last = last_words.lines().last().unwrap();
    assert!(last.starts_with("<3>logpushd: spool.dir: "), "{last}");

    let broken = in_the_journal(run(&text().table("limits", "max = 1\nmin = 2")), "never");
    let [max, min] = broken.lines().collect::<Vec<_>>()[..] else { panic!("{broken}") };
    assert!(max.starts_with("<3>") && max.contains("`max`"), "{max}");
    assert!(min.starts_with("<3>") && min.contains("`min`"), "{min}");

    // The command of a unit's ExecReload.
    let setup = text().table("sink.out.stdout", "datasets = [\"http_request\"]");
    let validate = |more: &[&str]| {
        let mut command = logpushd();
        command.args(["validate", "-c"]).arg(setup.write_config()).args(more);
        in_the_journal(command, "never")
    };
    let warned = validate(&[]);
    let every = |text: &str, start: &str| text.lines().all(|line| line.starts_with(start));
    assert!(!warned.is_empty() && every(&warned, "<4>"), "{warned}");
    let strict = validate(&["--strict"]);
    assert!(!strict.is_empty() && every(&strict, "<3>"), "{strict}");
}

#[test]
fn a_failed_reload_is_one_event_with_every_problem() {
    let setup = Setup::new().table("log", "format = \"text\"");
    setup.write_config();
    let (path, config) = (setup.config(), std::fs::read_to_string(setup.config()).unwrap());
    let mut command = logpushd();
    command.args(["run", "-c"]).arg(&path).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
    let mut stderr = io::BufReader::new(child.stderr.take().unwrap());
    let mut next = |part: &str| loop {
        let mut line = String::new();
        assert!(io::BufRead::read_line(&mut stderr, &mut line).unwrap() > 0, "no {part}");
        if line.contains(part) {
            return line;
        }
    };
    next("ready");
    std::fs::write(&path, format!("{config}\n[limits]\nmax = 1\nmin = 2\n")).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    let line = next("the configuration stays as it was");
    assert!(line.contains(" ERROR ") && line.contains("`max`") && line.contains("`min`"), "{line}");
    kill_process(pid, Signal::TERM).unwrap();
    assert!(next("stopped").contains(" INFO "));
    wait_for("its end", || child.try_wait().unwrap());
}

#[test]
fn each_sink_is_logged_with_its_target_at_startup_and_when_it_changes() {
    let setup = Setup::new()
        .table("sink.out.stdout", "")
        .table("sink.siem.syslog", "address = [\"tcp://127.0.0.1:9\", \"unix:///dev/null\"]");
    let daemon = setup.start();
    let sinks = daemon.wait_logs("sink", 3);
    let archive = daemon.path("out/{dataset}.ndjson");
    for (name, kind, target) in [
        ("archive", "file", archive.to_str().unwrap()),
        ("out", "stdout", "standard output"),
        ("siem", "syslog", "tcp://127.0.0.1:9, unix:///dev/null"),
    ] {
        let is_it = |line: &&serde_json::Value| line["name"] == name;
        let line = sinks.iter().find(is_it).unwrap_or_else(|| panic!("no {name} in {sinks:?}"));
        assert_eq!((&line["kind"], &line["to"]), (&kind.into(), &target.into()));
    }
    daemon.setup().write_config_with(&[("sink.archive.file", Some("path = \"out/other\""))]);
    daemon.signal(Signal::HUP);
    daemon.wait_log("reloaded");
    let changed = &daemon.logged("sink")[3..];
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert!(changed[0]["to"].as_str().unwrap().ends_with("/out/other"));
}

#[test]
fn a_failing_sink_is_logged_once_and_a_reload_is_not_a_recovery() {
    let daemon = Setup::new().start();
    daemon.setup().faults("fail EIO write out/\n");
    daemon.commit(&numbered(1, 10));
    daemon.wait_count("logpushd_sink_errors_total{sink=\"archive\"}", |errors| errors >= 6);
    let failed = daemon.logged("the sink failed");
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!((&failed[0]["sink"], &failed[0]["repeated"]), (&"archive".into(), &0.into()));

    daemon.setup().write_config_with(&[("sink.archive.file", Some("path = \"other\""))]);
    daemon.signal(Signal::HUP);
    daemon.wait_log("reload: the sink's backlog is delivered with its new settings");
    daemon.wait_file("other", &numbered(1, 10));
    assert!(daemon.logged("stopping").is_empty());
    daemon.stop().exited_cleanly();
}

#[test]
fn log_lines_of_a_sink_name_the_sink() {
    let address = crate::support::free_port();
    let socket = std::net::UdpSocket::bind(("127.0.0.1", address)).unwrap();
    let keys = format!("address = \"udp://127.0.0.1:{address}\"\nmax_message_bytes = 1024");
    let daemon = Setup::new().table("sink.siem.syslog", &keys).start();
    daemon.commit(format!("{{\"a\":\"{}\"}}\n", "x".repeat(2000)).as_bytes());
    let line = daemon.wait_log("longer than max_message_bytes");
    assert_eq!((&line["sink"], &line["records"]), (&"siem".into(), &1.into()));
    drop(socket);
}

#[test]
fn the_log_and_a_metric_name_the_matching_secret() {
    let setup = Setup::new();
    setup
        .write("secrets.txt", "old: 0123456789abcdef\nnew: fedcba9876543210\nunnamed-0123456789\n");
    let daemon = setup.start();
    let used = |secret: &str, shown: &str| {
        for _ in 0..2 {
            assert!(daemon.send(Http::Two, Upload::of("test").secret(shown)).ok().0.len() > 1);
        }
        let count = || {
            let lines = daemon.logged("first use of a secret since it was loaded");
            lines.iter().filter(|line| line["secret"] == secret).count()
        };
        wait_until("its first use in the log", || count() > 0);
        assert_eq!(count(), 1, "{secret}");
        let series = "logpushd_secret_last_used_timestamp_seconds";
        let labels = format!("{{endpoint=\"main\",secret=\"{secret}\"}}");
        assert!(daemon.metric(&format!("{series}{labels}")) > 1e9);
    };
    used("new", "fedcba9876543210");
    used("line 3", "unnamed-0123456789");
    // A file in the old format, without names.
    used("old", "old: 0123456789abcdef");
    let wrong = daemon.send(Http::Two, Upload::of("test").secret("new"));
    assert_eq!(wrong.status, 401);

    daemon.setup().write("secrets.txt", "new: fedcba9876543210\n");
    daemon.signal(Signal::HUP);
    daemon.wait_log("reloaded");
    let gone = daemon.send(Http::Two, Upload::of("test").secret("0123456789abcdef"));
    assert_eq!(gone.status, 401);
    daemon.send(Http::Two, Upload::of("test").secret("fedcba9876543210"));
    daemon.wait_logs("first use of a secret since it was loaded", 4);
    let log = daemon.stop().exited_cleanly().log;
    assert!(!log.contains("fedcba") && !log.contains("0123456789"), "{log}");
}

#[test]
fn weak_secrets_are_logged_at_startup() {
    let setup = Setup::new();
    setup.write("secrets.txt", "short\n# a comment of an operator\n");
    let daemon = setup.start();
    let messages: Vec<_> = daemon
        .logged("configuration: line ")
        .iter()
        .map(|line| line["message"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[0].contains("line 1 of ") && messages[0].contains("5 characters"));
    assert!(messages[1].contains("line 2 of ") && messages[1].contains("begins with `#`"));
    assert!(
        messages.iter().all(|message| !message.contains("short") && !message.contains("operator"))
    );
}
