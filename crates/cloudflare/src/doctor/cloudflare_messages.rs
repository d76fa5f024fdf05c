//! The messages that Cloudflare shows for failures.
//!
//! They come from its dashboard, API and documentation. Where none is known, they are those of Go's HTTP
//! client, which Cloudflare uses.

use std::{io::ErrorKind, net::SocketAddr};

use http_client::RequestError;

use super::report::Finding;

/// The message for a server that does not answer, in any step.
const DEADLINE_EXCEEDED: &str = "context deadline exceeded";

pub(super) fn for_lookup(host: &str, error: &RequestError, finding: Finding) -> Finding {
    // Only the resolver's message distinguishes a missing name from a resolver that does not answer.
    let is_absent = ["Name or service not known", "No address associated", "Name does not resolve"]
        .iter()
        .any(|text| error.cause.contains(text));
    let what = if is_absent { "no such host" } else { "server misbehaving" };
    finding.cloudflare(format!("dial tcp: lookup {host}: {what} (upload health: 1105)"))
}

pub(super) fn for_connect(address: SocketAddr, error: &RequestError, finding: Finding) -> Finding {
    let why = match error.kind {
        Some(ErrorKind::TimedOut) => {
            return finding.cloudflare(format!(
                "{DEADLINE_EXCEEDED} (upload health: 1102 ConnectionTimeout)"
            ));
        }
        Some(ErrorKind::ConnectionRefused) => "connection refused",
        Some(ErrorKind::NetworkUnreachable) => "network is unreachable",
        Some(ErrorKind::HostUnreachable) => "no route to host",
        _ => return finding,
    };
    finding.cloudflare(format!("dial tcp {address}: connect: {why}"))
}

pub(super) fn for_handshake(error: &RequestError, is_plain: bool, finding: Finding) -> Finding {
    if is_plain {
        return finding.cloudflare("http: server gave HTTP response to HTTPS client");
    }
    if let Some(alert) = remote_error(&error.cause) {
        return finding.cloudflare(alert);
    }
    match error.kind {
        Some(ErrorKind::TimedOut) => for_timeout(finding),
        Some(ErrorKind::UnexpectedEof) => finding.cloudflare("EOF"),
        Some(ErrorKind::ConnectionReset) => finding.cloudflare("connection reset by peer"),
        Some(ErrorKind::InvalidData) => {
            finding.cloudflare("tls: first record does not look like a TLS handshake")
        }
        _ => finding,
    }
}

/// Adds the message for an established connection without progress.
pub(super) fn for_timeout(finding: Finding) -> Finding {
    finding.cloudflare(format!("{DEADLINE_EXCEEDED} (upload health: 1106 Timeout)"))
}

pub(super) fn for_exchange(error: &RequestError, finding: Finding) -> Finding {
    if let Some(alert) = remote_error(&error.cause) {
        return finding.cloudflare(alert);
    }
    match error.kind {
        Some(ErrorKind::TimedOut) => for_timeout(finding),
        Some(ErrorKind::ConnectionReset) => finding.cloudflare("connection reset by peer"),
        Some(ErrorKind::UnexpectedEof) => finding.cloudflare("EOF"),
        _ if error.cause.contains("connection closed") => finding.cloudflare("EOF"),
        _ => finding,
    }
}

/// Formats the message for a failure while a job is created or changed.
pub(super) fn for_check(status: u16) -> String {
    format!(
        "error validating destination: error writing object: error uploading to https: status:{status}"
    )
}

/// Formats the message for a failure while a job runs; it contains the server's answer, if any.
pub(super) fn for_batch(status: u16, answer: &str) -> String {
    if answer.is_empty() {
        format!("error {status}: error pushing: error uploading to https: status:{status}")
    } else {
        format!("error {status}: error pushing: error uploading to https: {status} {answer}")
    }
}

/// Extracts the name of a TLS alert from an error of rustls.
pub(super) fn alert(cause: &str) -> Option<&str> {
    let (_, alert) = cause.split_once("received fatal alert: ")?;
    Some(alert.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or(alert))
}

/// Formats a TLS alert as Go does.
fn remote_error(cause: &str) -> Option<String> {
    let text = match alert(cause)? {
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
    Some(format!("remote error: tls: {text}"))
}
