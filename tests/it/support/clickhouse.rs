//! The ClickHouse engine with its HTTP interface: `clickhouse.py`.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    free_port, repository,
    require::{CHDB, has, python},
    wait::DEADLINE,
};

/// A server with its tables, killed at the latest when this is dropped.
pub(crate) struct ClickHouse {
    // Dropped in this order: the directory outlives the process.
    process: Process,
    directory: TempDir,
    pub(crate) address: SocketAddr,
    password: Option<&'static str>,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl ClickHouse {
    /// Starts a server that accepts any user. Returns `None` if the engine is not installed.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(None)
    }

    /// Starts a server that requires a password.
    pub(crate) fn start_with(password: Option<&'static str>) -> Option<Self> {
        if !has(&[&CHDB]) {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let process = run(&directory, address, password);
        Some(Self { process, directory, address, password })
    }

    /// Kills the server, as a power cut would. Its tables stay.
    pub(crate) fn kill(&mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }

    /// Starts the server again after [`ClickHouse::kill`].
    pub(crate) fn restart(&mut self) {
        self.process = run(&self.directory, self.address, self.password);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Runs a query and returns its result.
    #[track_caller]
    pub(crate) fn query(&self, sql: &str) -> String {
        let (status, body) = self.post("/", sql);
        assert_eq!(status, 200, "{sql}: {body}");
        body
    }

    /// The rows that a query returns, with numbers and times as logpushd sends them.
    #[track_caller]
    pub(crate) fn rows(&self, select: &str) -> Vec<Value> {
        let sql = format!(
            "{select} FORMAT JSONEachRow SETTINGS output_format_json_quote_64bit_integers = 0, \
             date_time_output_format = 'iso'"
        );
        self.query(&sql).lines().map(|row| serde_json::from_str(row).unwrap()).collect()
    }

    /// Runs the statement of `pkg/clickhouse/DATASET.sql`.
    #[track_caller]
    pub(crate) fn create_packaged(&self, dataset: &str) {
        let path = repository(&format!("pkg/clickhouse/{dataset}.sql"));
        self.query(&std::fs::read_to_string(path).unwrap());
    }

    /// Closes the connection instead of the answer to the next inserts, after they were executed.
    #[track_caller]
    pub(crate) fn lose_answers(&self, inserts: usize) {
        assert_eq!(self.post(&format!("/lose?inserts={inserts}"), "").0, 200);
    }

    fn post(&self, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).expect("the server listens");
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let (length, key) = (body.len(), self.password.unwrap_or_default());
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-clickhouse-key: {key}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), body.to_owned())
    }
}

/// Starts the program, and waits until it listens.
fn run(directory: &TempDir, address: SocketAddr, password: Option<&str>) -> Process {
    let mut command = Command::new(python("LOGPUSHD_CHDB_PYTHON"));
    command
        .arg(repository("tests/it/support/clickhouse.py"))
        .arg(address.port().to_string())
        .arg(directory.path())
        .args(password)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut process = Process(command.spawn().expect("Python starts"));
    let mut line = String::new();
    let stdout = process.0.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    process
}
