//! Sends the requests of the ACME client.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request as HttpRequest, Response as HttpResponse, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use jiff::Timestamp;
use rustls::ClientConfig;

use crate::{
    http_client::{Client, Phase, Request, RequestError, Response, Settings},
    network::HostPort,
    retry,
};

/// Timeout of a request. A directory answers within a second or is overloaded.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Characters of an answer that are shown if it is not a problem document.
const MAX_SHOWN_CHARS: usize = 200;

/// Why there is no answer for the ACME client.
#[derive(Debug)]
pub(super) enum HttpError {
    /// The connection or the exchange failed.
    Unreachable(String),
    /// The server answers with a server error.
    Down(String),
    /// The answer is not ACME.
    NotAcme(String),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(what) | Self::Down(what) | Self::NotAcme(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for HttpError {}

/// HTTP client for ACME. Clones share the connections.
#[derive(Clone)]
pub(super) struct Http {
    client: Client,
    retry_after: Arc<std::sync::Mutex<Duration>>,
}

impl Http {
    pub(super) fn new(tls: ClientConfig) -> Result<Self, reqwest::Error> {
        let client = Client::new(Settings { timeout: REQUEST_TIMEOUT, ..Settings::new(tls) })?;
        Ok(Self { client, retry_after: Arc::default() })
    }

    /// Returns the last `Retry-After` of the directory.
    pub(super) fn retry_after(&self) -> Duration {
        *self.retry_after.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn exchange(
        &self,
        request: HttpRequest<BodyWrapper<Bytes>>,
    ) -> Result<BytesResponse, HttpError> {
        let request = translate(request).await?;
        let response = self.send(&request).await.map_err(|error| unreachable(&error))?;
        if matches!(
            response.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            let value = response.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let wait = value.and_then(|value| retry::retry_after(value, Timestamp::now()));
            *self.retry_after.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                wait.unwrap_or_default();
        }
        let kind = response.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !response.status.is_success() && !kind.is_some_and(|kind| kind.contains("json")) {
            return Err(not_a_problem(&request.server, response.status, &response.text));
        }
        let mut http = HttpResponse::new(Full::new(Bytes::from(response.text)));
        *http.status_mut() = response.status;
        *http.headers_mut() = response.headers;
        Ok(BytesResponse::from(http))
    }

    /// Sends a request, and retries it once if there is no response: the directory may have closed
    /// the connection before it received the request. If it did receive it, it rejects the second
    /// one because of the used nonce, and the ACME client retries with a new nonce.
    async fn send(&self, request: &Request) -> Result<Response, RequestError> {
        match self.client.send(request).await {
            Err(error) if error.phase == Phase::Exchange && !error.is_late() => {
                self.client.send(request).await
            }
            outcome => outcome,
        }
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: HttpRequest<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let http = self.clone();
        Box::pin(async move {
            http.exchange(request).await.map_err(|error| Error::Other(Box::new(error)))
        })
    }
}

/// Returns the error for an answer that is neither a success nor a problem document.
fn not_a_problem(server: &HostPort, status: StatusCode, text: &str) -> HttpError {
    let text: String = text.chars().take(MAX_SHOWN_CHARS).collect();
    let what = format!("{server} answers {status}: {text:?}");
    // A load balancer in front of a directory answers this while the directory is down.
    if status.is_server_error() { HttpError::Down(what) } else { HttpError::NotAcme(what) }
}

fn unreachable(error: &RequestError) -> HttpError {
    HttpError::Unreachable(match error.phase {
        Phase::Handshake if error.cause.contains("UnknownIssuer") => format!(
            "{error}: for a private directory, set its CA in server.tls.acme.directory_ca_file"
        ),
        _ => error.to_string(),
    })
}

/// Converts a request of the ACME client.
async fn translate(request: HttpRequest<BodyWrapper<Bytes>>) -> Result<Request, HttpError> {
    let (head, mut body) = request.into_parts();
    let bad = || HttpError::NotAcme(format!("{} is not an https:// URL", head.uri));
    let host = head.uri.host().filter(|_| head.uri.scheme_str() == Some("https"));
    let host = host.ok_or_else(bad)?;
    // Only a URL has an IPv6 address in brackets.
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let server = HostPort { host: host.to_owned(), port: head.uri.port_u16().unwrap_or(443) };
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let frame = body.frame().await.and_then(Result::ok);
    let body = frame.and_then(|frame| frame.into_data().ok()).unwrap_or_default();
    Ok(Request { method: head.method, server, path, headers: head.headers, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_error_differs_from_a_wrong_address() {
        let server = HostPort { host: "acme.example".to_owned(), port: 443 };
        let of = |status| not_a_problem(&server, StatusCode::from_u16(status).unwrap(), "<html>");
        for status in [500, 502, 503, 504] {
            assert!(matches!(of(status), HttpError::Down(_)), "{status}");
        }
        for status in [302, 403, 404] {
            assert!(matches!(of(status), HttpError::NotAcme(_)), "{status}");
        }
    }

    #[tokio::test]
    async fn only_https_urls_are_accepted() {
        let ask = async |uri: &str| {
            let request = HttpRequest::get(uri).body(BodyWrapper::from(b"{}".to_vec())).unwrap();
            translate(request).await.map(|request| (request.server.to_string(), request.path))
        };
        let (server, path) = ask("https://[::1]:14000/dir?a=b").await.unwrap();
        assert_eq!((server.as_str(), path.as_str()), ("[::1]:14000", "/dir?a=b"));
        assert_eq!(ask("https://acme.example").await.unwrap().0, "acme.example:443");
        assert!(ask("http://acme.example/dir").await.is_err());
        assert!(ask("/dir").await.is_err());
    }
}
