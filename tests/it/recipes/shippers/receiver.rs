//! A server that collects the lines that a shipper sends over TCP.

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

/// The server. It listens until the tests end.
pub(super) struct Receiver {
    lines: Arc<Mutex<Vec<String>>>,
    port: u16,
}

impl Receiver {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let all = Arc::clone(&lines);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, all) = (stream.unwrap(), Arc::clone(&all));
                thread::spawn(move || {
                    for line in BufReader::new(stream).lines().map_while(Result::ok) {
                        all.lock().unwrap().push(record(line));
                    }
                });
            }
        });
        Self { lines, port }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The lines received so far.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub(super) fn has_all(&self, records: &[String]) -> bool {
        let lines = self.lines.lock().unwrap();
        let got: HashSet<&str> = lines.iter().map(String::as_str).collect();
        records.iter().all(|record| got.contains(record.as_str()))
    }
}

/// The record in a line. Fluent Bit wraps it in an object, in the field `log`.
fn record(line: String) -> String {
    let wrapped = serde_json::from_str::<serde_json::Value>(&line).ok();
    wrapped.and_then(|object| Some(object.get("log")?.as_str()?.to_owned())).unwrap_or(line)
}
