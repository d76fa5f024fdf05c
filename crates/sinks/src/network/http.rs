//! The HTTP client of one sink.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http_client::{Phase, Proxies, ProxyError, RequestError};
use reqwest::{Request, Url};
use tls::{Advice, ClientTls};

use super::{HttpAnswer, NetworkSettings, SecretHeader, error_class, secret::Secrets};
use crate::upload::{Verdict, note_error_class};

/// The timeout for name resolution, connecting and the TLS handshake together, unless the timeout
/// of a request is shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum age of a client. A busy connection may last forever: with a new client, the name of the
/// target is resolved again, so that a target can move and its load balancer can shift load.
const MAX_AGE: Duration = Duration::from_secs(5 * 60);

/// What to do when a proxy answers 407.
pub(super) const PROXY_CREDENTIALS: &str = "set the user name and the password of the proxy in HTTPS_PROXY or HTTP_PROXY, and restart the \
     daemon";

/// Sends the requests of one sink over HTTP, without redirects and cookies, and through the proxy of
/// the environment if there is one for the target.
///
/// The files of TLS and of secrets are read for the first request, and again after a failed
/// connection or refused credentials: an operator who replaces a file does not have to reload the
/// daemon. Connections are replaced after five minutes, without reading the files.
#[derive(Debug)]
pub struct HttpSender {
    tls: ClientTls,
    timeout: Duration,
    secret_headers: Vec<SecretHeader>,
    /// The file with the value of `{secret}` in the URL.
    secret_in_url: Option<PathBuf>,
    max_age: Duration,
    session: Mutex<Option<Arc<Session>>>,
}

/// The HTTP client with its connections, and the contents of the files.
#[derive(Debug)]
pub(super) struct Session {
    http: reqwest::Client,
    settings: http_client::Settings,
    pub(super) secrets: Arc<Secrets>,
    created: Instant,
}

impl Session {
    fn new(settings: http_client::Settings, secrets: Arc<Secrets>) -> Result<Self, String> {
        let http = settings.build().map_err(|error| error.to_string())?;
        Ok(Self { http, settings, secrets, created: Instant::now() })
    }

    /// A session with the same files and with connections of its own.
    pub(super) fn with_own_connections(&self) -> Result<Self, String> {
        Self::new(self.settings.clone(), Arc::clone(&self.secrets))
    }

    /// Whether its connections should be replaced.
    pub(super) fn is_old(&self) -> bool {
        self.created.elapsed() >= MAX_AGE
    }

    /// A session with the same connections and with the secrets of `other`.
    pub(super) fn with_secrets_of(&self, other: &Self) -> Self {
        let (http, settings) = (self.http.clone(), self.settings.clone());
        let secrets = Arc::clone(&other.secrets);
        Self { http, settings, secrets, created: self.created }
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
            max_age: MAX_AGE,
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
        let new = match &*session {
            Some(session) if session.created.elapsed() < self.max_age => {
                return Ok(Arc::clone(session));
            }
            Some(session) => session.with_own_connections()?,
            None => self.open()?,
        };
        let new = Arc::new(new);
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

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        sync::mpsc::{Receiver, sync_channel},
        thread,
    };

    use reqwest::Method;

    use super::*;
    use crate::network::{Batch, Compression};

    /// What happens to the connections of a server, by their numbers.
    #[derive(Debug, Eq, PartialEq)]
    enum Seen {
        Request(usize),
        Closed(usize),
    }

    /// Starts a server that answers every request.
    fn server() -> (Url, Receiver<Seen>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let (sender, seen) = sync_channel(100);
        thread::spawn(move || {
            for (number, stream) in (1..).zip(listener.incoming().flatten()) {
                let sender = sender.clone();
                thread::spawn(move || {
                    while read_head(&stream) {
                        sender.send(Seen::Request(number)).unwrap();
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                        (&stream).write_all(answer).unwrap();
                    }
                    // The test may have ended.
                    sender.send(Seen::Closed(number)).ok();
                });
            }
        });
        (url, seen)
    }

    /// Returns whether there was another request.
    fn read_head(mut stream: &TcpStream) -> bool {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read(&mut byte).unwrap_or(0) == 0 {
                return false;
            }
            head.extend(byte);
        }
        true
    }

    fn sender(max_age: Duration) -> HttpSender {
        let network = NetworkSettings {
            timeout: Duration::from_secs(60),
            in_flight: 1,
            compression: Compression::None,
            batch: Batch { max_bytes: 1 << 20, max_records: 1 },
            tls: ClientTls::default(),
        };
        HttpSender { max_age, ..HttpSender::new(&network, &[]) }
    }

    async fn send(sender: &HttpSender, url: &Url) {
        let request = sender.prepare(Ok(Request::new(Method::POST, url.clone())));
        assert_eq!(sender.send(request).await.unwrap().verdict().await, Verdict::Delivered);
    }

    /// The connections are closed by a task while the test waits.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn an_unused_connection_is_closed_before_the_server_closes_it() {
        let (url, seen) = server();
        let sender = sender(MAX_AGE);
        // The client may open another connection before the last one is back in its pool, and close
        // it unused.
        let next_request = || loop {
            if let Seen::Request(number) = seen.recv().unwrap() {
                break number;
            }
        };
        let mut last = 0;
        let reused = loop {
            send(&sender, &url).await;
            let number = next_request();
            if number == last {
                break number;
            }
            last = number;
        };
        while seen.recv_timeout(Duration::from_secs(60)).unwrap() != Seen::Closed(reused) {}
        send(&sender, &url).await;
        assert!(next_request() > reused);
    }

    #[tokio::test]
    async fn an_old_client_is_replaced_by_one_with_the_same_files() {
        let dir = tempfile::tempdir().unwrap();
        let (url, seen) = server();
        let key = dir.path().join("token.txt");
        std::fs::write(&key, "a-token").unwrap();
        let sender = HttpSender {
            secret_headers: vec![SecretHeader::bearer(key.clone())],
            ..sender(Duration::ZERO)
        };
        send(&sender, &url).await;
        // The operator replaces it later.
        std::fs::remove_file(&key).unwrap();
        send(&sender, &url).await;
        let requests: Vec<_> =
            seen.try_iter().filter(|seen| matches!(seen, Seen::Request(_))).collect();
        assert_eq!(requests, [Seen::Request(1), Seen::Request(2)]);
    }
}
