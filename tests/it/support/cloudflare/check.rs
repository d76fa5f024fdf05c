//! The destination check, sent as Cloudflare sends it.

use std::{
    io::{Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    sync::Arc,
};

use flate2::{Compression, write::GzEncoder};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::aws_lc_rs,
    pki_types::ServerName,
};

use super::wire::PATIENCE;

/// The uploaded body, before gzip.
const CONTENT: &[u8] = br#"{"content":"test"}"#;

/// Sends the check, and returns Cloudflare's text for what went wrong.
pub(super) fn send(destination: &str, roots: RootCertStore) -> Result<(), String> {
    let Some(rest) = destination.strip_prefix("https://") else {
        return Err("this stand-in knows https:// only".into());
    };
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (headers, parameters): (Vec<_>, Vec<_>) =
        query.split('&').filter(|part| !part.is_empty()).partition(|p| p.starts_with("header_"));
    let mut target = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
    if !parameters.is_empty() {
        target = format!("{target}?{}", parameters.join("&"));
    }
    let mut head = format!(
        "POST {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: Go-http-client/1.1\r\nContent-Encoding: gzip\r\nConnection: close\r\n"
    );
    let has_type = |name: &str| name.eq_ignore_ascii_case("content-type");
    let mut typed = false;
    for header in headers {
        let (name, value) =
            header.trim_start_matches("header_").split_once('=').unwrap_or_default();
        typed |= has_type(name);
        head.extend([name, ": ", &decoded(value), "\r\n"]);
    }
    if !typed {
        head += "Content-Type: text/plain; charset=utf-8\r\n";
    }
    let failed =
        |error: &dyn std::fmt::Display| format!("Post \"https://{authority}{path}\": {error}");
    let status = exchange(authority, &head, roots).map_err(|error| failed(&error))?;
    match status {
        200..300 => Ok(()),
        status => Err(format!("error uploading to https: status:{status}")),
    }
}

fn exchange(authority: &str, head: &str, roots: RootCertStore) -> Result<u16, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|error| text(&error))?),
        None => (authority, 443),
    };
    let lookup = |_| format!("dial tcp: lookup {host}: no such host");
    let address = (host, port).to_socket_addrs().map_err(lookup)?.next();
    let address = address.ok_or_else(|| format!("dial tcp: lookup {host}: no such host"))?;
    let tcp = TcpStream::connect(address)
        .map_err(|_| format!("dial tcp {address}: connect: connection refused"))?;
    tcp.set_read_timeout(Some(PATIENCE)).map_err(|error| text(&error))?;
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| text(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| text(&error))?;
    let session = ClientConnection::new(Arc::new(config), name).map_err(|error| text(&error))?;
    let mut stream = StreamOwned::new(session, tcp);
    let mut body = GzEncoder::new(Vec::new(), Compression::default());
    body.write_all(CONTENT).map_err(|error| text(&error))?;
    let body = body.finish().map_err(|error| text(&error))?;
    let head = format!("{head}Content-Length: {}\r\n\r\n", body.len());
    // This mock does not distinguish the problems of a certificate.
    let refused = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::InvalidData => "x509: certificate signed by unknown authority".into(),
        _ => text(&error),
    };
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).map_err(refused)?;
    let mut start = [0; 12];
    stream.read_exact(&mut start).map_err(|error| text(&error))?;
    let status = std::str::from_utf8(&start[9..]).ok().and_then(|digits| digits.parse().ok());
    status.ok_or_else(|| "malformed HTTP response".into())
}

/// Percent-decoded, as Go does it.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits: Vec<_> = rest.by_ref().take(2).collect();
                let digits = String::from_utf8(digits).unwrap_or_default();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
