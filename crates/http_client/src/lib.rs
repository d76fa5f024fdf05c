//! The HTTP client of the daemon and of its commands: `reqwest`, with this program's own TLS
//! configuration and messages.
//!
//! Redirects, cookies and proxies of the environment are off: a request goes where its URL says, and
//! nowhere else. The steps of [`steps`] are for those who watch each of them: `doctor`, `cert show`, and
//! `quarantine replay`, whose first bytes precede the TLS handshake.

mod blocking;
mod error;
mod host_port;
mod resolver;
pub mod retry;
pub mod steps;

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, StatusCode, Url, header::HeaderMap, redirect};
use rustls::ClientConfig;
use tls::Advice;

pub use self::{
    blocking::BlockingClient,
    error::{Phase, RequestError},
    host_port::HostPort,
};

/// What a request without a `User-Agent` gets.
pub const USER_AGENT: &str = concat!("logpushd/", env!("CARGO_PKG_VERSION"));

/// Of a response's body this much is read.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// What a client is built from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whom to trust and which certificate to show. The protocols of ALPN are set by [`Self::build`].
    pub tls: ClientConfig,
    /// For finding the address, connecting and the TLS handshake together.
    pub connect_timeout: Duration,
    /// For a request: from its connection to the end of the response.
    pub timeout: Duration,
    /// Whether messages about TLS say what to do, in terms of configuration keys.
    pub advice: Advice,
}

impl Settings {
    /// The limits of the commands: 10 s for connecting, five minutes for a request.
    pub fn new(tls: ClientConfig) -> Self {
        Self {
            tls,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(5 * 60),
            advice: Advice::None,
        }
    }

    /// A client that speaks HTTP/2 where the server offers it, else HTTP/1.1. Clones share its
    /// connections.
    ///
    /// # Errors
    /// `reqwest` refuses its configuration, which is a bug here.
    pub fn build(&self) -> reqwest::Result<reqwest::Client> {
        let mut tls = self.tls.clone();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(resolver::Resolver)
            .connect_timeout(self.connect_timeout)
            .timeout(self.timeout)
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .user_agent(USER_AGENT)
            .build()
    }
}

/// What is asked of a server, over TLS.
#[derive(Clone, Debug)]
pub struct Request {
    /// How.
    pub method: Method,
    /// Of whom.
    pub server: HostPort,
    /// The path, and the query if there is one.
    pub path: String,
    /// All but `Host` and `Content-Length`.
    pub headers: HeaderMap,
    /// May be empty.
    pub body: Bytes,
}

/// What the server answered.
#[derive(Clone, Debug)]
pub struct Response {
    /// How it went.
    pub status: StatusCode,
    /// What stands above the body.
    pub headers: HeaderMap,
    /// The body, or its first MiB.
    pub text: String,
}

/// Sends requests with small bodies and reads small responses. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    settings: Settings,
}

impl Client {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// As [`Settings::build`].
    pub fn new(settings: Settings) -> reqwest::Result<Self> {
        Ok(Self { http: settings.build()?, settings })
    }

    /// Sends a request and reads the response.
    ///
    /// # Errors
    /// There is no whole response in time. Whatever the server answers is no error.
    pub async fn send(&self, request: &Request) -> Result<Response, RequestError> {
        self.send_within(request, self.settings.timeout).await
    }

    /// The same, within `limit`.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_within(
        &self,
        request: &Request,
        limit: Duration,
    ) -> Result<Response, RequestError> {
        let server = &request.server;
        let limit = limit.min(self.settings.timeout);
        let failed =
            |error: reqwest::Error| RequestError::new(&error, server, &self.settings, limit);
        let url = format!("https://{server}{}", request.path);
        let url = Url::parse(&url).map_err(|error| RequestError::of_exchange(server, &error))?;
        let mut response = self
            .http
            .request(request.method.clone(), url)
            .headers(request.headers.clone())
            .body(request.body.clone())
            .timeout(limit)
            .send()
            .await
            .map_err(failed)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() < MAX_RESPONSE_BYTES {
                bytes.extend_from_slice(&chunk);
            }
        }
        bytes.truncate(MAX_RESPONSE_BYTES);
        let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        Ok(Response { status, headers, text })
    }
}

#[cfg(test)]
mod tests;
