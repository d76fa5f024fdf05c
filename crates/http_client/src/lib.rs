//! The HTTP client of the daemon and of the commands: `reqwest` with our TLS configuration and error
//! messages.
//!
//! Redirects and cookies are disabled: a request goes only to the server in its URL, directly or
//! through one of [`Proxies`]. [`steps`] offers the single steps of a connection, for `doctor` and `cert show`, which
//! report on each step, and for `quarantine replay`, which sends bytes before the TLS handshake.

mod blocking;
mod error;
mod host_port;
mod proxy;
mod resolver;
pub mod retry;
pub mod steps;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use hyper_util::client::legacy::connect::HttpInfo;
use reqwest::{Method, StatusCode, Url, header::HeaderMap, redirect};
use rustls::ClientConfig;
use tls::Advice;

pub use self::{
    blocking::BlockingClient,
    error::{Phase, RequestError},
    host_port::HostPort,
    proxy::{Proxies, ProxyError},
};

/// The default `User-Agent` header.
pub const USER_AGENT: &str = concat!("logpushd/", env!("CARGO_PKG_VERSION"));

/// The maximum number of bytes stored of a response's body. The rest is read and discarded.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// How long an unused connection is kept: less than servers keep theirs (5 s in Node.js, Uvicorn and
/// Apache httpd, more in others). A request that meets the end of its connection fails, unless nothing
/// of it was sent.
const MAX_IDLE: Duration = Duration::from_secs(4);

/// The settings of a [`Client`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// The trusted authorities and the client certificate. [`Self::build`] sets the ALPN protocols.
    pub tls: ClientConfig,
    /// The deadline for name resolution, TCP connection and TLS handshake together.
    pub connect_timeout: Duration,
    /// The deadline for a request, from connecting to the end of the response.
    pub timeout: Duration,
    /// Whether TLS errors include advice that names configuration keys.
    pub advice: Advice,
    /// The proxies to send requests through.
    pub proxies: Proxies,
}

impl Settings {
    /// The defaults of the commands: 10 s to connect, 5 minutes for a request, no proxy.
    pub fn new(tls: ClientConfig) -> Self {
        Self {
            tls,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(5 * 60),
            advice: Advice::None,
            proxies: Proxies::default(),
        }
    }

    /// Builds a client that uses HTTP/2 if the server offers it, else HTTP/1.1. Clones share a
    /// connection pool.
    ///
    /// # Errors
    /// `reqwest` rejects the configuration, which is a defect in this crate.
    pub fn build(&self) -> reqwest::Result<reqwest::Client> {
        let mut tls = self.tls.clone();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(resolver::Resolver)
            .connect_timeout(self.connect_timeout)
            .timeout(self.timeout)
            .pool_idle_timeout(MAX_IDLE)
            .redirect(redirect::Policy::none())
            .referer(false)
            .user_agent(USER_AGENT);
        self.proxies.apply_to(builder).build()
    }
}

/// The local address of the connection on which a response arrived. Another connection has another
/// one.
pub fn local_address(response: &reqwest::Response) -> Option<SocketAddr> {
    response.extensions().get::<HttpInfo>().map(HttpInfo::local_addr)
}

/// A request over HTTPS.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The server, over TLS.
    pub server: HostPort,
    /// The path and the query.
    pub path: String,
    /// The headers, except `Host` and `Content-Length`.
    pub headers: HeaderMap,
    /// The body; may be empty.
    pub body: Bytes,
}

/// A server's response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, or its first MiB, without trailing white space. Invalid UTF-8 is replaced.
    pub text: String,
}

/// Sends requests with small bodies and reads small responses. Clones share a connection pool.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    settings: Settings,
}

impl Client {
    /// Builds a client. It connects with the first request.
    ///
    /// # Errors
    /// See [`Settings::build`].
    pub fn new(settings: Settings) -> reqwest::Result<Self> {
        Ok(Self { http: settings.build()?, settings })
    }

    /// Sends a request and reads the response.
    ///
    /// # Errors
    /// The response is incomplete or late. A response with an error status is not an error.
    pub async fn send(&self, request: &Request) -> Result<Response, RequestError> {
        self.send_within(request, self.settings.timeout).await
    }

    /// Sends a request and reads the response within `limit`.
    ///
    /// # Errors
    /// See [`Self::send`].
    pub async fn send_within(
        &self,
        request: &Request,
        limit: Duration,
    ) -> Result<Response, RequestError> {
        let server = &request.server;
        let limit = limit.min(self.settings.timeout);
        let url = format!("https://{server}{}", request.path);
        let url = Url::parse(&url).map_err(|error| RequestError::of_exchange(server, &error))?;
        let failed = |error: reqwest::Error| RequestError::new(&error, &url, &self.settings, limit);
        let mut response = self
            .http
            .request(request.method.clone(), url.clone())
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
