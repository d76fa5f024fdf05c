//! A slow, stopped or missing reader of standard error affects neither uploads, nor readiness, nor
//! shutdown.

use std::{
    io::{self, BufRead as _, BufReader, PipeReader, Read as _},
    process::{Child, Stdio},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Connection, Exit, Http, Setup, Upload, logpushd, tls, wait_for, wait_until};

/// A daemon whose standard error is a pipe that is read up to the line `ready`, and no further.
struct Unread {
    child: Child,
    pipe: Option<BufReader<PipeReader>>,
    address: String,
    admin: String,
    setup: Setup,
}

impl Unread {
    fn start(setup: Setup) -> Self {
        setup.write_config();
        let (reader, writer) = io::pipe().unwrap();
        let mut command = logpushd();
        command.args(["run", "-c"]).arg(setup.config()).stdout(Stdio::null()).stderr(writer);
        let child = command.spawn().unwrap();
        drop(command);
        let mut pipe = BufReader::new(reader);
        let (mut address, mut admin) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            assert!(pipe.read_line(&mut line).unwrap() > 0, "it ended");
            let line: Value = serde_json::from_str(&line).unwrap();
            let at = || line["address"].as_str().unwrap().to_owned();
            match line["message"].as_str().unwrap() {
                "listening" => address = at(),
                message if message.starts_with("admin listener") => admin = at(),
                "ready" => break,
                _ => {}
            }
        }
        Self { child, pipe: Some(pipe), address, admin, setup }
    }

    fn connect(&self) -> Connection {
        let trust = tls::Client::trusting(&self.setup.path("fullchain.pem"));
        Connection::open(self.address.parse().unwrap(), trust, Http::Two).unwrap()
    }

    fn ask(&self, path: &str) -> String {
        use std::io::Write as _;

        let mut stream = std::net::TcpStream::connect(&self.admin).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    fn dropped(&self) -> u64 {
        let text = self.ask("/metrics");
        let value = |line: &str| {
            line.strip_prefix("logpushd_log_lines_dropped_total ")?.trim().parse().ok()
        };
        text.lines().find_map(value).unwrap()
    }

    /// Posts batches, and a rejected request with each, until the log is full. A line of a batch
    /// has 400 bytes or more.
    fn fill_the_log(&self) {
        let connection = self.connect();
        let mut batches = 0;
        while self.dropped() == 0 {
            for _ in 0..200 {
                let records = format!("{{\"batch\":{batches}}}\n");
                assert_eq!(connection.send(Upload::of(records.as_bytes())).committed(), 1);
                batches += 1;
            }
            assert_eq!(connection.send(Upload::of("x").to("/nowhere")).status, 404);
            assert!(batches < 100_000, "lines are dropped when the log is full");
        }
        // The secret is checked, batches are committed and delivered as usual.
        assert_eq!(connection.send(Upload::of("x").secret("wrong")).status, 401);
        let file = self.setup.path("out/http_requests.ndjson");
        wait_until("all records in the file", || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            text.lines().count() == batches
        });
        assert!(self.ask("/readyz").starts_with("HTTP/1.1 200"));
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn end(&mut self) -> Exit {
        wait_for("the end of the daemon", || self.child.try_wait().unwrap()).into()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn setup() -> Setup {
    // One connection logs nothing until its end, so that a batch has two lines at most.
    Setup::new().table("log", "format = \"json\"\nlevel = \"debug\"")
}

#[test]
fn an_unread_log_stops_nothing() {
    let mut daemon = Unread::start(setup());
    daemon.fill_the_log();
    daemon.signal(Signal::HUP);
    daemon.signal(Signal::TERM);
    // The pipe is still open, and still full.
    assert_eq!(daemon.end(), Exit::Code(0));
}

#[test]
fn a_log_reader_that_returns_gets_the_number_of_lost_lines() {
    let mut daemon = Unread::start(setup());
    daemon.fill_the_log();
    let mut pipe = daemon.pipe.take().unwrap();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    });
    // After some time, new lines are in the pipe again.
    let connection = daemon.connect();
    for number in 0..3 {
        let records = format!("{{\"again\":{number}}}\n");
        assert_eq!(connection.send(Upload::of(records.as_bytes())).committed(), 1);
    }
    let dropped = wait_for("a stable count", || {
        let before = daemon.dropped();
        connection.send(Upload::of("test"));
        (daemon.dropped() == before).then_some(before)
    });
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Exit::Code(0));
    let text = reader.join().unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut reported = 0;
    for line in &lines {
        let message = line["message"].as_str().unwrap();
        if let Some((count, _)) = message.split_once(" log lines were dropped") {
            assert_eq!(line["level"], "WARN");
            reported += count.parse::<u64>().unwrap();
        }
    }
    assert_eq!(reported, dropped);
    assert_eq!(lines.last().unwrap()["message"], "stopped", "a stop loses no line");
}

#[test]
fn the_last_log_line_explains_a_failed_start() {
    // A second daemon in the same directory.
    let first = setup().start();
    let mut second = logpushd();
    second.args(["run", "-c"]).arg(first.setup().config());
    let ended = crate::support::finish(&mut second);
    assert_eq!(ended.exit, Exit::Code(74), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.starts_with("logpushd: spool.dir: "), "{last}");
}
