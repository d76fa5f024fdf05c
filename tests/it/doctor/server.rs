//! A server with a given certificate and given answers: HTTP/1.1, one thread per connection.

use std::{
    io::{self, Read, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::aws_lc_rs};

use super::pki::Identity;
use crate::support::gunzip;

/// A received request.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// In lower case.
    pub(super) head: String,
    /// Decompressed.
    pub(super) body: Vec<u8>,
}

/// Handles a connection.
type Serve = dyn Fn(TcpStream, &Mutex<Vec<Seen>>) -> io::Result<()> + Send + Sync;

pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    is_over: Arc<AtomicBool>,
}

impl Server {
    /// Speaks TLS, and answers each request with the result of `answer`: status, headers and body.
    pub(super) fn tls(
        identity: Identity,
        answer: impl Fn(&Seen) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::changing([identity], answer)
    }

    /// The same, with the next identity for each connection until the last identity.
    pub(super) fn changing(
        identities: impl IntoIterator<Item = Identity>,
        answer: impl Fn(&Seen) -> String + Send + Sync + 'static,
    ) -> Self {
        let configs: Vec<_> = identities.into_iter().map(config).collect();
        let connections = AtomicUsize::new(0);
        Self::tcp(move |mut tcp, all| {
            let number = connections.fetch_add(1, Ordering::SeqCst);
            let config = &configs[number.min(configs.len() - 1)];
            let mut session = ServerConnection::new(Arc::clone(config)).unwrap();
            while session.is_handshaking() {
                session.complete_io(&mut tcp)?;
            }
            let mut stream = StreamOwned::new(session, tcp);
            while let Some(seen) = read_request(&mut stream)? {
                all.lock().unwrap().push(seen.clone());
                stream.write_all(answer(&seen).as_bytes())?;
                stream.flush()?;
            }
            Ok(())
        })
    }

    /// Handles each connection with `serve`.
    pub(super) fn tcp(
        serve: impl Fn(TcpStream, &Mutex<Vec<Seen>>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, is_over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let serve: Arc<Serve> = Arc::new(serve);
        let server = Self { address, seen: Arc::clone(&seen), is_over: Arc::clone(&is_over) };
        thread::spawn(move || {
            while let Ok((tcp, _)) = listener.accept() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let (serve, seen) = (Arc::clone(&serve), Arc::clone(&seen));
                // A client that disconnects does not matter to this server.
                thread::spawn(move || serve(tcp, &seen).ok());
            }
        });
        server
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).ok();
    }
}

fn config(identity: Identity) -> Arc<ServerConfig> {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(identity.chain, identity.key)
        .unwrap();
    Arc::new(config)
}

/// An answer with the usual headers.
pub(super) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// `None` at the end of the connection.
fn read_request(stream: &mut impl Read) -> io::Result<Option<Seen>> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(place) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break place + 4;
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece)? {
            0 => return Ok(None),
            count => bytes.extend_from_slice(&piece[..count]),
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.expect("a length").parse().unwrap();
    let mut body = bytes.split_off(head_end);
    let so_far = body.len();
    body.resize(length, 0);
    stream.read_exact(&mut body[so_far..])?;
    Ok(Some(Seen { head, body: gunzip(&body) }))
}
