//! A file or pipe that the daemon writes to stalls: every sender gets an answer, `/readyz` is
//! right, and SIGTERM stops the daemon in time.

use std::{
    fs, io,
    net::TcpStream,
    thread::{self, ScopedJoinHandle},
    time::Instant,
};

use rustix::process::Signal;

use crate::{
    disks::disk::{Disk, Filesystem, Frozen, spool_on},
    support::{
        Answer, Connection, DEADLINE, Daemon, Http, Output, Setup, Upload, numbered, same_bytes,
        wait_for, wait_until,
    },
};

const HANGS: &str = "the disk under spool.dir does not answer";
const OUT: &str = "out/http_requests.ndjson";

/// More than there are threads for waiting uploads.
const CONNECTIONS: u64 = 9;
const STREAMS: u64 = 60;

fn records(number: u64) -> Vec<u8> {
    format!("{{\"upload\":{number}}}\n").into_bytes()
}

/// Sends many batches at the same time.
fn send_all(connections: &[Connection]) -> Vec<Answer> {
    thread::scope(|scope| {
        let mut senders = Vec::new();
        for (connection, first) in connections.iter().zip((0..).step_by(60)) {
            for number in first..first + STREAMS {
                senders.push(scope.spawn(move || connection.send(Upload::of(records(number)))));
            }
        }
        senders.into_iter().map(ScopedJoinHandle::join).map(Result::unwrap).collect()
    })
}

fn wait_not_ready(daemon: &Daemon) {
    wait_until("a daemon that is not ready", || {
        let (status, why) = daemon.ask("/readyz");
        assert!(status == 200 || why.contains(HANGS), "{why}");
        status == 503
    });
}

#[test]
fn senders_and_probes_are_answered_while_the_spool_hangs() {
    let setup = Setup::new().table("spool", "dir = \"spool\"\ndedup_window = \"1h\"");
    let daemon = setup.start();
    let connections: Vec<_> =
        (0..CONNECTIONS).map(|_| daemon.connect(Http::Two).patient()).collect();
    daemon.setup().faults("hang sync /batches/");
    let answers = thread::scope(|scope| {
        let sent = scope.spawn(|| send_all(&connections));
        // Uploads use all threads that they can get.
        wait_not_ready(&daemon);
        let (status, text) = daemon.ask("/metrics");
        assert!(status == 200 && text.contains("logpushd_ready 0\n"), "{text}");
        assert_eq!(daemon.ask("/healthz").0, 200);
        let connection = daemon.connect(Http::One);
        let refused = connection.send(Upload::of(vec![b' '; 5000]));
        assert!(refused.status == 503 && refused.text.contains(HANGS), "{}", refused.text);
        let check = Upload::of(b"{\"content\":\"test\"}").gzipped();
        let known = daemon.connect(Http::One).send(check);
        assert!([200, 503].contains(&known.status), "{}", known.text);
        sent.join().unwrap()
    });
    for answer in &answers {
        assert_eq!(answer.status, 503, "{}", answer.text);
    }
    assert!(answers.iter().any(|answer| answer.text.contains(HANGS)));

    daemon.setup().faults("");
    wait_until("a daemon that is ready", || daemon.ask("/readyz").0 == 200);
    daemon.wait_log("the disk under spool.dir answers again");
    // Batches rejected during their commit are delivered once, and others are accepted now.
    for number in 0..CONNECTIONS * STREAMS {
        // Uploads that are still being committed leave no room for another.
        let answer = wait_for("room for an upload", || {
            let answer = connections[0].send(Upload::of(records(number)));
            (answer.status != 503).then_some(answer)
        });
        assert!(["committed", "duplicate"].contains(&&*answer.ok().0), "{}", answer.text);
    }
    let stopped = daemon.stop().exited_cleanly();
    let text = String::from_utf8(stopped.file(OUT)).unwrap();
    let mut there: Vec<_> = text.lines().collect();
    there.sort_unstable();
    let mut want: Vec<_> = (0..CONNECTIONS * STREAMS).map(records).collect();
    want.sort_unstable();
    same_bytes("the file", (there.join("\n") + "\n").as_bytes(), &want.concat());
}

#[test]
fn a_hung_disk_does_not_delay_shutdown_past_its_deadline() {
    let daemon = Setup::new().start();
    let all = daemon.commit_numbered(0..2, 20);
    daemon.wait_file(OUT, &all);
    daemon.setup().faults("hang sync /\nhang write /\nhang remove /\nhang space /");
    let connection = daemon.connect(Http::Two).patient();
    let started = Instant::now();
    let stopped = thread::scope(|scope| {
        // Rejected or cut off, it was not acknowledged.
        let sent = scope.spawn(|| connection.try_send(Upload::of(numbered(2, 20))));
        wait_not_ready(&daemon);
        daemon.signal(Signal::TERM);
        let stopped = daemon.end();
        assert!(!sent.join().unwrap().is_ok_and(|answer| answer.status == 200));
        stopped
    });
    assert!(started.elapsed() < DEADLINE);
    let stopped = stopped.exited_cleanly().without_faults();
    same_bytes("the file", &stopped.start().stop().exited_cleanly().file(OUT), &all);
}

#[test]
fn a_probe_reports_a_frozen_spool_without_uploads() {
    let Some((disk, daemon)) = on_ext4(spool_on) else { return };
    let all = daemon.commit_numbered(0..2, 20);
    daemon.wait_file(OUT, &all);
    let Some(frozen) = disk.freeze() else { return };
    wait_not_ready(&daemon);
    let refused = daemon.connect(Http::Two).send(Upload::of(numbered(2, 100)));
    assert!(refused.status == 503 && refused.text.contains(HANGS), "{}", refused.text);
    drop(frozen);
    wait_until("a daemon that is ready", || daemon.ask("/readyz").0 == 200);
    let records = numbered(2, 100);
    daemon.commit(&records);
    daemon.wait_file(OUT, &[all, records].concat());
    daemon.stop().exited_cleanly();
}

/// A disk that can be frozen, and a daemon that uses it.
fn on_ext4(setup: impl Fn(&Disk) -> Setup) -> Option<(Disk, Daemon)> {
    let disk = Disk::new(Filesystem::Ext4, 16)?;
    let daemon = setup(&disk).start();
    Some((disk, daemon))
}

/// Whether the process has ended, except for threads that a frozen disk blocks.
fn has_ended(daemon: &Daemon) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()));
    status.is_ok_and(|status| status.contains("\nState:\tZ"))
}

#[test]
fn requests_are_answered_despite_a_full_log_a_stopped_reader_and_a_frozen_disk() {
    let setup = |disk: &Disk| {
        Setup::new()
            .table("sink.frozen.file", &disk.key("path", "out/{dataset}.ndjson"))
            .table("sink.screen.stdout", "")
            .table("log", "format = \"json\"\nlevel = \"debug\"")
            .with_output(Output::Stalled)
    };
    let Some((disk, daemon)) = on_ext4(setup) else { return };
    let frozen_out = disk.path("out/http_requests.ndjson");
    let mut all = daemon.commit_numbered(0..1, 20);
    wait_until("a file on the disk", || fs::read(&frozen_out).is_ok_and(|there| there == all));
    let Some(frozen) = disk.freeze() else { return };
    daemon.stop_reading_log();
    let connection = daemon.connect(Http::Two);
    let mut batch = 1;
    // The larger ones fill standard output.
    while batch < 20 || daemon.count("logpushd_log_lines_dropped_total") == 0 {
        let records = numbered(batch, if batch < 20 { 500 } else { 1 });
        connection.send(Upload::of(&records).gzipped()).committed();
        all.extend(records);
        batch += 1;
    }
    daemon.wait_file(OUT, &all);
    for path in ["/readyz", "/healthz"] {
        assert_eq!(daemon.ask(path).0, 200, "the spool is not affected");
    }
    for sink in ["frozen", "screen"] {
        assert!(daemon.metric(&format!("logpushd_sink_lag_seconds{{sink=\"{sink}\"}}")) > 0.0);
    }
    daemon.signal(Signal::TERM);
    wait_until("the end of the daemon", || has_ended(&daemon));
    let refused = TcpStream::connect(daemon.admin).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    drop::<Frozen>(frozen);
    let stopped = daemon.end().exited_cleanly();
    same_bytes("beside the frozen disk", &stopped.file(OUT), &all);
    // The next run has the rest.
    let stopped = Setup::with_output(stopped.setup, Output::Read).start();
    wait_until("all records", || fs::read(&frozen_out).is_ok_and(|there| there.len() >= all.len()));
    same_bytes("the frozen disk", &fs::read(&frozen_out).unwrap(), &all);
    stopped.stop().exited_cleanly();
}
