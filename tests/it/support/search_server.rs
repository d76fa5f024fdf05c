//! Real servers with the API of Elasticsearch or OpenSearch.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tempfile::TempDir;

use super::{
    DEADLINE, free_port, repository,
    require::{NOIDA, OSMEM, has, server},
    wait::wait_until,
};

/// An implementation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Product {
    /// An OpenSearch that keeps its documents in memory, as the text that it got.
    Osmem,
    /// An Elasticsearch that keeps its documents in a file.
    Noida,
}

/// A server, until it is dropped.
pub(crate) struct SearchServer {
    product: Product,
    address: SocketAddr,
    dir: TempDir,
    child: Option<Child>,
}

/// A stored document.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Document {
    pub(crate) index: String,
    pub(crate) id: String,
    /// The JSON text.
    pub(crate) source: String,
}

impl SearchServer {
    /// Starts a server without documents. `None` if the machine does not have the program.
    pub(crate) fn start(product: Product) -> Option<Self> {
        let part = match product {
            Product::Osmem => &OSMEM,
            Product::Noida => &NOIDA,
        };
        if !has(&[part]) {
            return None;
        }
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut this = Self { product, address, dir: TempDir::new().unwrap(), child: None };
        this.restart();
        Some(this)
    }

    /// Stops it, if it runs, and starts it at the same address.
    pub(crate) fn restart(&mut self) {
        self.stop();
        let log = File::create(self.dir.path().join("log")).unwrap();
        let mut command = Command::new(self.program());
        match self.product {
            // It ends when its standard input is closed.
            Product::Osmem => command.args(["-no-ja", "-addr", &self.address.to_string()]),
            Product::Noida => command
                .args(["start", "--only", "elasticsearch", "--data-dir"])
                .arg(self.dir.path().join("data"))
                .args(["--elasticsearch-port", &self.address.port().to_string()]),
        };
        command.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        wait_until("the search server", || {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none(), "it has ended: {ended:?}");
            TcpStream::connect(self.address).is_ok()
        });
    }

    /// Stops it in the middle of its requests. Noida saves its documents at intervals and when it
    /// ends, so it is not killed: it would lose documents that it has acknowledged.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
            kill_process(pid, Signal::TERM).ok();
            child.wait().ok();
        }
    }

    fn program(&self) -> PathBuf {
        let name = match self.product {
            Product::Osmem => "osmem_server/bin/osmem-server",
            Product::Noida => "noida_db/noida-db",
        };
        server(name).unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends a request. Returns the status and the body.
    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // HTTP/1.0, so that the answer is not chunked.
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    /// Changes the server, which must accept it.
    #[track_caller]
    pub(crate) fn put(&self, path: &str, body: &str) {
        let (status, answer) = self.ask("PUT", path, body);
        assert_eq!(status, 200, "{path}: {answer}");
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask("GET", path, "");
        assert_eq!(status, 200, "{path}: {answer}");
        serde_json::from_str(&answer).unwrap()
    }

    /// Installs the shipped templates.
    pub(crate) fn install_templates(&self) {
        for (path, file) in [
            ("_component_template/logpush", "component_template.json"),
            ("_index_template/logpush", "index_template.json"),
            ("_index_template/logpush-data-streams", "data_stream_template.json"),
        ] {
            let template = fs::read_to_string(repository("pkg/elasticsearch").join(file)).unwrap();
            self.put(&format!("/{path}"), &template);
        }
    }

    /// The number of documents.
    #[track_caller]
    pub(crate) fn count(&self) -> u64 {
        self.ask("POST", "/_refresh", "");
        self.get("/_count")["count"].as_u64().unwrap()
    }

    /// Waits for that many documents. There must never be more.
    #[track_caller]
    pub(crate) fn wait_count(&self, count: usize) {
        let count = u64::try_from(count).unwrap();
        wait_until(&format!("{count} documents"), || {
            let now = self.count();
            assert!(now <= count, "{now} documents instead of {count}");
            now == count
        });
    }

    /// All documents, sorted.
    #[track_caller]
    pub(crate) fn documents(&self) -> Vec<Document> {
        self.ask("POST", "/_refresh", "");
        let mut documents = Vec::new();
        let indices = self.get("/_resolve/index/*")["indices"].clone();
        for index in indices.as_array().unwrap() {
            let index = index["name"].as_str().unwrap();
            self.put(&format!("/{index}/_settings"), r#"{"index.max_result_window":1000000}"#);
            let path = format!("/{index}/_search?size=1000000");
            let (status, answer) = self.ask("GET", &path, "");
            assert_eq!(status, 200, "{path}: {answer}");
            let found: Found = serde_json::from_str(&answer).unwrap();
            documents.extend(found.hits.hits.into_iter().map(|hit| Document {
                index: hit.index,
                id: hit.id,
                source: hit.source.get().to_owned(),
            }));
        }
        documents.sort();
        documents
    }
}

impl Drop for SearchServer {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Deserialize)]
struct Found {
    hits: Hits,
}

#[derive(Deserialize)]
struct Hits {
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    #[serde(rename = "_index")]
    index: String,
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_source")]
    source: Box<RawValue>,
}
