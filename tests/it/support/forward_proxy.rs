//! A forward proxy over HTTP, for clients that use one to reach other hosts.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// A request to the proxy: `CONNECT`, or one that it forwards.
#[derive(Clone, Debug)]
pub(crate) struct ProxyRequest {
    /// The request line.
    pub(crate) line: String,
    /// The value of `Proxy-Authorization`.
    pub(crate) authorization: Option<String>,
}

/// A forward proxy, as long as the process runs. Every name is the address 127.0.0.1 to it, as if it
/// had a resolver of its own.
#[derive(Clone)]
pub(crate) struct ForwardProxy {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<ProxyRequest>>>,
    /// Refuses requests with another `Proxy-Authorization`.
    authorization: Option<&'static str>,
    /// The status for every request.
    refuses: Option<u16>,
}

impl ForwardProxy {
    /// Starts a proxy for everyone.
    pub(crate) fn start() -> Self {
        Self::start_with(None, None)
    }

    /// Starts a proxy that requires this value of `Proxy-Authorization`.
    pub(crate) fn requiring(authorization: &'static str) -> Self {
        Self::start_with(Some(authorization), None)
    }

    /// Starts a proxy that answers every request with `status`.
    pub(crate) fn refusing(status: u16) -> Self {
        Self::start_with(None, Some(status))
    }

    fn start_with(authorization: Option<&'static str>, refuses: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Self { address, requests: Arc::default(), authorization, refuses };
        let server = proxy.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                // The client or the server may have ended.
                thread::spawn(move || server.serve(stream).ok());
            }
        });
        proxy
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<ProxyRequest> {
        self.requests.lock().unwrap().clone()
    }

    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let head = read_head(&mut client)?;
        let text = String::from_utf8_lossy(&head).into_owned();
        let line = text.lines().next().unwrap_or_default().to_owned();
        let value = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("proxy-authorization").then(|| value.to_owned())
        };
        let authorization = text.lines().find_map(value);
        let request = ProxyRequest { line: line.clone(), authorization: authorization.clone() };
        self.requests.lock().unwrap().push(request);
        let status = match self.authorization {
            Some(required) if authorization.as_deref() != Some(required) => Some(407),
            _ => self.refuses,
        };
        if let Some(status) = status {
            return write!(client, "HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n");
        }
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let authority = target.trim_start_matches("http://").split('/').next().unwrap();
        let port: u16 = authority.rsplit(':').next().unwrap().parse().map_err(io::Error::other)?;
        let mut server = TcpStream::connect(("127.0.0.1", port))?;
        if method == "CONNECT" {
            client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
        } else {
            server.write_all(&head)?;
        }
        let (mut answers, mut to_client) = (server.try_clone()?, client.try_clone()?);
        let back = thread::spawn(move || {
            io::copy(&mut answers, &mut to_client).ok();
            to_client.shutdown(Shutdown::Both).ok();
        });
        io::copy(&mut client, &mut server).ok();
        server.shutdown(Shutdown::Both).ok();
        back.join().ok();
        Ok(())
    }
}

/// Reads the head of a request, byte by byte.
fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(head)
}
