//! The running daemon as the server of a replay: its address, requests and answers.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    HeaderMap, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde::Deserialize;

use super::{BodyKind, ReplayError, batches::Route, connection::Connection};
use crate::http::{SINK, sink_header};
use crate::{
    cloudflare::mask::Mask,
    commands::secret,
    config::{Config, Endpoint, HostPort},
    fatal::Fatal,
    tls,
};

/// Headers that contain no secret.
const PLAIN: [HeaderName; 3] = [CONTENT_TYPE, CONTENT_ENCODING, SINK];

const WRONG_SECRET: &str = "no or wrong secret: the daemon has not read the current secret file; \
    send it SIGHUP, or restart it if the unit uses LoadCredential=";

/// The code of Splunk HEC for an invalid token.
const WRONG_TOKEN: u16 = 4;

const OTHER_SINKS: &str = "the daemon runs with another configuration: reload it";

/// A connection to the daemon of a configuration.
pub(super) struct Daemon<'a> {
    config: &'a Config,
    connection: Connection,
}

/// The answer of the daemon to an accepted batch.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub(super) struct BatchAnswer {
    pub(super) status: String,
    pub(super) records: u64,
    pub(super) quarantined: u64,
}

impl<'a> Daemon<'a> {
    /// Connects.
    pub(super) fn connect(config: &'a Config) -> Result<Self, ReplayError> {
        let address = local(config).map_err(ReplayError::Unreachable)?;
        let tls = &config.server.tls;
        let unusable = |error: tls::TlsError| ReplayError::Unreachable(error.to_string());
        let server = HostPort { host: address.ip().to_string(), port: address.port() };
        let pinned = tls::pinned(&tls.cert_file).map_err(unusable)?;
        let mut connection = Connection::new(server, pinned, preface(config, address.ip()))?;
        connection.open().map_err(|error| {
            let mut hint = format!(
                "the daemon of this configuration must run there, with the certificate in {}",
                tls.cert_file.display()
            );
            if tls.client_ca_file.is_some() {
                hint += "; with server.tls.client_ca_file, the daemon refuses this command, which \
                         has no client certificate";
            }
            ReplayError::Unreachable(format!("{error}: {hint}"))
        })?;
        Ok(Self { config, connection })
    }

    /// Sends a body like a sender of the endpoint.
    pub(super) fn send(
        &mut self,
        route: &Route,
        kind: BodyKind,
        body: &Bytes,
    ) -> Result<BatchAnswer, ReplayError> {
        let (path, endpoint) = super::path_of(self.config, &route.endpoint, &route.dataset, kind)
            .map_err(ReplayError::Unusable)?;
        let mut headers = headers(endpoint, body)?;
        if let Some(sink) = &route.sink {
            let sink = HeaderValue::from_str(&sink_header(sink));
            let sink = sink
                .map_err(|error| ReplayError::Unusable(format!("the name of the sink: {error}")))?;
            headers.insert(SINK, sink);
        }
        let mask = Mask::default().with_headers(&headers, &PLAIN);
        let sent = self.connection.post(&path, &headers, body);
        let response = sent.map_err(|error| ReplayError::Unreachable(error.to_string()))?;
        if response.status != StatusCode::OK {
            let hint = match response.status {
                StatusCode::UNAUTHORIZED => WRONG_SECRET,
                StatusCode::FORBIDDEN if is_wrong_token(&response.text) => WRONG_SECRET,
                StatusCode::BAD_REQUEST if route.sink.is_some() => OTHER_SINKS,
                StatusCode::FORBIDDEN => "add the loopback address to the endpoint's allow_from",
                _ => "",
            };
            let text = [mask.hide(&response.text).as_str(), hint].join(" ");
            return Err(ReplayError::Refused(format!(
                "{} to {path}: {}",
                response.status,
                text.trim()
            )));
        }
        let result = response.headers.get("x-logpushd-result").and_then(|text| text.to_str().ok());
        serde_json::from_str(result.unwrap_or(&response.text)).map_err(|_| {
            ReplayError::Refused(format!(
                "200 to {path}, but not an answer of logpushd: {}",
                mask.hide(&response.text)
            ))
        })
    }

    /// Waits, and fails if the daemon has stopped.
    pub(super) fn pause(&mut self, pause: Duration) -> Result<(), Fatal> {
        self.connection.pause(pause).map_err(|error| Fatal::Unavailable(error.to_string()))
    }
}

/// Returns whether an answer is that of HEC to an invalid token.
fn is_wrong_token(text: &str) -> bool {
    #[derive(Deserialize)]
    struct HecAnswer {
        code: u16,
    }
    serde_json::from_str::<HecAnswer>(text).is_ok_and(|answer| answer.code == WRONG_TOKEN)
}

/// Returns the address at which this machine reaches the daemon.
fn local(config: &Config) -> Result<SocketAddr, String> {
    let Some(address) = config.server.addresses.iter().find(|address| address.port() != 0) else {
        return Err(String::from(
            "server.address has port 0, so the daemon's port is unknown: set a port",
        ));
    };
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Ok(SocketAddr::new(ip, address.port()))
}

/// Returns the bytes that the daemon expects before the TLS handshake of a connection from
/// `address`, its own address: a PROXY protocol header if that address is in
/// `server.proxy_protocol_from`.
fn preface(config: &Config, address: IpAddr) -> &'static [u8] {
    let is_proxy = config.server.proxy_protocol_from.iter().any(|net| net.contains(&address));
    if is_proxy { b"PROXY UNKNOWN\r\n" } else { b"" }
}

fn headers(endpoint: &Endpoint, body: &[u8]) -> Result<HeaderMap, ReplayError> {
    let mut headers = HeaderMap::new();
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, text);
    if body.starts_with(&[0x1f, 0x8b]) {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.extend(secret::header(endpoint).map_err(ReplayError::Unusable)?);
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::replay::tests::Folder;

    #[test]
    fn unspecified_address_becomes_loopback() {
        let mut folder = Folder::new();
        for (addresses, want) in [
            (&["0.0.0.0:8443"][..], "127.0.0.1:8443"),
            (&["[::]:8443", "0.0.0.0:8444"], "[::1]:8443"),
            (&["127.0.0.1:0", "192.0.2.1:8443"], "192.0.2.1:8443"),
        ] {
            let addresses = addresses.iter().map(|address| address.parse().unwrap());
            folder.config.server.addresses = addresses.collect();
            assert_eq!(local(&folder.config).unwrap().to_string(), want);
        }
        folder.config.server.addresses = vec!["127.0.0.1:0".parse().unwrap()];
        assert!(local(&folder.config).unwrap_err().contains("port 0"));
    }

    #[test]
    fn headers_have_secret_and_encoding() {
        let folder = Folder::new();
        let endpoint = folder.config.endpoints.iter().find(|known| known.name == "main").unwrap();
        let headers = headers(endpoint, b"\x1f\x8b\x08").unwrap();
        assert_eq!(headers["x-logpush-secret"], "first");
        assert_eq!(headers["content-encoding"], "gzip");
        let headers = super::headers(endpoint, b"{}").unwrap();
        assert!(!headers.contains_key("content-encoding"));
        std::fs::write(folder.path("secrets.txt"), "").unwrap();
        let failure = super::headers(endpoint, b"{}").unwrap_err();
        assert!(failure.text().contains("endpoint main"), "{}", failure.text());
    }
}
