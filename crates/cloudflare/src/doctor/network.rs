//! The way to the server: its addresses, TCP, TLS, and what it shows.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use http_client::{HostPort, RequestError, steps};
use rustls::{ClientConfig, ProtocolVersion};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use super::{
    report::{Finding, Report, Step},
    words,
};

/// What Cloudflare gives connecting, and as much again the handshake.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which addresses the server has.
pub(super) async fn resolve(server: &HostPort, report: &mut Report) -> Option<Vec<SocketAddr>> {
    let begun = Instant::now();
    let resolved = steps::resolve(server).await;
    let time = begun.elapsed();
    let finding = match &resolved {
        Ok(addresses) => resolved_to(server, addresses),
        Err(error) => {
            let ours = format!("{} has no address: {}", server.host, error.cause);
            let advice = "put it into the public DNS, or mend the name";
            words::of_lookup(&server.host, error, Finding::fail(Step::Resolve, ours, advice))
        }
    };
    report.add(finding.took(time, PATIENCE));
    let mut addresses = resolved.ok()?;
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.dedup();
    Some(addresses)
}

fn resolved_to(server: &HostPort, addresses: &[SocketAddr]) -> Finding {
    let ips: Vec<_> = addresses.iter().map(SocketAddr::ip).collect();
    let describe = |ip: &IpAddr| match scope(*ip) {
        Some(scope) => format!("{ip} ({scope})"),
        None => ip.to_string(),
    };
    let listed = ips.iter().map(describe).collect::<Vec<_>>().join(", ");
    let ours = format!("{}: {listed}", server.host);
    if ips.iter().any(|ip| scope(*ip).is_some()) {
        let advice = "Cloudflare does not get to such an address and would say `context deadline exceeded`: the \
                      public DNS must name a public one";
        return Finding::warn(Step::Resolve, ours, advice);
    }
    if ips.iter().all(IpAddr::is_ipv6) {
        let advice = "there is no IPv4 address, and whether Cloudflare pushes over IPv6 is not known: add one";
        return Finding::warn(Step::Resolve, ours, advice);
    }
    Finding::pass(Step::Resolve, ours)
}

/// Why nobody outside gets to an address.
fn scope(ip: IpAddr) -> Option<&'static str> {
    match ip.to_canonical() {
        ip if ip.is_loopback() => Some("this machine"),
        ip if ip.is_unspecified() => Some("no address"),
        IpAddr::V4(ip) if ip.is_private() => Some("private"),
        IpAddr::V4(ip) if ip.is_link_local() => Some("link-local"),
        // RFC 6598, 100.64.0.0/10: behind a carrier's NAT.
        IpAddr::V4(ip) if ip.to_bits() >> 22 == 0x6440_0000 >> 22 => Some("shared"),
        IpAddr::V6(ip) if ip.is_unique_local() => Some("private"),
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some("link-local"),
        _ => None,
    }
}

/// Connects to all of them, and gives back the first that it came to.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    report: &mut Report,
) -> Option<(SocketAddr, TcpStream)> {
    let mut connecting = JoinSet::new();
    for (place, address) in addresses.iter().copied().enumerate() {
        connecting.spawn(async move {
            let begun = Instant::now();
            let outcome = steps::connect(address).await;
            (place, address, outcome, begun.elapsed())
        });
    }
    let mut outcomes = connecting.join_all().await;
    outcomes.sort_by_key(|(place, ..)| *place);
    let some_work = outcomes.iter().any(|(_, _, outcome, _)| outcome.is_ok());
    let mut first = None;
    for (_, address, outcome, time) in outcomes {
        let finding = match outcome {
            Ok(stream) => {
                first = first.or(Some((address, stream)));
                Finding::pass(Step::Connect, address.to_string())
            }
            Err(error) => {
                let (ours, advice) = unconnected(address, &error);
                let finding = if some_work {
                    Finding::warn(Step::Connect, ours, advice)
                } else {
                    Finding::fail(Step::Connect, ours, advice)
                };
                words::of_dial(address, &error, finding)
            }
        };
        report.add(finding.took(time, PATIENCE));
    }
    first
}

fn unconnected(address: SocketAddr, error: &RequestError) -> (String, String) {
    let advice = match error.kind {
        Some(ErrorKind::TimedOut) => format!(
            "something drops what is sent there: let the firewall and the provider's rules pass TCP port {} from \
             Cloudflare, and see that the address is the server's",
            address.port()
        ),
        Some(ErrorKind::ConnectionRefused) => format!(
            "nobody listens on port {}: start the daemon, compare the port with server.address, and see that it \
             listens on this address and not on 127.0.0.1 alone",
            address.port()
        ),
        Some(ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable) => String::from(
            "this machine has no way there, so it cannot tell: try from another one, or take the address out of \
             the DNS if the server does not have it",
        ),
        _ => String::from("see that the server is up, and what stands between"),
    };
    (format!("{address}: {}", error.cause), advice)
}

/// TLS, whatever the certificate is. Whether HTTP/2 is spoken behind it.
pub(super) async fn handshake(
    server: &HostPort,
    (address, stream): (SocketAddr, TcpStream),
    tls: Arc<ClientConfig>,
    report: &mut Report,
) -> Option<bool> {
    let begun = Instant::now();
    let shaken = steps::handshake(server, stream, tls).await;
    let time = begun.elapsed();
    let finding = match &shaken {
        Ok(stream) => {
            let session = stream.get_ref().1;
            let version = match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
                _ => "TLS 1.2",
            };
            let suite = session.negotiated_cipher_suite().map(|suite| suite.suite());
            let suite = suite.and_then(|suite| suite.as_str()).unwrap_or("?");
            let http = match session.alpn_protocol() {
                Some(b"h2") => "HTTP/2",
                _ => "HTTP/1.1, since it does not offer HTTP/2",
            };
            Finding::pass(Step::Handshake, format!("{version} ({suite}), {http}"))
        }
        Err(error) => {
            let is_plain = matches!(
                error.kind,
                Some(
                    ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                )
            ) && speaks_plain_http(address).await;
            unshaken(error, is_plain)
        }
    };
    report.add(finding.took(time, PATIENCE));
    shaken.ok().map(|stream| stream.get_ref().1.alpn_protocol() == Some(b"h2"))
}

fn unshaken(error: &RequestError, is_plain: bool) -> Finding {
    let fail = |ours: &str, advice: &str| {
        let finding = Finding::fail(Step::Handshake, ours, advice);
        words::of_handshake(error, is_plain, finding)
    };
    if is_plain {
        return fail(
            "the server speaks HTTP without TLS there",
            "Cloudflare pushes over HTTPS alone: name the port that speaks TLS, or set up TLS on this one",
        );
    }
    match (error.kind, words::alert(&error.cause)) {
        (_, Some("HandshakeFailure")) => fail(
            "the server refuses the handshake: the two have no cipher in common, or it has no certificate for \
             this name",
            "offer TLS 1.2 or 1.3 with usual ciphers; if a proxy stands there, give it a certificate for the name",
        ),
        (_, Some("ProtocolVersion")) => {
            fail("the server speaks no TLS from 1.2 on", "let it speak TLS 1.2 or 1.3")
        }
        (_, Some("UnrecognisedName")) => fail(
            "the server does not know this name",
            "a proxy stands there: tell it the name and give it a certificate",
        ),
        (Some(ErrorKind::TimedOut), _) => fail(
            "the server takes connections but does not shake hands within 5 s",
            "see that what listens there speaks TLS, and that it or a proxy in front is not stuck or overloaded",
        ),
        (Some(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), _) => fail(
            &format!("the server hangs up in the middle of the handshake ({})", error.cause),
            "see its log; a firewall or a proxy that lets only some names or addresses pass does this, too",
        ),
        _ => fail(
            &format!("the handshake fails: {}", error.cause),
            "see that what listens there speaks TLS, and its log",
        ),
    }
}

/// Whether somebody answers there to HTTP without TLS.
async fn speaks_plain_http(address: SocketAddr) -> bool {
    let asking = async {
        let mut stream = steps::connect(address).await.ok()?;
        stream.write_all(b"HEAD / HTTP/1.0\r\n\r\n").await.ok()?;
        let mut begin = [0; 5];
        stream.read_exact(&mut begin).await.ok()?;
        (begin == *b"HTTP/").then_some(())
    };
    timeout(PATIENCE, asking).await.is_ok_and(|answer| answer.is_some())
}

/// What the server says to a connection on which nothing is sent, if that is an alert. With TLS 1.3 it
/// refuses a client behind the handshake, and a request that is on its way by then hides why.
pub(super) async fn alert(server: &HostPort, tls: &Arc<ClientConfig>) -> Option<String> {
    for address in steps::resolve(server).await.ok()? {
        let Ok(stream) = steps::connect(address).await else { continue };
        let shaken = steps::handshake(server, stream, Arc::clone(tls)).await;
        let mut stream = match shaken {
            Ok(stream) => stream,
            Err(error) => return Some(error.cause).filter(|it| words::alert(it).is_some()),
        };
        // A server that has something to refuse does so at once.
        let read = timeout(Duration::from_secs(1), stream.read(&mut [0])).await;
        let cause = read.ok()?.err()?.to_string();
        return Some(cause).filter(|it| words::alert(it).is_some());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_nobody_outside_gets_to_are_known() {
        for (ip, want) in [
            ("127.0.0.1", Some("this machine")),
            ("::1", Some("this machine")),
            ("::ffff:10.0.0.1", Some("private")),
            ("192.168.1.1", Some("private")),
            ("169.254.1.1", Some("link-local")),
            ("100.64.0.1", Some("shared")),
            ("100.128.0.1", None),
            ("0.0.0.0", Some("no address")),
            ("fd00::1", Some("private")),
            ("fe80::1", Some("link-local")),
            ("192.0.2.1", None),
            ("2001:db8::1", None),
        ] {
            assert_eq!(scope(ip.parse().unwrap()), want, "{ip}");
        }
    }
}
