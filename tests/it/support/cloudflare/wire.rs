//! TLS and as much of HTTP/1.1 as an API needs.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::Value;

use super::{Answer, Refusal};

/// Longer than any test takes, as the other deadlines.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A request.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&String> {
        let mut headers = self.headers.iter();
        headers.find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The body, which must be declared as JSON and be an object.
    pub(super) fn json(&self) -> Result<Value, Refusal> {
        let is_json = self.header("content-type").is_some_and(|kind| kind == "application/json");
        let body = serde_json::from_slice::<Value>(&self.body).ok();
        body.filter(|body| is_json && body.is_object())
            .ok_or_else(|| (400, 1001, "invalid request: the body is no JSON object".into()))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn wrong(what: impl ToString) -> io::Error {
    io::Error::other(what.to_string())
}

/// The authorities of a PEM file.
pub(super) fn roots(file: &Path) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&fs::read(file)?) {
        roots.add(authority.map_err(wrong)?).map_err(wrong)?;
    }
    Ok(roots)
}

/// Presents the chain of a PEM file.
pub(crate) fn server(cert: &Path, key: &Path) -> io::Result<Arc<ServerConfig>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&fs::read(cert)?).collect();
    let key = PrivateKeyDer::from_pem_slice(&fs::read(key)?).map_err(wrong)?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(wrong)?
        .with_no_client_auth()
        .with_single_cert(chain.map_err(wrong)?, key);
    config.map(Arc::new).map_err(wrong)
}

/// Answers the requests of one connection, one after the other.
pub(crate) fn serve(
    stream: TcpStream,
    tls: Arc<ServerConfig>,
    answer: &dyn Fn(&Request) -> Answer,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let session = ServerConnection::new(tls).map_err(wrong)?;
    let mut stream = BufReader::new(StreamOwned::new(session, stream));
    while let Some(request) = read(&mut stream)? {
        let (status, headers, body) = answer(&request);
        let mut head = format!("HTTP/1.1 {status} Mock\r\ncontent-type: application/json\r\n");
        for (name, value) in headers {
            head.extend([name.as_str(), ": ", value.as_str(), "\r\n"]);
        }
        let stream = stream.get_mut();
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len())?;
        stream.flush()?;
    }
    Ok(())
}

/// The next request, or nothing at the end of the connection.
fn read(stream: &mut BufReader<impl Read>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_ascii_whitespace().map(str::to_owned);
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Err(wrong("no request line"));
    };
    let mut headers = Vec::new();
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { method, path, headers, body: Vec::new() };
    let length = request.header("content-length").and_then(|length| length.parse().ok());
    stream.take(length.unwrap_or(0)).read_to_end(&mut request.body)?;
    Ok(Some(request))
}
