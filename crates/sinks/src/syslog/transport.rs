//! Connections to syslog servers over UDP, TCP, TLS and unix sockets. Every operation has a
//! timeout.
//!
//! A connection transports bytes. On a datagram socket, each write is one message.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::{UnixDatagram, UnixStream},
    },
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use http_client::HostPort;
use rustix::net::{
    self, AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};
use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};
use tls::{Advice, ClientTls, explain_io};

use super::{settings::SyslogTarget, unacknowledged::unacknowledged};

/// Keepalive: detects a peer that vanished, after this time and four probes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// How long to wait for a server to close its end of a connection during a shutdown.
const CLOSE: Duration = Duration::from_secs(5);

/// A connection to a target.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    timeout: Duration,
    /// Bytes passed to the kernel. A TLS connection has its own count.
    written: u64,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, CountedStream>>),
    UnixStream(UnixStream),
    UnixDatagram(UnixDatagram),
}

/// The kind of a socket, which decides the framing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SocketKind {
    /// A datagram socket: each write is a message.
    Datagram,
    /// TCP or TLS.
    Network,
    /// A unix stream socket.
    Local,
}

impl Connection {
    /// Connects with a single attempt. `timeout` applies to connecting, to the handshake, and to
    /// each write.
    pub(super) fn open(
        target: &SyslogTarget,
        tls: &ClientTls,
        timeout: Duration,
    ) -> io::Result<Self> {
        let socket = match target {
            SyslogTarget::Udp(at) => {
                Socket::Udp(each_address(at, |address| udp(address, timeout))?)
            }
            SyslogTarget::Tcp(at) => {
                Socket::Tcp(each_address(at, |address| tcp(address, timeout))?)
            }
            SyslogTarget::Tls(at) => {
                let stream = each_address(at, |address| tcp(address, timeout))?;
                Socket::Tls(Box::new(handshake(stream, at, tls, timeout)?))
            }
            SyslogTarget::Unix(path) => unix(path, timeout)?,
        };
        let connection = Self { socket, timeout, written: 0 };
        // Fails if the kernel's list cannot be read: losses would not be detected.
        connection.acknowledged()?;
        Ok(connection)
    }

    pub(super) fn kind(&self) -> SocketKind {
        match &self.socket {
            Socket::Udp(_) | Socket::UnixDatagram(_) => SocketKind::Datagram,
            Socket::Tcp(_) | Socket::Tls(_) => SocketKind::Network,
            Socket::UnixStream(_) => SocketKind::Local,
        }
    }

    /// Writes all bytes to the kernel.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = match &mut self.socket {
            Socket::Udp(socket) => retry_interrupted(|| socket.send(bytes)).map(drop),
            Socket::UnixDatagram(socket) => retry_interrupted(|| socket.send(bytes)).map(drop),
            Socket::Tcp(stream) => stream.write_all(bytes),
            Socket::UnixStream(stream) => stream.write_all(bytes),
            // Flushed, so that no record stays in the buffer of the session.
            Socket::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        };
        written.map_err(|error| self.explain(error))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// The number of bytes passed to the kernel; with TLS, after encryption.
    pub(super) fn written(&self) -> u64 {
        match &self.socket {
            Socket::Tls(stream) => stream.sock.written,
            _ => self.written,
        }
    }

    /// The number of these bytes that the kernel of the server has acknowledged. All bytes, for
    /// sockets without acknowledgments.
    ///
    /// # Errors
    /// The kernel's list of connections cannot be read.
    pub(super) fn acknowledged(&self) -> io::Result<u64> {
        let waits = match &self.socket {
            Socket::Tcp(stream) => unacknowledged(stream)?,
            Socket::Tls(stream) => unacknowledged(&stream.sock.stream)?,
            Socket::Udp(_) | Socket::UnixDatagram(_) | Socket::UnixStream(_) => None,
        };
        Ok(self.written().saturating_sub(waits.unwrap_or(0)))
    }

    /// Checks, without blocking, whether the connection is still open. Discards received data:
    /// syslog has no answers.
    pub(super) fn check(&mut self) -> io::Result<()> {
        let closed = match &mut self.socket {
            Socket::Udp(socket) => drain(socket.as_fd(), EmptyRead::Datagram),
            Socket::UnixDatagram(socket) => drain(socket.as_fd(), EmptyRead::Datagram),
            Socket::Tcp(stream) => drain(stream.as_fd(), EmptyRead::EndOfStream),
            Socket::UnixStream(stream) => drain(stream.as_fd(), EmptyRead::EndOfStream),
            Socket::Tls(stream) => drain_tls(stream),
        };
        closed.map_err(|error| self.explain(error))
    }

    /// Closes gracefully: closes the sending side and waits until the server closes its side. A
    /// server does that after it has read everything, so this is as good as an acknowledgment.
    pub(super) fn close(mut self) -> io::Result<()> {
        let timeout = self.timeout.min(CLOSE);
        match &mut self.socket {
            Socket::Udp(_) | Socket::UnixDatagram(_) => self.check(),
            Socket::Tcp(stream) => {
                stream.shutdown(Shutdown::Write)?;
                stream.set_read_timeout(Some(timeout))?;
                read_to_end(stream, timeout)
            }
            Socket::UnixStream(stream) => {
                stream.shutdown(Shutdown::Write)?;
                stream.set_read_timeout(Some(timeout))?;
                read_to_end(stream, timeout)
            }
            Socket::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush()?;
                let stream = &mut stream.sock.stream;
                stream.shutdown(Shutdown::Write)?;
                stream.set_read_timeout(Some(timeout))?;
                // Without decryption: only the end of the stream matters.
                read_to_end(stream, timeout)
            }
        }
    }

    fn explain(&self, error: io::Error) -> io::Error {
        match error.kind() {
            // The timeout of the write, or that of TCP_USER_TIMEOUT.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                let waited = self.timeout.as_millis();
                let text = format!("the server accepted no data for {waited}ms");
                io::Error::new(io::ErrorKind::TimedOut, text)
            }
            _ => error,
        }
    }
}

/// Retries a call that ends with EINTR. That happens without a signal handler, too: if a socket has
/// a timeout, the kernel interrupts the call when the process is stopped and continued.
fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// Tries the addresses of a host one after the other.
fn each_address<T>(at: &HostPort, open: impl Fn(SocketAddr) -> io::Result<T>) -> io::Result<T> {
    let mut last = io::Error::other("the name has no address");
    for address in (at.host.as_str(), at.port).to_socket_addrs()? {
        match open(address) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn udp(address: SocketAddr, timeout: Duration) -> io::Result<UdpSocket> {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.set_write_timeout(Some(timeout))?;
    Ok(socket)
}

fn tcp(address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    // Writes are large, and the last one of a batch must not be delayed.
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(&stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(&stream, KEEPALIVE_PROBES)?;
    // Otherwise the kernel retransmits for a quarter of an hour.
    let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(&stream, millis)?;
    Ok(stream)
}

/// Connects to a unix socket: a datagram socket, or else a stream socket, as syslog(3) does.
fn unix(path: &Path, timeout: Duration) -> io::Result<Socket> {
    let open = |kind| {
        let socket = net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        // Before connecting, which blocks while the queue of the listener is full.
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(timeout))?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(timeout))?;
        let address = SocketAddrUnix::new(path)?;
        rustix::io::retry_on_intr(|| net::connect(&socket, &address))?;
        Ok(socket)
    };
    match open(SocketType::DGRAM) {
        Ok(socket) => Ok(Socket::UnixDatagram(socket.into())),
        Err(rustix::io::Errno::PROTOTYPE) => {
            Ok(Socket::UnixStream(open(SocketType::STREAM)?.into()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes the TLS handshake. Reads the files for each connection, so that renewed ones are used.
fn handshake(
    stream: TcpStream,
    at: &HostPort,
    tls: &ClientTls,
    timeout: Duration,
) -> io::Result<StreamOwned<ClientConnection, CountedStream>> {
    let config = tls::client(tls).map_err(io::Error::other)?;
    let name = tls.server_name.as_deref().unwrap_or(&at.host);
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut stream = CountedStream { stream, written: 0 };
    let begun = Instant::now();
    let late = || io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake in time");
    let in_time = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock => late(),
        _ => error,
    };
    while session.is_handshaking() {
        if begun.elapsed() >= timeout {
            return Err(late());
        }
        while session.wants_write() {
            session.write_tls(&mut stream).map_err(in_time)?;
        }
        if session.is_handshaking() && session.wants_read() {
            if session.read_tls(&mut stream).map_err(in_time)? == 0 {
                return Err(io::Error::other(
                    "the server closed the connection during the TLS handshake",
                ));
            }
            if let Err(error) = session.process_new_packets() {
                // Sends the alert, so that the server can log the reason.
                session.write_tls(&mut stream).ok();
                return Err(tls_error(error));
            }
        }
    }
    Ok(StreamOwned::new(session, stream))
}

fn tls_error(error: rustls::Error) -> io::Error {
    io::Error::other(format!("TLS: {}", explain_io(&io::Error::other(error), Advice::OnServer)))
}

/// The meaning of an empty read.
#[derive(Clone, Copy, Eq, PartialEq)]
enum EmptyRead {
    Datagram,
    EndOfStream,
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the server closed the connection")
}

/// The maximum number of reads, in case the server sends without end.
const MAX_READS: usize = 64;

fn drain(socket: BorrowedFd<'_>, empty: EmptyRead) -> io::Result<()> {
    let mut buffer = [0; 4096];
    for _ in 0..MAX_READS {
        match net::recv(socket, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) if empty == EmptyRead::EndOfStream => return Err(closed()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn drain_tls(stream: &mut StreamOwned<ClientConnection, CountedStream>) -> io::Result<()> {
    for _ in 0..MAX_READS {
        match stream.conn.read_tls(&mut NonBlocking(stream.sock.stream.as_fd())) {
            Ok(0) => return Err(closed()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        let state = stream.conn.process_new_packets().map_err(tls_error)?;
        if state.peer_has_closed() {
            return Err(closed());
        }
        // Plaintext has to be read before the session accepts more.
        let mut ignored = vec![0; state.plaintext_bytes_to_read()];
        stream.conn.reader().read_exact(&mut ignored)?;
    }
    Ok(())
}

fn read_to_end(stream: &mut impl Read, timeout: Duration) -> io::Result<()> {
    let (mut buffer, begun) = ([0; 4096], Instant::now());
    while begun.elapsed() < timeout {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "the server did not close the connection"))
}

/// Reads from a socket without blocking.
struct NonBlocking<'a>(BorrowedFd<'a>);

impl Read for NonBlocking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(net::recv(self.0, buffer, RecvFlags::DONTWAIT)?.0)
    }
}

/// Counts the bytes on the wire, which are more than the bytes written to a TLS session.
#[derive(Debug)]
struct CountedStream {
    stream: TcpStream,
    written: u64,
}

impl Read for CountedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        retry_interrupted(|| self.stream.read(buffer))
    }
}

impl Write for CountedStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = retry_interrupted(|| self.stream.write(bytes))?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
