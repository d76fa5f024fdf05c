//! A syslog server that tests can kill, restart and keep from reading.

use std::{
    fs,
    io::{self, Read, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tempfile::TempDir;

use crate::support::{
    free_port,
    tls::{Authority, Pair},
    wait_for,
};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Transport {
    Tcp,
    /// With certificates on both sides.
    Tls,
    UnixStream,
}

impl Transport {
    pub(super) const ALL: [Self; 3] = [Self::Tcp, Self::Tls, Self::UnixStream];
}

pub(super) const FRAMING: &str = "framing = \"newline\"\n";

/// The server. [`Receiver::records`] returns the records it has stored.
pub(super) struct Receiver {
    transport: Transport,
    dir: TempDir,
    tls: Arc<ServerConfig>,
    shared: Arc<Shared>,
}

struct Shared {
    transport: Transport,
    tcp: SocketAddr,
    path: PathBuf,
    stalled: AtomicBool,
    /// Counts its starts and kills.
    run: AtomicU64,
    connections: Mutex<Vec<Socket>>,
    /// The data received, one text per connection.
    received: Mutex<Vec<Vec<u8>>>,
    kept: Mutex<Vec<String>>,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn shut(&self) {
        // The listener may be closed by now.
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both).ok(),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both).ok(),
        };
    }

    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }
}

impl Receiver {
    pub(super) fn new(transport: Transport) -> Self {
        let authority = Authority::new();
        let server = authority.sign_server();
        Self::presenting(&server, &authority.pem(), &authority, transport)
    }

    /// Over TLS, with a self-signed certificate that is its own authority, and clients' `ca_file`.
    pub(super) fn self_signed() -> Self {
        let server = Pair::self_signed_authority();
        Self::presenting(&server, &server.cert, &Authority::new(), Transport::Tls)
    }

    /// `authority` signs the certificates of clients.
    fn presenting(server: &Pair, ca: &str, authority: &Authority, transport: Transport) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let other = Authority::new();
        let client = authority.sign();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("ca.pem", ca);
        write("other.pem", &other.pem());
        write("client.pem", &client.cert);
        write("client.key", &client.key);
        let tls = server_config(authority, server);
        let shared = Arc::new(Shared {
            transport,
            // No other process gets the port while the server is down.
            tcp: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())),
            path: dir.path().join("socket"),
            stalled: AtomicBool::new(false),
            run: AtomicU64::new(0),
            connections: Mutex::default(),
            received: Mutex::default(),
            kept: Mutex::default(),
        });
        let receiver = Self { transport, dir, tls, shared };
        receiver.restart();
        receiver
    }

    /// The URL for the configuration.
    pub(super) fn address(&self) -> String {
        match self.transport {
            Transport::Tcp => format!("\"tcp://{}\"", self.shared.tcp),
            Transport::Tls => format!("\"tls://{}\"", self.shared.tcp),
            Transport::UnixStream => format!("\"unix://{}\"", self.shared.path.display()),
        }
    }

    pub(super) fn keys(&self) -> String {
        self.keys_with("ca.pem", "cert_file = \"CLIENT.pem\", key_file = \"CLIENT.key\"")
    }

    pub(super) fn keys_without_certificate(&self) -> String {
        self.keys_with("ca.pem", "")
    }

    pub(super) fn keys_with_name(&self, name: &str) -> String {
        self.keys_with("ca.pem", &format!("server_name = \"{name}\""))
    }

    pub(super) fn keys_trusting_another(&self) -> String {
        self.keys_with("other.pem", "")
    }

    fn keys_with(&self, ca: &str, more: &str) -> String {
        let dir = self.dir.path().display();
        let comma = if more.is_empty() { "" } else { ", " };
        let more = more.replace("CLIENT", &format!("{dir}/client"));
        if self.transport != Transport::Tls {
            return FRAMING.to_owned();
        }
        format!("{FRAMING}tls = {{ ca_file = \"{dir}/{ca}\"{comma}{more} }}")
    }

    /// The stored records, over all restarts.
    pub(super) fn records(&self) -> Vec<String> {
        let mut kept = self.shared.kept.lock().unwrap().clone();
        // Parsed after the lock is released: megabytes take longer than a client may wait.
        let received = self.shared.received.lock().unwrap().clone();
        kept.extend(received.iter().flat_map(|text| records(text)));
        kept
    }

    /// Kills the server. The last `lost` records that it had read were never stored.
    pub(super) fn kill(&self, lost: usize) {
        self.shared.run.fetch_add(1, SeqCst);
        self.shared.connections.lock().unwrap().drain(..).for_each(|socket| socket.shut());
        let mut kept = self.shared.kept.lock().unwrap();
        for text in self.shared.received.lock().unwrap().drain(..) {
            kept.extend(records(&text));
        }
        let left = kept.len().saturating_sub(lost);
        kept.truncate(left);
        self.shared.stalled.store(false, SeqCst);
    }

    /// Restarts it at the same address.
    pub(super) fn restart(&self) {
        let run = self.shared.run.fetch_add(1, SeqCst) + 1;
        let (shared, tls) = (Arc::clone(&self.shared), Arc::clone(&self.tls));
        match self.transport {
            Transport::UnixStream => {
                // It exists if this is not the first start.
                fs::remove_file(&shared.path).ok();
                let listener = UnixListener::bind(&shared.path).unwrap();
                listener.set_nonblocking(true).unwrap();
                thread::spawn(move || {
                    shared.accept(run, || {
                        let (stream, _) = listener.accept()?;
                        stream.set_nonblocking(false)?;
                        Ok((Socket::Unix(stream.try_clone()?), Box::new(stream)))
                    });
                });
            }
            Transport::Tcp | Transport::Tls => {
                // The thread of the last run may still have it.
                let listener = wait_for("the port", || TcpListener::bind(shared.tcp).ok());
                listener.set_nonblocking(true).unwrap();
                thread::spawn(move || {
                    shared.accept(run, || {
                        let (stream, _) = listener.accept()?;
                        stream.set_nonblocking(false)?;
                        let socket = Socket::Tcp(stream.try_clone()?);
                        if shared.transport == Transport::Tcp {
                            return Ok((socket, Box::new(stream)));
                        }
                        let session = ServerConnection::new(Arc::clone(&tls)).unwrap();
                        Ok((socket, Box::new(StreamOwned::new(session, stream))))
                    });
                });
            }
        }
    }

    /// Reads no more, until it is killed.
    pub(super) fn stall(&self) {
        self.shared.stalled.store(true, SeqCst);
    }
}

type Accepted = (Socket, Box<dyn Read + Send>);

impl Shared {
    fn accept(self: &Arc<Self>, run: u64, accept: impl Fn() -> io::Result<Accepted>) {
        while self.run.load(SeqCst) == run {
            let Ok((socket, stream)) = accept() else {
                thread::sleep(Duration::from_millis(2));
                continue;
            };
            let mut connections = self.connections.lock().unwrap();
            if self.run.load(SeqCst) != run {
                break;
            }
            connections.push(socket.try_clone().unwrap());
            let place = {
                let mut received = self.received.lock().unwrap();
                received.push(Vec::new());
                received.len() - 1
            };
            drop(connections);
            let shared = Arc::clone(self);
            thread::spawn(move || {
                shared.read(run, stream, place);
                socket.shut();
            });
        }
    }

    fn read(&self, run: u64, mut stream: Box<dyn Read + Send>, place: usize) {
        let mut buffer = [0; 16384];
        loop {
            while self.stalled.load(SeqCst) && self.run.load(SeqCst) == run {
                thread::sleep(Duration::from_millis(2));
            }
            // A session that was not closed ends as well.
            let Ok(length @ 1..) = stream.read(&mut buffer) else { return };
            let mut received = self.received.lock().unwrap();
            if self.run.load(SeqCst) != run {
                return;
            }
            if let Some(text) = received.get_mut(place) {
                text.write_all(&buffer[..length]).unwrap();
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.run.fetch_add(1, SeqCst);
    }
}

/// The texts of complete messages.
fn records(text: &[u8]) -> Vec<String> {
    let whole = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    whole
        .map(|line| {
            let line = String::from_utf8(line.to_vec()).unwrap();
            let (_, body) = line.trim_end().split_once(" - http_requests - ").expect("a header");
            body.to_owned()
        })
        .collect()
}

fn server_config(authority: &Authority, pair: &Pair) -> Arc<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![pair.der()], key)
        .unwrap();
    Arc::new(config)
}
