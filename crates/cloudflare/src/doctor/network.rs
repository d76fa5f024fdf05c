//! The network steps: name resolution, TCP connections and the TLS handshake.

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
    cloudflare_messages,
    report::{DoctorStep, Finding, Report},
};

/// Cloudflare's timeout for connecting, and also for the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Resolves the server's addresses, IPv4 first.
pub(super) async fn resolve(server: &HostPort, report: &mut Report) -> Option<Vec<SocketAddr>> {
    let begun = Instant::now();
    let resolved = steps::resolve(server).await;
    let time = begun.elapsed();
    let finding = match &resolved {
        Ok(addresses) => resolved_to(server, addresses),
        Err(error) => {
            let message = format!("{} does not resolve: {}", server.host, error.cause);
            let advice = "add the name to the public DNS, or correct it in the destination";
            cloudflare_messages::for_lookup(
                &server.host,
                error,
                Finding::fail(DoctorStep::Resolve, message, advice),
            )
        }
    };
    report.add(finding.timed(time, CONNECT_TIMEOUT));
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
    let message = format!("{}: {listed}", server.host);
    if ips.iter().any(|ip| scope(*ip).is_some()) {
        let advice = "Cloudflare cannot reach this address and would report `context deadline exceeded`: the \
                      public DNS must contain a public address";
        return Finding::warn(DoctorStep::Resolve, message, advice);
    }
    if ips.iter().all(IpAddr::is_ipv6) {
        let advice = "add an IPv4 address: Cloudflare may not push over IPv6";
        return Finding::warn(DoctorStep::Resolve, message, advice);
    }
    Finding::pass(DoctorStep::Resolve, message)
}

/// Returns the scope of an address that the internet cannot reach.
fn scope(ip: IpAddr) -> Option<&'static str> {
    match ip.to_canonical() {
        ip if ip.is_loopback() => Some("this machine"),
        ip if ip.is_unspecified() => Some("unspecified"),
        IpAddr::V4(ip) if ip.is_private() => Some("private"),
        IpAddr::V4(ip) if ip.is_link_local() => Some("link-local"),
        // RFC 6598, 100.64.0.0/10: carrier-grade NAT.
        IpAddr::V4(ip) if ip.to_bits() >> 22 == 0x6440_0000 >> 22 => Some("shared"),
        IpAddr::V6(ip) if ip.is_unique_local() => Some("private"),
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some("link-local"),
        _ => None,
    }
}

/// Connects to all addresses, and returns the first connection, in their order.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    report: &mut Report,
) -> Option<(SocketAddr, TcpStream)> {
    let mut connecting = JoinSet::new();
    for (index, address) in addresses.iter().copied().enumerate() {
        connecting.spawn(async move {
            let begun = Instant::now();
            let outcome = steps::connect(address).await;
            (index, address, outcome, begun.elapsed())
        });
    }
    let mut outcomes = connecting.join_all().await;
    outcomes.sort_by_key(|(index, ..)| *index);
    let some_work = outcomes.iter().any(|(_, _, outcome, _)| outcome.is_ok());
    let mut first = None;
    for (_, address, outcome, time) in outcomes {
        let finding = match outcome {
            Ok(stream) => {
                first = first.or(Some((address, stream)));
                Finding::pass(DoctorStep::Connect, address.to_string())
            }
            Err(error) => {
                let (message, advice) = connect_failure(address, &error);
                let finding = if some_work {
                    Finding::warn(DoctorStep::Connect, message, advice)
                } else {
                    Finding::fail(DoctorStep::Connect, message, advice)
                };
                cloudflare_messages::for_connect(address, &error, finding)
            }
        };
        report.add(finding.timed(time, CONNECT_TIMEOUT));
    }
    first
}

fn connect_failure(address: SocketAddr, error: &RequestError) -> (String, String) {
    let advice = match error.kind {
        Some(ErrorKind::TimedOut) => format!(
            "a firewall drops the packets: allow TCP port {} from Cloudflare in the firewall and in the provider's \
             rules, and check that the address belongs to the server",
            address.port()
        ),
        Some(ErrorKind::ConnectionRefused) => format!(
            "nothing listens on port {}: start the daemon, compare the port with server.address, and check that \
             server.address is not 127.0.0.1",
            address.port()
        ),
        Some(ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable) => String::from(
            "this machine has no route to the address: run doctor from another network, or remove the address \
             from the DNS if it does not belong to the server",
        ),
        _ => String::from("check that the server is up, and the network in between"),
    };
    (format!("{address}: {}", error.cause), advice)
}

/// Performs the TLS handshake, without verifying the certificate. Returns whether the server chose HTTP/2.
pub(super) async fn handshake(
    server: &HostPort,
    (address, stream): (SocketAddr, TcpStream),
    tls: Arc<ClientConfig>,
    report: &mut Report,
) -> Option<bool> {
    let begun = Instant::now();
    let handshake = steps::handshake(server, stream, tls).await;
    let time = begun.elapsed();
    let finding = match &handshake {
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
                _ => "HTTP/1.1 (the server does not offer HTTP/2)",
            };
            Finding::pass(DoctorStep::Handshake, format!("{version} ({suite}), {http}"))
        }
        Err(error) => {
            let is_plain = matches!(
                error.kind,
                Some(
                    ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                )
            ) && speaks_plain_http(address).await;
            handshake_failure(error, is_plain)
        }
    };
    report.add(finding.timed(time, CONNECT_TIMEOUT));
    handshake.ok().map(|stream| stream.get_ref().1.alpn_protocol() == Some(b"h2"))
}

fn handshake_failure(error: &RequestError, is_plain: bool) -> Finding {
    let fail = |message: &str, advice: &str| {
        let finding = Finding::fail(DoctorStep::Handshake, message, advice);
        cloudflare_messages::for_handshake(error, is_plain, finding)
    };
    if is_plain {
        return fail(
            "the port speaks HTTP without TLS",
            "Cloudflare pushes only over HTTPS: use the port that speaks TLS, or set up TLS on this one",
        );
    }
    match (error.kind, cloudflare_messages::alert(&error.cause)) {
        (_, Some("HandshakeFailure")) => fail(
            "the server refuses the handshake: no cipher in common, or no certificate for this name",
            "enable TLS 1.2 or 1.3 with common ciphers; if a proxy listens there, give it a certificate for the name",
        ),
        (_, Some("ProtocolVersion")) => {
            fail("the server supports only TLS older than 1.2", "enable TLS 1.2 or 1.3")
        }
        (_, Some("UnrecognisedName")) => fail(
            "the server does not know this name",
            "a proxy listens there: configure the name and a certificate for it in the proxy",
        ),
        (Some(ErrorKind::TimedOut), _) => fail(
            "the server accepts connections but does not complete the handshake within 5 s",
            "check that the port speaks TLS, and that the server or a proxy in front is not stuck or overloaded",
        ),
        (Some(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), _) => fail(
            &format!("the server closes the connection during the handshake ({})", error.cause),
            "see its log; a firewall or proxy that allows only some names or addresses also does this",
        ),
        _ => fail(
            &format!("the handshake fails: {}", error.cause),
            "check that the port speaks TLS, and see the server's log",
        ),
    }
}

/// Reports whether the server answers HTTP without TLS.
async fn speaks_plain_http(address: SocketAddr) -> bool {
    let request = async {
        let mut stream = steps::connect(address).await.ok()?;
        stream.write_all(b"HEAD / HTTP/1.0\r\n\r\n").await.ok()?;
        let mut start = [0; 5];
        stream.read_exact(&mut start).await.ok()?;
        (start == *b"HTTP/").then_some(())
    };
    timeout(CONNECT_TIMEOUT, request).await.is_ok_and(|answer| answer.is_some())
}

/// Returns the TLS alert that the server sends on an idle connection.
///
/// With TLS 1.3 a server refuses a client only after the handshake. If a request is already under way,
/// the client sees a closed connection instead of the alert.
pub(super) async fn alert(server: &HostPort, tls: &Arc<ClientConfig>) -> Option<String> {
    for address in steps::resolve(server).await.ok()? {
        let Ok(stream) = steps::connect(address).await else { continue };
        let handshake = steps::handshake(server, stream, Arc::clone(tls)).await;
        let mut stream = match handshake {
            Ok(stream) => stream,
            Err(error) => {
                return Some(error.cause).filter(|it| cloudflare_messages::alert(it).is_some());
            }
        };
        // A server that refuses the client does so at once.
        let read = timeout(Duration::from_secs(1), stream.read(&mut [0])).await;
        let cause = read.ok()?.err()?.to_string();
        return Some(cause).filter(|it| cloudflare_messages::alert(it).is_some());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_have_a_scope() {
        for (ip, want) in [
            ("127.0.0.1", Some("this machine")),
            ("::1", Some("this machine")),
            ("::ffff:10.0.0.1", Some("private")),
            ("192.168.1.1", Some("private")),
            ("169.254.1.1", Some("link-local")),
            ("100.64.0.1", Some("shared")),
            ("100.128.0.1", None),
            ("0.0.0.0", Some("unspecified")),
            ("fd00::1", Some("private")),
            ("fe80::1", Some("link-local")),
            ("192.0.2.1", None),
            ("2001:db8::1", None),
        ] {
            assert_eq!(scope(ip.parse().unwrap()), want, "{ip}");
        }
    }
}
