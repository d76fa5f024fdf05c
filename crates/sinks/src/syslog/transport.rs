//! A way to one target: UDP, TCP, TLS or a unix socket. Everything has a deadline.
//!
//! Knows bytes, not messages: only that on a datagram socket each write is one.

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

/// Keepalive: a peer that is gone without a word is found out after this, and four probes more.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// How long a server may take to close a connection that we have closed: a stop waits for it.
const CLOSE: Duration = Duration::from_secs(5);

/// An open way to a target.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    timeout: Duration,
    /// Bytes handed to the kernel, except those of a TLS connection: it counts its own.
    written: u64,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, Counted>>),
    UnixStream(UnixStream),
    UnixDatagram(UnixDatagram),
}

/// Whether messages need a frame, and which one is usual.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// A write is a message.
    Datagram,
    /// TCP or TLS.
    Network,
    /// A unix stream.
    Local,
}

impl Connection {
    /// Makes a single attempt. `timeout` holds for connecting, the handshake, and each write later.
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
        // Else what the network drops would be lost without a word.
        connection.acknowledged()?;
        Ok(connection)
    }

    pub(super) fn kind(&self) -> Kind {
        match &self.socket {
            Socket::Udp(_) | Socket::UnixDatagram(_) => Kind::Datagram,
            Socket::Tcp(_) | Socket::Tls(_) => Kind::Network,
            Socket::UnixStream(_) => Kind::Local,
        }
    }

    /// Writes all of it to the kernel, or fails.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = match &mut self.socket {
            Socket::Udp(socket) => uninterrupted(|| socket.send(bytes)).map(drop),
            Socket::UnixDatagram(socket) => uninterrupted(|| socket.send(bytes)).map(drop),
            Socket::Tcp(stream) => stream.write_all(bytes),
            Socket::UnixStream(stream) => stream.write_all(bytes),
            // Flushed: a record that stays in the session's buffer would not be on its way.
            Socket::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        };
        written.map_err(|error| self.explain(error))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Bytes that were handed to the kernel, on the wire.
    pub(super) fn written(&self) -> u64 {
        match &self.socket {
            Socket::Tls(stream) => stream.sock.written,
            _ => self.written,
        }
    }

    /// How many of them the other side's kernel has acknowledged. All, where nobody can know.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub(super) fn acknowledged(&self) -> io::Result<u64> {
        let waits = match &self.socket {
            Socket::Tcp(stream) => unacknowledged(stream)?,
            Socket::Tls(stream) => unacknowledged(&stream.sock.stream)?,
            Socket::Udp(_) | Socket::UnixDatagram(_) | Socket::UnixStream(_) => None,
        };
        Ok(self.written().saturating_sub(waits.unwrap_or(0)))
    }

    /// Looks, without waiting, whether the other side is still there. What it says is passed over:
    /// syslog has no answers.
    pub(super) fn check(&mut self) -> io::Result<()> {
        let closed = match &mut self.socket {
            Socket::Udp(socket) => drain(socket.as_fd(), Empty::IsADatagram),
            Socket::UnixDatagram(socket) => drain(socket.as_fd(), Empty::IsADatagram),
            Socket::Tcp(stream) => drain(stream.as_fd(), Empty::IsTheEnd),
            Socket::UnixStream(stream) => drain(stream.as_fd(), Empty::IsTheEnd),
            Socket::Tls(stream) => drain_tls(stream),
        };
        closed.map_err(|error| self.explain(error))
    }

    /// Ends in order: says so, and waits for the other side to do the same. A server does that when
    /// it has read all there is, so this is as good as an acknowledgment.
    pub(super) fn close(mut self) -> io::Result<()> {
        let patience = self.timeout.min(CLOSE);
        match &mut self.socket {
            Socket::Udp(_) | Socket::UnixDatagram(_) => self.check(),
            Socket::Tcp(stream) => {
                stream.shutdown(Shutdown::Write)?;
                stream.set_read_timeout(Some(patience))?;
                read_to_end(stream, patience)
            }
            Socket::UnixStream(stream) => {
                stream.shutdown(Shutdown::Write)?;
                stream.set_read_timeout(Some(patience))?;
                read_to_end(stream, patience)
            }
            Socket::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush()?;
                let stream = &mut stream.sock.stream;
                stream.shutdown(Shutdown::Write)?;
                stream.set_read_timeout(Some(patience))?;
                // Not decrypted: that the other side closes is all there is to know.
                read_to_end(stream, patience)
            }
        }
    }

    fn explain(&self, error: io::Error) -> io::Error {
        match error.kind() {
            // The write's own deadline, or that for an acknowledgment.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                let waited = self.timeout.as_millis();
                let text = format!("the server took nothing for {waited}ms");
                io::Error::new(io::ErrorKind::TimedOut, text)
            }
            _ => error,
        }
    }
}

/// Calls again what a signal has ended. No handler is needed for that: where a deadline is set, the kernel
/// does so when the process is stopped and goes on.
fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// Tries the addresses of a name one after the other.
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
    // Writes are large, and the last of a batch shall not wait.
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(&stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(&stream, KEEPALIVE_PROBES)?;
    // Else bytes that nobody acknowledges are tried for a quarter of an hour.
    let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(&stream, millis)?;
    Ok(stream)
}

/// As syslog(3) does: a datagram socket, or a stream if that is what is there.
fn unix(path: &Path, timeout: Duration) -> io::Result<Socket> {
    let open = |kind| {
        let socket = net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        // Before connecting, which waits for a place in the queue of the listener.
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

/// The files are read for each connection: one that was renewed is taken over by itself.
fn handshake(
    stream: TcpStream,
    at: &HostPort,
    tls: &ClientTls,
    timeout: Duration,
) -> io::Result<StreamOwned<ClientConnection, Counted>> {
    let config = tls::client(tls).map_err(io::Error::other)?;
    let name = tls.server_name.as_deref().unwrap_or(&at.host);
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut stream = Counted { stream, written: 0 };
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
                return Err(io::Error::other("the server closed it within the TLS handshake"));
            }
            if let Err(error) = session.process_new_packets() {
                // The server's log then says why.
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

/// What an empty read means.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Empty {
    IsADatagram,
    IsTheEnd,
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the server closed the connection")
}

/// A bound: what talks without end is not waited for.
const MAX_READS: usize = 64;

fn drain(socket: BorrowedFd<'_>, empty: Empty) -> io::Result<()> {
    let mut buffer = [0; 4096];
    for _ in 0..MAX_READS {
        match net::recv(socket, &mut buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) if empty == Empty::IsTheEnd => return Err(closed()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn drain_tls(stream: &mut StreamOwned<ClientConnection, Counted>) -> io::Result<()> {
    for _ in 0..MAX_READS {
        match stream.conn.read_tls(&mut AtOnce(stream.sock.stream.as_fd())) {
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
        // What it says must be taken, or the session takes no more.
        let mut said = vec![0; state.plaintext_bytes_to_read()];
        stream.conn.reader().read_exact(&mut said)?;
    }
    Ok(())
}

fn read_to_end(stream: &mut impl Read, patience: Duration) -> io::Result<()> {
    let (mut buffer, begun) = ([0; 4096], Instant::now());
    while begun.elapsed() < patience {
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

/// Reads what is there.
struct AtOnce<'a>(BorrowedFd<'a>);

impl Read for AtOnce<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(net::recv(self.0, buffer, RecvFlags::DONTWAIT)?.0)
    }
}

/// Counts what goes onto the wire, which is more than what goes into a TLS session.
#[derive(Debug)]
struct Counted {
    stream: TcpStream,
    written: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        uninterrupted(|| self.stream.read(buffer))
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = uninterrupted(|| self.stream.write(bytes))?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
