//! An attacker's connection, which notices when it is closed.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};

use super::frames::{ACK, PING, SETTINGS, frame, frames};
use crate::support::{DEADLINE, tls};

/// The interval between checks of a connection.
const PAUSE: Duration = Duration::from_millis(5);

pub(super) struct Attacker {
    stream: Stream,
    opened: Instant,
    /// How long it was open.
    pub(super) age: Option<Duration>,
    received: Vec<u8>,
    pongs: usize,
    is_deaf: bool,
}

enum Stream {
    Bare(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// Connects from an address of loopback.
fn tcp(target: SocketAddr, from: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from((from, 0)))?;
    connect(&socket, &target)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    Ok(stream)
}

impl Attacker {
    /// Without TLS.
    pub(super) fn bare(target: SocketAddr, from: Ipv4Addr) -> io::Result<Self> {
        let stream = tcp(target, from)?;
        stream.set_nonblocking(true)?;
        Ok(Self::new(Stream::Bare(stream)))
    }

    /// After its handshake.
    pub(super) fn tls(
        target: SocketAddr,
        from: Ipv4Addr,
        client: &tls::Client,
        alpn: &[u8],
    ) -> io::Result<Self> {
        let mut stream = tcp(target, from)?;
        let name = ServerName::from(target.ip());
        let mut session = ClientConnection::new(client.config(&[alpn]), name).unwrap();
        // Does not wait for the server's session tickets.
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        stream.set_nonblocking(true)?;
        Ok(Self::new(Stream::Tls(Box::new(StreamOwned::new(session, stream)))))
    }

    fn new(stream: Stream) -> Self {
        let opened = Instant::now();
        Self { stream, opened, age: None, received: Vec::new(), pongs: 0, is_deaf: false }
    }

    /// Reads nothing from now on.
    pub(super) fn without_reading(mut self) -> Self {
        self.is_deaf = true;
        self
    }

    pub(super) fn is_open(&self) -> bool {
        self.age.is_none()
    }

    fn closed(&mut self) {
        self.age.get_or_insert(self.opened.elapsed());
    }

    /// Writes what is accepted at once, and returns its length.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let written = match &mut self.stream {
            Stream::Bare(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes).and_then(|written| {
                stream.flush().or_else(would_block)?;
                Ok(written)
            }),
        };
        match written {
            Ok(written) if written > 0 => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Ok(_) | Err(_) => {
                self.closed();
                0
            }
        }
    }

    /// Sends all of it, or what the server accepts within the time. Returns whether it is still
    /// open.
    pub(super) fn send(&mut self, mut bytes: &[u8], timeout: Duration) -> bool {
        let started = Instant::now();
        while self.is_open() && !bytes.is_empty() {
            let written = self.write(bytes);
            bytes = &bytes[written..];
            if written == 0 {
                if started.elapsed() > timeout {
                    break;
                }
                if !self.is_deaf {
                    self.listen();
                }
                thread::sleep(PAUSE);
            }
        }
        self.is_open()
    }

    /// Reads the available bytes, and answers pings and settings.
    pub(super) fn listen(&mut self) {
        if self.is_deaf {
            // Only to see whether the connection is open.
            self.write(b"\r\n");
            return;
        }
        let mut piece = [0; 4 << 10];
        while self.is_open() {
            let read = match &mut self.stream {
                Stream::Bare(stream) => stream.read(&mut piece),
                Stream::Tls(stream) => stream.read(&mut piece),
            };
            match read {
                Ok(0) => self.closed(),
                Ok(n) => self.received.extend_from_slice(&piece[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.closed(),
            }
        }
        let mut replies = Vec::new();
        for got in frames(&mut self.received) {
            match (got.kind, got.flags & ACK) {
                (PING, 0) => replies.extend(frame(PING, ACK, 0, &got.payload)),
                (PING, _) => self.pongs += 1,
                (SETTINGS, 0) => replies.extend(frame(SETTINGS, ACK, 0, b"")),
                _ => {}
            }
        }
        if !replies.is_empty() {
            self.send(&replies, Duration::ZERO);
        }
    }

    /// Pings, and waits for the answer: everything sent before has been read then.
    pub(super) fn ping(&mut self) -> bool {
        let (before, started) = (self.pongs, Instant::now());
        self.send(&frame(PING, 0, 0, b"attacker"), DEADLINE);
        while self.is_open() && self.pongs == before && started.elapsed() < DEADLINE {
            thread::sleep(PAUSE);
            self.listen();
        }
        self.is_open()
    }
}

fn would_block(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::WouldBlock { Ok(()) } else { Err(error) }
}
