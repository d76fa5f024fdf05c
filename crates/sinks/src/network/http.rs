//! The HTTP client of one sink.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_client::{Phase, Proxies, ProxyError, RequestError};
use reqwest::{Request, Url};
use tls::{Advice, ClientTls};

use super::{HttpAnswer, NetworkSettings, SecretHeader, error_class, secret::Secrets};
use crate::upload::{Verdict, note_error_class};

/// The timeout for name resolution, connecting and the TLS handshake together, unless the timeout
/// of a request is shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What to do when a proxy answers 407.
pub(super) const PROXY_CREDENTIALS: &str = "set the user name and the password of the proxy in HTTPS_PROXY or HTTP_PROXY, and restart the \
     daemon";

/// Sends the requests of one sink over HTTP, without redirects and cookies, and through the proxy of
/// the environment if there is one for the target.
///
/// The files of TLS and of secrets are read for the first request, and again after a failed
/// connection or refused credentials: an operator who replaces a file does not have to reload the
/// daemon.
#[derive(Debug)]
pub struct HttpSender {
    tls: ClientTls,
    timeout: Duration,
    secret_headers: Vec<SecretHeader>,
    /// The file with the value of `{secret}` in the URL.
    secret_in_url: Option<PathBuf>,
    session: Mutex<Option<Arc<Session>>>,
}

/// The HTTP client with its connections, and the contents of the files.
#[derive(Debug)]
pub(super) struct Session {
    http: reqwest::Client,
    settings: http_client::Settings,
    pub(super) secrets: Arc<Secrets>,
}

impl Session {
    fn new(settings: http_client::Settings, secrets: Arc<Secrets>) -> Result<Self, String> {
        let http = settings.build().map_err(|error| error.to_string())?;
        Ok(Self { http, settings, secrets })
    }

    /// A session with the same files and with connections of its own.
    pub(super) fn with_own_connections(&self) -> Result<Self, String> {
        Self::new(self.settings.clone(), Arc::clone(&self.secrets))
    }

    /// A session with the same connections and with the secrets of `other`.
    pub(super) fn with_secrets_of(&self, other: &Self) -> Self {
        let (http, settings) = (self.http.clone(), self.settings.clone());
        Self { http, settings, secrets: Arc::clone(&other.secrets) }
    }
}

/// A request that is ready to be sent, or the reason why it could not be prepared.
#[derive(Debug)]
pub struct HttpRequest(pub(super) Result<(Request, Arc<Session>), String>);

impl HttpRequest {
    /// The same request for another URL, for targets with several nodes.
    #[must_use]
    pub fn to(&self, url: Url) -> Self {
        let (request, session) = match &self.0 {
            Ok(prepared) => prepared,
            Err(why) => return Self(Err(why.clone())),
        };
        // Only a streamed body cannot be cloned.
        let copy = request.try_clone().ok_or_else(|| "the request has a streamed body".to_owned());
        Self(copy.map(|mut request| {
            *request.url_mut() = url;
            (request, Arc::clone(session))
        }))
    }
}

impl HttpSender {
    /// Creates the sender. Reads no file yet.
    pub fn new(network: &NetworkSettings, secret_headers: &[SecretHeader]) -> Self {
        Self {
            tls: network.tls.clone(),
            timeout: network.timeout,
            secret_headers: secret_headers.to_vec(),
            secret_in_url: None,
            session: Mutex::default(),
        }
    }

    /// Fills in `{secret}` in the URLs of requests, from the first line of a file.
    #[must_use]
    pub fn with_secret_in_url(self, file: Option<PathBuf>) -> Self {
        Self { secret_in_url: file, ..self }
    }

    /// Adds the secret headers. May read files, so call it in [`Target::encode`].
    ///
    /// [`Target::encode`]: crate::upload::Target::encode
    pub fn prepare(&self, request: Result<Request, String>) -> HttpRequest {
        request
            .and_then(|request| HttpRequest::of(request, self.session()?))
            .unwrap_or_else(|why| HttpRequest(Err(why)))
    }

    /// Sends a request.
    ///
    /// # Errors
    /// There is no response. The verdict contains the reason.
    pub async fn send(&self, HttpRequest(request): HttpRequest) -> Result<HttpAnswer, Verdict> {
        let (request, session) = request.map_err(unusable_file)?;
        self.exchange(request, &session, &session).await
    }

    /// Sends a request over the connections of `session`. `shared` is the session of this sender
    /// whose files the request was prepared with.
    pub(super) async fn exchange(
        &self,
        request: Request,
        session: &Arc<Session>,
        shared: &Arc<Session>,
    ) -> Result<HttpAnswer, Verdict> {
        let url = request.url().clone();
        match session.http.execute(request).await {
            Ok(response) => {
                let answer = HttpAnswer::new(response, Arc::clone(session));
                note_error_class(error_class::of_status(answer.status()));
                if answer.is_about_credentials() {
                    self.forget(shared);
                }
                Ok(answer)
            }
            Err(error) => {
                self.forget(shared);
                let error = RequestError::new(&error, &url, &session.settings, self.timeout);
                note_error_class(Some(error_class::of_error(&error)));
                Err(failed(&error))
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
        let secrets = Secrets::read(&self.secret_headers, self.secret_in_url.as_deref())
            .map_err(|error| error.message())?;
        let settings = http_client::Settings {
            tls: tls::client(&self.tls).map_err(|error| error.to_string())?,
            connect_timeout: CONNECT_TIMEOUT.min(self.timeout),
            timeout: self.timeout,
            advice: Advice::OnServer,
            proxies: Proxies::from_env()
                .map_err(|error| format!("{error}; {}", ProxyError::HINT))?,
        };
        Session::new(settings, Arc::new(secrets))
    }

    /// Drops the session, so that the next request reads the files again.
    fn forget(&self, session: &Arc<Session>) {
        let mut current = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, session)) {
            *current = None;
        }
    }
}

/// The verdict for a request that could not be prepared.
pub(crate) fn unusable_file(why: String) -> Verdict {
    let action = "fix the file or the setting; the sink reads the file again for its next attempt";
    Verdict::Alert { why, action: action.to_owned() }
}

/// The verdict for a request that got no response.
fn failed(error: &RequestError) -> Verdict {
    let why = error.to_string();
    if error.phase == Phase::Proxy && error.kind == Some(io::ErrorKind::PermissionDenied) {
        return Verdict::Alert { why, action: PROXY_CREDENTIALS.to_owned() };
    }
    Verdict::Retry { after: None, why }
}
