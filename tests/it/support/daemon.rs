//! A running daemon, and queries about it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    ops::Range,
    path::PathBuf,
    str::FromStr,
};

use rustix::process::Signal;
use serde_json::Value;

use super::{
    client::{Answer, Connection, Http, Upload},
    process::{Exit, Process},
    records::{count_lines, numbered},
    setup::Setup,
    tls,
    wait::{DEADLINE, same_bytes, wait_for, wait_until},
};

/// A daemon, killed at the latest when this is dropped.
pub(crate) struct Daemon {
    // Dropped in this order: the directory outlives the process.
    process: Process,
    setup: Setup,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Daemon {
    #[track_caller]
    pub(super) fn start(setup: Setup) -> Self {
        let mut process = Process::run(&setup.config(), setup.output, &setup.service);
        let address = address(&mut process, "listening");
        let admin = address_of(&mut process, |message| message.starts_with("admin listener"));
        let daemon = Self { process, setup, address, admin };
        daemon.wait_log("ready");
        daemon
    }

    /// As [`Daemon::start`], for a daemon that may be killed before it is ready.
    #[track_caller]
    pub(super) fn try_start(setup: Setup) -> Result<Self, Stopped> {
        let mut process = Process::run(&setup.config(), setup.output, &setup.service);
        let ended = wait_for("a daemon that is ready, or ended", || {
            let ended = process.has_ended();
            let ready = || log_of(&process).iter().any(|line| line["message"] == "ready");
            if ready() { Some(None) } else { ended.map(Some) }
        });
        if ended.is_some() {
            return Err(Stopped::of(process, setup));
        }
        let address = address(&mut process, "listening");
        let admin = address_of(&mut process, |message| message.starts_with("admin listener"));
        Ok(Self { process, setup, address, admin })
    }

    /// Whether the process has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.has_ended().is_some()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Stops reading its log until it has ended.
    pub(crate) fn stop_reading_log(&self) {
        self.process.stop_reading_log();
    }

    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.setup.path(name)
    }

    /// A connection that trusts the daemon's certificate.
    #[track_caller]
    pub(crate) fn connect(&self, http: Http) -> Connection {
        Connection::open(self.address, self.trust(), http).expect("a connection")
    }

    /// The same, for when the connection may be rejected.
    pub(crate) fn try_connect(&self, http: Http) -> Result<Connection, String> {
        Connection::open(self.address, self.trust(), http)
    }

    /// Trusts the certificate that the daemon has now.
    pub(crate) fn trust(&self) -> tls::Client {
        tls::Client::trusting(&self.path("fullchain.pem"))
    }

    /// Sends a batch over a connection of its own.
    #[track_caller]
    pub(crate) fn send(&self, http: Http, upload: Upload) -> Answer {
        self.connect(http).send(upload)
    }

    /// Sends records to the dataset `http_requests`, gzipped, and asserts that they are committed.
    #[track_caller]
    pub(crate) fn commit(&self, records: &[u8]) {
        let answer = self.send(Http::Two, Upload::of(records).gzipped());
        assert_eq!(answer.committed(), count_lines(records));
    }

    /// Sends [`numbered`] batches of `count` records each, one after the other. Returns all
    /// records.
    pub(crate) fn commit_numbered(&self, batches: Range<u64>, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        for batch in batches {
            let records = numbered(batch, count);
            self.commit(&records);
            all.extend(records);
        }
        all
    }

    /// The bytes that it wrote to standard output.
    pub(crate) fn stdout(&self) -> Vec<u8> {
        self.process.stdout.bytes()
    }

    /// Its log, one value per line.
    pub(crate) fn log(&self) -> Vec<Value> {
        log_of(&self.process)
    }

    /// Waits for a line with this message.
    #[track_caller]
    pub(crate) fn wait_log(&self, message: &str) -> Value {
        self.wait_logs(message, 1).remove(0)
    }

    /// Waits for that many lines with this message.
    #[track_caller]
    pub(crate) fn wait_logs(&self, message: &str, count: usize) -> Vec<Value> {
        wait_for(&format!("{count} lines with the message {message:?}"), || {
            let lines = self.logged(message);
            (lines.len() >= count).then_some(lines)
        })
    }

    /// The lines whose message starts like that.
    pub(crate) fn logged(&self, message: &str) -> Vec<Value> {
        let is_it = |line: &Value| line["message"].as_str().is_some_and(|m| m.starts_with(message));
        self.log().into_iter().filter(is_it).collect()
    }

    /// Waits until a file contains exactly these bytes.
    #[track_caller]
    pub(crate) fn wait_file(&self, name: &str, want: &[u8]) {
        let path = self.path(name);
        // Compared only when it is long enough: written bytes are never removed.
        wait_until(&format!("{} bytes in {name}", want.len()), || {
            fs::metadata(&path).is_ok_and(|file| file.len() >= want.len() as u64)
        });
        same_bytes(name, &fs::read(&path).unwrap(), want);
    }

    /// Sends a request to the admin listener, and returns status and body.
    #[track_caller]
    pub(crate) fn ask(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).expect("the admin listener");
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    /// The value of a metric. `series` is written as in the exposition, with its labels.
    #[track_caller]
    pub(crate) fn metric(&self, series: &str) -> f64 {
        self.sample(series)
    }

    /// The value of a counter.
    #[track_caller]
    pub(crate) fn count(&self, series: &str) -> u64 {
        self.sample(series)
    }

    #[track_caller]
    fn sample<T: FromStr>(&self, series: &str) -> T {
        let (_, text) = self.ask("/metrics");
        let sample = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(sample).unwrap_or_else(|| panic!("no {series} in\n{text}"))
    }

    /// Waits until a counter fulfills a condition.
    #[track_caller]
    pub(crate) fn wait_count(&self, series: &str, want: impl Fn(u64) -> bool) {
        wait_until(series, || want(self.count(series)));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for the end of a daemon that is shutting down.
    #[track_caller]
    pub(crate) fn end(self) -> Stopped {
        Stopped::of(self.process, self.setup)
    }

    /// Stops it as systemd would.
    #[track_caller]
    pub(crate) fn stop(self) -> Stopped {
        self.signal(Signal::TERM);
        self.end()
    }

    /// Kills it, which loses what a process can lose in a power cut.
    #[track_caller]
    pub(crate) fn kill(self) -> Stopped {
        self.signal(Signal::KILL);
        self.end().killed()
    }
}

/// A daemon that has ended, and what it left.
pub(crate) struct Stopped {
    pub(crate) exit: Exit,
    pub(crate) log: String,
    pub(crate) stdout: Vec<u8>,
    pub(crate) setup: Setup,
}

impl Stopped {
    /// Waits for the end of the process.
    #[track_caller]
    fn of(mut process: Process, setup: Setup) -> Self {
        let exit = process.end();
        let log = String::from_utf8_lossy(&process.stderr.bytes()).into_owned();
        Self { exit, log, stdout: process.stdout.bytes(), setup }
    }

    /// Starts the next daemon in the same directory.
    #[track_caller]
    pub(crate) fn start(self) -> Daemon {
        self.setup.start()
    }

    pub(crate) fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.setup.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Removes all injected faults.
    pub(crate) fn without_faults(self) -> Self {
        self.setup.faults("");
        self
    }

    /// Asserts that it was killed.
    #[track_caller]
    pub(crate) fn killed(self) -> Self {
        assert_eq!(self.exit, Exit::Killed, "{}", self.log);
        self
    }

    /// Asserts that it exited without an error.
    #[track_caller]
    pub(crate) fn exited_cleanly(self) -> Self {
        assert_eq!(self.exit, Exit::Code(0), "{}", self.log);
        self
    }
}

fn log_of(process: &Process) -> Vec<Value> {
    let text = process.stderr.bytes();
    let lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    // A daemon that does not start prints plain text last.
    lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

#[track_caller]
fn address(process: &mut Process, message: &str) -> SocketAddr {
    address_of(process, |logged| logged == message)
}

#[track_caller]
fn address_of(process: &mut Process, is_it: impl Fn(&str) -> bool) -> SocketAddr {
    wait_for("an address in the log", || {
        let ended = process.has_ended();
        let line =
            log_of(process).into_iter().find(|line| line["message"].as_str().is_some_and(&is_it));
        let came_up = line.is_some() || ended.is_none();
        assert!(came_up, "it has ended: {}", String::from_utf8_lossy(&process.stderr.bytes()));
        line.map(|line| line["address"].as_str().unwrap().parse().unwrap())
    })
}
