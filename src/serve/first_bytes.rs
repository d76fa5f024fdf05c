//! Recognizes connections to the TLS port that do not begin with TLS, and answers plain HTTP.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// First bytes of a request, including those of HTTP/2 without TLS.
const METHODS: [&[u8]; 10] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"OPTIONS ",
    b"DELETE ",
    b"PATCH ",
    b"CONNECT ",
    b"TRACE ",
    b"PRI * HTTP/2.0",
];

/// First bytes of the PROXY protocol, versions 1 and 2.
const PROXY_HEADERS: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];

const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 57\r\n\
    connection: close\r\n\
    \r\n\
    this port speaks HTTPS: use https:// instead of http://\r\n";

/// Bytes that are read, and time for it, after the answer. Closing a socket with unread bytes
/// resets the connection, and the client may lose the answer.
const LINGER_BYTES: u64 = 64 << 10;
const LINGER: Duration = Duration::from_secs(1);

/// Protocol that a connection begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FirstBytes {
    Http,
    ProxyHeader,
    /// TLS, or bytes with which the TLS handshake fails.
    Other,
}

impl FirstBytes {
    /// Waits for the first bytes of a connection, and leaves them in the socket.
    pub(super) async fn peek(stream: &TcpStream) -> io::Result<Self> {
        let mut bytes = [0; 16];
        let length = stream.peek(&mut bytes).await?;
        Ok(Self::of(bytes.get(..length).unwrap_or_default()))
    }

    /// Recognizes the protocol by a few bytes, if no more have arrived: none of the words begins as
    /// TLS does.
    fn of(bytes: &[u8]) -> Self {
        let is_start = |whole: &&[u8]| {
            let length = bytes.len().min(whole.len());
            !bytes.is_empty() && bytes.get(..length) == whole.get(..length)
        };
        if PROXY_HEADERS.iter().any(|header| is_start(header) && bytes.len() > 2) {
            Self::ProxyHeader
        } else if METHODS.iter().any(is_start) {
            Self::Http
        } else {
            Self::Other
        }
    }
}

/// Answers a client that speaks plain HTTP, and closes the connection.
pub(super) async fn answer_http(mut stream: TcpStream) {
    let answer = async {
        stream.write_all(ANSWER).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    // A client that does not read the answer in time does not get it.
    timeout(LINGER, answer).await.ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_and_proxy_headers_are_distinguished_from_tls() {
        use FirstBytes::{Http, Other, ProxyHeader};
        let table: [(&[u8], FirstBytes); 14] = [
            (b"GET / HTTP/1.1\r", Http),
            (b"POST /logpush/ht", Http),
            (b"PRI * HTTP/2.0\r\n", Http),
            (b"G", Http),
            (b"P", Http),
            (b"PR", Http),
            (b"PROXY TCP4 192.0", ProxyHeader),
            (b"PROXY UNKNOWN\r\n", ProxyHeader),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0", ProxyHeader),
            (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03abcde", Other),
            (b"\x16", Other),
            (b"GETTING", Other),
            (b"get / HTTP/1.1\r", Other),
            (b"", Other),
        ];
        for (bytes, expected) in table {
            assert_eq!(FirstBytes::of(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn the_content_length_of_the_answer_is_correct() {
        let text = str::from_utf8(ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
    }
}
