//! What Cloudflare says to a failure: texts seen in its dashboard, API and documentation, and where
//! none was seen those of Go's client, which is what it pushes with.

use std::{io::ErrorKind, net::SocketAddr};

use http_client::RequestError;

use super::report::Finding;

/// Seen for a server that does not answer, at whatever step.
const LATE: &str = "context deadline exceeded";

pub(super) fn of_lookup(host: &str, error: &RequestError, finding: Finding) -> Finding {
    // The resolver's own words tell a name that is not there from a resolver that does not answer.
    let is_absent = ["Name or service not known", "No address associated", "Name does not resolve"]
        .iter()
        .any(|words| error.cause.contains(words));
    let what = if is_absent { "no such host" } else { "server misbehaving" };
    finding.cloudflare(format!("dial tcp: lookup {host}: {what} (upload health: 1105)"))
}

pub(super) fn of_dial(address: SocketAddr, error: &RequestError, finding: Finding) -> Finding {
    let why = match error.kind {
        Some(ErrorKind::TimedOut) => {
            return finding.cloudflare(format!("{LATE} (upload health: 1102 ConnectionTimeout)"));
        }
        Some(ErrorKind::ConnectionRefused) => "connection refused",
        Some(ErrorKind::NetworkUnreachable) => "network is unreachable",
        Some(ErrorKind::HostUnreachable) => "no route to host",
        _ => return finding,
    };
    finding.cloudflare(format!("dial tcp {address}: connect: {why}"))
}

pub(super) fn of_handshake(error: &RequestError, is_plain: bool, finding: Finding) -> Finding {
    if is_plain {
        return finding.cloudflare("http: server gave HTTP response to HTTPS client");
    }
    if let Some(alert) = remote_error(&error.cause) {
        return finding.cloudflare(alert);
    }
    match error.kind {
        Some(ErrorKind::TimedOut) => late(finding),
        Some(ErrorKind::UnexpectedEof) => finding.cloudflare("EOF"),
        Some(ErrorKind::ConnectionReset) => finding.cloudflare("connection reset by peer"),
        Some(ErrorKind::InvalidData) => {
            finding.cloudflare("tls: first record does not look like a TLS handshake")
        }
        _ => finding,
    }
}

/// No progress, once there was a connection.
pub(super) fn late(finding: Finding) -> Finding {
    finding.cloudflare(format!("{LATE} (upload health: 1106 Timeout)"))
}

pub(super) fn of_exchange(error: &RequestError, finding: Finding) -> Finding {
    if let Some(alert) = remote_error(&error.cause) {
        return finding.cloudflare(alert);
    }
    match error.kind {
        Some(ErrorKind::TimedOut) => late(finding),
        Some(ErrorKind::ConnectionReset) => finding.cloudflare("connection reset by peer"),
        Some(ErrorKind::UnexpectedEof) => finding.cloudflare("EOF"),
        _ if error.cause.contains("connection closed") => finding.cloudflare("EOF"),
        _ => finding,
    }
}

/// When a job is made or changed.
pub(super) fn of_check(status: u16) -> String {
    format!(
        "error validating destination: error writing object: error uploading to https: status:{status}"
    )
}

/// While a job runs: what the server says is shown, if it says anything.
pub(super) fn of_batch(status: u16, answer: &str) -> String {
    if answer.is_empty() {
        format!("error {status}: error pushing: error uploading to https: status:{status}")
    } else {
        format!("error {status}: error pushing: error uploading to https: {status} {answer}")
    }
}

/// The alert that the server sent, by its name in rustls.
pub(super) fn alert(cause: &str) -> Option<&str> {
    let (_, alert) = cause.split_once("received fatal alert: ")?;
    Some(alert.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or(alert))
}

/// The same in Go's words.
fn remote_error(cause: &str) -> Option<String> {
    let words = match alert(cause)? {
        "HandshakeFailure" => "handshake failure",
        "ProtocolVersion" => "protocol version not supported",
        "UnrecognisedName" => "unrecognized name",
        "CertificateRequired" => "certificate required",
        "BadCertificate" => "bad certificate",
        "AccessDenied" => "access denied",
        "InternalError" => "internal error",
        "NoApplicationProtocol" => "no application protocol",
        _ => return None,
    };
    Some(format!("remote error: tls: {words}"))
}
