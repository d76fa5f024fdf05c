//! Connections to the TLS port that do not begin with TLS: what they are instead, and the answer to
//! plain HTTP.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// The first words of a request, those of HTTP/2 without TLS included.
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

/// The beginnings of the PROXY protocol, versions 1 and 2.
const PROXY_HEADERS: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];

const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 58\r\n\
    connection: close\r\n\
    \r\n\
    this port speaks HTTPS: use https:// in place of http://\r\n";

/// Closing a socket with unread bytes resets it, and the client may lose the answer. So this much is
/// read, for at most this long, after the answer.
const LINGER_BYTES: u64 = 64 << 10;
const LINGER: Duration = Duration::from_secs(1);

/// What a connection begins with, as far as that can be known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FirstBytes {
    Http,
    ProxyHeader,
    /// TLS, or something that a TLS handshake fails for.
    Other,
}

impl FirstBytes {
    /// Waits for the first bytes of a connection, and leaves them unread.
    pub(super) async fn peek(stream: &TcpStream) -> io::Result<Self> {
        let mut bytes = [0; 16];
        let length = stream.peek(&mut bytes).await?;
        Ok(Self::of(bytes.get(..length).unwrap_or_default()))
    }

    /// A few bytes may be all that has arrived: no word of these begins as TLS does.
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

/// Tells a client that speaks plain HTTP what to do, and closes the connection.
pub(super) async fn answer_http(mut stream: TcpStream) {
    let answer = async {
        stream.write_all(ANSWER).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    // A client that does not take it gets none.
    timeout(LINGER, answer).await.ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_and_proxy_headers_are_told_from_tls() {
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
    fn the_answer_is_as_long_as_it_says() {
        let text = str::from_utf8(ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
    }
}
