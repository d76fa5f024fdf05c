//! The HTTP client of one sink.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_client::{HostPort, RequestError};
use reqwest::{Request, Response, StatusCode, Url, header::HeaderMap};
use tls::{Advice, ClientTls};

use super::{HttpAnswer, NetworkSettings, SecretHeader, secret::read_header};
use crate::upload::Verdict;

/// For finding the address, connecting and the TLS handshake together, if a request may take longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends the requests of one sink over HTTP, without proxies, redirects and cookies.
///
/// The files of TLS and secrets are read for the first request, and again after a connection failed or
/// credentials were refused: an operator who replaces a file need not reload the daemon.
#[derive(Debug)]
pub struct HttpSender {
    tls: ClientTls,
    timeout: Duration,
    secret_headers: Vec<SecretHeader>,
    session: Mutex<Option<Arc<Session>>>,
}

/// What was read from files, and the connections.
#[derive(Debug)]
pub(super) struct Session {
    http: reqwest::Client,
    settings: http_client::Settings,
    pub(super) secrets: HeaderMap,
}

/// A request that is ready to be sent, or why there is none.
#[derive(Debug)]
pub struct HttpRequest(Result<(Request, Arc<Session>), String>);

impl HttpSender {
    /// Reads no file yet.
    pub fn new(network: &NetworkSettings, secret_headers: &[SecretHeader]) -> Self {
        Self {
            tls: network.tls.clone(),
            timeout: network.timeout,
            secret_headers: secret_headers.to_vec(),
            session: Mutex::default(),
        }
    }

    /// Adds the secret headers. May read files, so it belongs into [`Target::encode`].
    ///
    /// [`Target::encode`]: crate::upload::Target::encode
    pub fn prepare(&self, request: Result<Request, String>) -> HttpRequest {
        HttpRequest(request.and_then(|mut request| {
            let session = self.session()?;
            request.headers_mut().extend(session.secrets.clone());
            Ok((request, session))
        }))
    }

    /// Sends a request.
    ///
    /// # Errors
    /// There is no answer. The verdict says why.
    pub async fn send(&self, HttpRequest(request): HttpRequest) -> Result<HttpAnswer, Verdict> {
        let (request, session) = request.map_err(|why| Verdict::Alert {
            why,
            action: "correct the file or the setting; the sink reads it again for its next attempt"
                .to_owned(),
        })?;
        let url = request.url().clone();
        match session.http.execute(request).await {
            Ok(response) => {
                if is_about_credentials(&response) {
                    self.forget(&session);
                }
                Ok(HttpAnswer::new(response, session))
            }
            Err(error) => {
                self.forget(&session);
                let error =
                    RequestError::new(&error, &server(&url), &session.settings, self.timeout);
                Err(Verdict::Retry { after: None, why: error.to_string() })
            }
        }
    }

    fn session(&self) -> Result<Arc<Session>, String> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = &*session {
            return Ok(Arc::clone(session));
        }
        let new = Arc::new(self.open()?);
        *session = Some(Arc::clone(&new));
        Ok(new)
    }

    fn open(&self) -> Result<Session, String> {
        let mut secrets = HeaderMap::new();
        for SecretHeader { name, file } in &self.secret_headers {
            secrets.insert(name, read_header(file).map_err(|error| error.message())?);
        }
        let settings = http_client::Settings {
            tls: tls::client(&self.tls).map_err(|error| error.to_string())?,
            connect_timeout: CONNECT_TIMEOUT.min(self.timeout),
            timeout: self.timeout,
            advice: Advice::OnServer,
        };
        let http = settings.build().map_err(|error| error.to_string())?;
        Ok(Session { http, settings, secrets })
    }

    /// Has the files read again for the next request.
    fn forget(&self, session: &Arc<Session>) {
        let mut current = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, session)) {
            *current = None;
        }
    }
}

fn is_about_credentials(response: &Response) -> bool {
    let status = response.status();
    matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
    )
}

/// The server of a URL.
fn server(url: &Url) -> HostPort {
    let host = url.host_str().unwrap_or_default();
    HostPort {
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: url.port_or_known_default().unwrap_or_default(),
    }
}
