//! Reads the header of the PROXY protocol, versions 1 and 2, in which a proxy that passes TLS
//! through names the client of a connection. Format:
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>.
//!
//! Reads no byte after the header. The caller decides which peers must send a header. A header from
//! any other peer is a forgery and must not be read.

use std::{
    error::Error,
    fmt, io,
    iter::Skip,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::{FromStr, Split},
};

use tokio::io::{AsyncRead, AsyncReadExt as _};

const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const V1_START: &[u8] = b"PROXY ";

/// Longest line of version 1, including CR LF.
const V1_MAX_BYTES: usize = 107;

/// Limit for what follows the fixed part of version 2: addresses and TLVs. Proxies send some
/// hundred bytes, or some thousand with a client certificate. TLVs are skipped.
const V2_MAX_BYTES: u16 = 16 << 10;

/// Why there is no valid header.
#[derive(Debug)]
pub(super) enum HeaderError {
    /// The peer closed the connection before its first byte, as health checks do.
    Closed,
    /// The connection failed within the header.
    Io(io::Error),
    /// The connection does not begin with a header.
    Missing,
    /// The header is not valid.
    Malformed(&'static str),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("connection closed before the PROXY protocol header"),
            Self::Io(error) => write!(f, "incomplete PROXY protocol header: {error}"),
            Self::Missing => f.write_str(
                "no PROXY protocol header: enable it in the proxy (HAProxy: `send-proxy-v2`; nginx: \
                 `proxy_protocol on`), or remove the peer from server.proxy_protocol_from",
            ),
            Self::Malformed(why) => write!(f, "malformed PROXY protocol header: {why}"),
        }
    }
}

impl Error for HeaderError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Closed | Self::Missing | Self::Malformed(_) => None,
        }
    }
}

impl From<io::Error> for HeaderError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a header, and returns the address of the client. `None` if the connection is the proxy's
/// own (a health check), or if the proxy does not know the address: then the peer is the client.
///
/// The caller sets the deadline.
pub(super) async fn read(
    io: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, HeaderError> {
    let mut start = [0; V2_SIGNATURE.len()];
    let mut filled = 0;
    // No header is shorter than the signature of version 2.
    while let Some(rest) = start.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match io.read(rest).await? {
            0 if filled == 0 => return Err(HeaderError::Closed),
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            more => filled += more,
        }
    }
    if start == V2_SIGNATURE {
        return read_v2(io).await;
    }
    if !start.starts_with(V1_START) {
        return Err(HeaderError::Missing);
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() == V1_MAX_BYTES {
            return Err(HeaderError::Malformed("a line of more than 107 bytes"));
        }
        // One byte at a time, because the TLS handshake follows.
        line.push(io.read_u8().await?);
    }
    parse_v1(&line)
}

/// Parses a whole line of version 1.
fn parse_v1(line: &[u8]) -> Result<Option<SocketAddr>, HeaderError> {
    let text = str::from_utf8(line).ok().and_then(|line| line.strip_suffix("\r\n"));
    let text = text.ok_or(HeaderError::Malformed("a line that is not ASCII"))?;
    let mut words = text.split(' ').skip(1);
    let client = match words.next() {
        // The rest of the line must be ignored.
        Some("UNKNOWN") => return Ok(None),
        Some("TCP4") => addresses::<Ipv4Addr>(&mut words),
        Some("TCP6") => addresses::<Ipv6Addr>(&mut words),
        _ => return Err(HeaderError::Malformed("neither TCP4 nor TCP6 nor UNKNOWN")),
    };
    let wrong = "expected two addresses and two ports, separated by single spaces";
    match (client, words.next()) {
        (Some(client), None) => Ok(Some(client)),
        _ => Err(HeaderError::Malformed(wrong)),
    }
}

/// Parses the addresses of a line of version 1. Returns the source; the destination is only
/// checked.
fn addresses<A: FromStr + Into<IpAddr>>(words: &mut Skip<Split<'_, char>>) -> Option<SocketAddr> {
    let mut address = || words.next()?.parse::<A>().ok();
    let (source, _destination) = (address()?, address()?);
    let mut port = || {
        let word = words.next()?;
        let is_plain = word == "0" || !word.starts_with(['0', '+']);
        word.parse::<u16>().ok().filter(|_| is_plain)
    };
    let (source_port, _destination_port) = (port()?, port()?);
    Some(client(source.into(), source_port))
}

async fn read_v2(io: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, HeaderError> {
    let [version_and_command, family, length @ ..] = {
        let mut fixed = [0; 4];
        io.read_exact(&mut fixed).await?;
        fixed
    };
    let length = u16::from_be_bytes(length);
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(HeaderError::Malformed("neither LOCAL nor PROXY of version 2")),
    };
    // The lower half is the transport, which does not matter here.
    let (family, transport) = (family >> 4, family & 0xf);
    if family > 3 || transport > 2 {
        return Err(HeaderError::Malformed("an unknown address family or transport"));
    }
    if length > V2_MAX_BYTES {
        return Err(HeaderError::Malformed("more than 16 KiB of addresses and TLVs"));
    }
    let mut rest = io.take(length.into());
    let client = match family {
        1 if !is_local => read_addresses::<4>(&mut rest).await?,
        2 if !is_local => read_addresses::<16>(&mut rest).await?,
        // LOCAL, unspecified, and the paths of unix sockets.
        _ => None,
    };
    let mut skipped = [0; 512];
    while rest.limit() > 0 {
        if rest.read(&mut skipped).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
    Ok(client)
}

/// Reads the source address of version 2 from two addresses of `N` bytes and two ports.
async fn read_addresses<const N: usize>(
    rest: &mut tokio::io::Take<&mut (impl AsyncRead + Unpin)>,
) -> Result<Option<SocketAddr>, HeaderError>
where
    IpAddr: From<[u8; N]>,
{
    if rest.limit() < 2 * N as u64 + 4 {
        return Err(HeaderError::Malformed("shorter than its addresses"));
    }
    let (mut source, mut destination) = ([0; N], [0; N]);
    rest.read_exact(&mut source).await?;
    rest.read_exact(&mut destination).await?;
    let source_port = rest.read_u16().await?;
    let _destination_port = rest.read_u16().await?;
    Ok(Some(client(source.into(), source_port)))
}

/// Returns the client's address, with IPv4-mapped IPv6 converted to IPv4, as in lists of networks.
fn client(address: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x30, 0x39, 0x01, 0xbb];

    /// Reads a header from `bytes`. Returns the outcome and the number of bytes read.
    fn read_all(bytes: &[u8]) -> (Result<Option<SocketAddr>, String>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut rest = bytes;
        let read = runtime.block_on(read(&mut rest)).map_err(|error| error.to_string());
        (read, bytes.len() - rest.len())
    }

    fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&V2_SIGNATURE[..], &[command, family], &length, content].concat()
    }

    #[track_caller]
    fn assert_client(header: &[u8], client: Option<&str>) {
        let bytes = [header, b"\x16\x03\x01\r\n"].concat();
        let client = client.map(|client| client.parse().unwrap());
        assert_eq!(read_all(&bytes), (Ok(client), header.len()), "{}", header.escape_ascii());
    }

    #[track_caller]
    fn assert_refused(bytes: &[u8], why: &str) {
        let (read, _) = read_all(bytes);
        let error = read.unwrap_err();
        assert!(error.contains(why), "{}: {error}", bytes.escape_ascii());
    }

    #[test]
    fn version_1_names_the_client() {
        let table = [
            ("PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n", Some("192.0.2.1:12345")),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 0\r\n",
                Some("255.255.255.255:65535"),
            ),
            ("PROXY TCP6 2001:db8::1 ::1 1 443\r\n", Some("[2001:db8::1]:1")),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 443\r\n", Some("192.0.2.1:1")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 whatever 65535\r\n", None),
        ];
        for (line, client) in table {
            assert_client(line.as_bytes(), client);
        }
    }

    #[test]
    fn version_2_names_the_client() {
        assert_client(&v2(0x21, 0x11, &V4), Some("192.0.2.1:12345"));
        let tlvs = [&V4[..], b"\x04\x00\x03abc", &[0xff; 3000]].concat();
        assert_client(&v2(0x21, 0x11, &tlvs), Some("192.0.2.1:12345"));
        let source: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let v6 = [&source.octets()[..], &[0; 16], &[0, 7, 1, 187]].concat();
        assert_client(&v2(0x21, 0x21, &v6), Some("[2001:db8::1]:7"));
        let mapped = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped();
        let v6 = [&mapped.octets()[..], &[0; 16], &[0, 7, 1, 187]].concat();
        assert_client(&v2(0x21, 0x21, &v6), Some("192.0.2.1:7"));
    }

    #[test]
    fn a_connection_of_the_proxy_itself_names_no_client() {
        assert_client(&v2(0x20, 0x00, &[]), None);
        assert_client(&v2(0x20, 0x11, &V4), None);
        assert_client(&v2(0x20, 0x11, b"short"), None);
        assert_client(&v2(0x21, 0x00, b"\x03\x00\x04crc!"), None);
        assert_client(&v2(0x21, 0x31, &[b'/'; 216]), None);
    }

    #[test]
    fn anything_but_a_valid_header_is_refused() {
        let missing = "remove the peer from server.proxy_protocol_from";
        assert_refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdef", missing);
        assert_refused(b"GET / HTTP/1.1\r\n\r\n", missing);
        assert_refused(b"proxy TCP4 192.0.2.1 198.51.100.2 1 443\r\n", missing);
        assert_refused(b"PROXY  TCP4 192.0.2.1 198.51.100.2 1 443\r\n", "neither TCP4");
        assert_refused(b"PROXY TCP5 192.0.2.1 198.51.100.2 1 443\r\n", "neither TCP4");
        assert_refused(b"PROXY UDP4 192.0.2.1 198.51.100.2 1 443\r\n", "neither TCP4");
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 443 \r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 443 5\r\n",
            "PROXY TCP4 192.0.2.1  198.51.100.2 1 443\r\n",
            "PROXY TCP4 192.0.2.01 198.51.100.2 1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 01 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
            "PROXY TCP4 2001:db8::1 198.51.100.2 1 443\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.2 1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 443\n\r\n",
        ] {
            assert_refused(line.as_bytes(), "two addresses and two ports");
        }
        assert_refused(b"PROXY UNKNOWN \xff\r\n", "not ASCII");
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 1000]].concat();
        assert_refused(&long, "107 bytes");
        assert_refused(&v2(0x11, 0x11, &V4), "version 2");
        assert_refused(&v2(0x22, 0x11, &V4), "version 2");
        assert_refused(&v2(0x21, 0x41, &V4), "unknown address family");
        assert_refused(&v2(0x21, 0x13, &V4), "unknown address family");
        assert_refused(&v2(0x21, 0x11, &V4[1..]), "shorter than its addresses");
        assert_refused(&v2(0x21, 0x21, &V4), "shorter than its addresses");
        assert_refused(&v2(0x21, 0x11, &vec![0; 20_000]), "16 KiB");
    }

    #[test]
    fn at_most_one_header_is_read_of_endless_input() {
        let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 1000]].concat();
        let (_, bytes) = read_all(&endless);
        assert_eq!(bytes, V1_MAX_BYTES);
        let (_, bytes) = read_all(&v2(0x21, 0x11, &vec![0; 20_000]));
        assert_eq!(bytes, V2_SIGNATURE.len() + 4);
    }

    #[test]
    fn a_health_check_without_data_differs_from_an_incomplete_header() {
        assert_refused(b"", "closed before");
        let whole = v2(0x21, 0x11, &[&V4[..], &[0; 600]].concat());
        for length in 1..whole.len() {
            assert_refused(&whole[..length], "incomplete");
        }
        let whole = b"PROXY TCP4 192.0.2.1 198.51.100.2 1 443\r\n";
        for length in 1..whole.len() {
            assert_refused(&whole[..length], "incomplete");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_no_byte_after_a_header_is_read(
            start in prop_oneof![
                Just(V1_START.to_vec()),
                Just(b"PROXY TCP4 192.0.2.1 198.51.100.2 ".to_vec()),
                Just(V2_SIGNATURE.to_vec()),
                Just([&V2_SIGNATURE[..], &[0x21]].concat()),
                Just(v2(0x21, 0x11, &V4)[..16].to_vec()),
                Just(Vec::new()),
            ],
            rest in vec(any::<u8>(), 0..400),
        ) {
            let bytes = [start, rest].concat();
            let (read, length) = read_all(&bytes);
            if read.is_ok() {
                let is_v1 = bytes[..length].ends_with(b"\r\n") && length <= V1_MAX_BYTES;
                prop_assert!(is_v1 || bytes.starts_with(&V2_SIGNATURE));
                // The header has the same outcome alone and before other bytes.
                prop_assert_eq!(read_all(&bytes[..length]), (read, length));
            }
        }

        #[test]
        fn addresses_round_trip(
            source: SocketAddr, destination: SocketAddr, tlvs in vec(any::<u8>(), 0..300),
        ) {
            prop_assume!(source.is_ipv4() == destination.is_ipv4());
            let expected = Some(SocketAddr::new(source.ip().to_canonical(), source.port()));
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = ((source.ip(), source.port()), (destination.ip(), destination.port()));
            let line = format!("PROXY {family} {} {} {} {}\r\n", from.0, to.0, from.1, to.1);
            prop_assert_eq!(read_all(line.as_bytes()), (Ok(expected), line.len()));

            let octets = |address: IpAddr| match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            let ports = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
            let content = [octets(from.0), octets(to.0), ports, tlvs].concat();
            let header = v2(0x21, if source.is_ipv4() { 0x11 } else { 0x21 }, &content);
            prop_assert_eq!(read_all(&header), (Ok(expected), header.len()));
        }
    }

    #[tokio::test]
    async fn a_header_that_arrives_byte_by_byte_is_read() {
        let (mut proxy, mut io) = tokio::io::duplex(1);
        let header = v2(0x21, 0x11, &V4);
        let sent = tokio::spawn(async move { proxy.write_all(&header).await });
        assert_eq!(read(&mut io).await.unwrap(), Some("192.0.2.1:12345".parse().unwrap()));
        sent.await.unwrap().unwrap();
    }
}
