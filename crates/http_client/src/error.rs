//! The error of a request that got no response, with a text that an operator can act on.

use std::{error::Error, fmt, io, iter, time::Duration};

use reqwest::Url;
use tls::Advice;

use crate::{HostPort, Settings, steps::LookupError};

/// A phase of a request, in order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Connecting to the proxy, or asking it for a connection to the server.
    Proxy,
    /// Resolving the server's name.
    Resolve,
    /// Connecting over TCP.
    Connect,
    /// The TLS handshake, including the verification of the certificate.
    Handshake,
    /// Sending the HTTP request and receiving the response.
    Exchange,
}

impl Phase {
    /// The beginning of an error such as "connecting to HOST:PORT: CAUSE".
    fn gerund(self) -> &'static str {
        match self {
            Self::Proxy => "connecting to the proxy",
            Self::Resolve => "resolving",
            Self::Connect => "connecting to",
            Self::Handshake => "TLS handshake with",
            Self::Exchange => "talking to",
        }
    }
}

/// An error of a request: the phase, the server and the cause.
#[derive(Debug)]
pub struct RequestError {
    /// The phase that failed. A TLS handshake that does not finish counts as [`Phase::Connect`] in
    /// [`crate::Client`], which has one deadline for both.
    pub phase: Phase,
    /// The cause, without the phase and the server.
    pub cause: String,
    /// The kind of the system error. [`io::ErrorKind::TimedOut`] also stands for our own deadlines.
    pub kind: Option<io::ErrorKind>,
    server: String,
}

impl RequestError {
    /// Converts an error of a request to `url`, by a client that was built from `settings`. `limit` is
    /// the deadline of the request.
    pub fn new(error: &reqwest::Error, url: &Url, settings: &Settings, limit: Duration) -> Self {
        let server = &HostPort::of(url);
        let Some(proxy) = settings.proxies.of(url) else {
            return Self::direct(error, server, settings, limit);
        };
        if let Some(error) = Self::of_proxy(error, url) {
            return Self { server: format!("{proxy} for {server}"), ..error };
        }
        let error = Self::direct(error, server, settings, limit);
        Self { server: format!("{server} through the proxy {proxy}"), ..error }
    }

    /// An error of a request through a proxy, if it concerns the proxy.
    fn of_proxy(error: &reqwest::Error, url: &Url) -> Option<Self> {
        if !error.is_connect() || error.is_timeout() {
            return None;
        }
        // The type of these errors is private.
        let text = |error: &(dyn Error + 'static)| {
            error.to_string().strip_prefix("tunnel error: ").map(ToOwned::to_owned)
        };
        let (cause, kind) = match chain(error).find_map(text).as_deref() {
            Some("proxy authorization required") => (
                "it requires a user name and a password, or others (407)".to_owned(),
                Some(io::ErrorKind::PermissionDenied),
            ),
            Some("unsuccessful") => {
                ("it refuses to connect to that server, or cannot".to_owned(), None)
            }
            Some("unexpected end of file") => {
                ("it closed the connection instead of an answer to CONNECT".to_owned(), None)
            }
            // Plain HTTP has no tunnel.
            None if url.scheme() == "https" => return None,
            _ => match (find::<LookupError>(error), io_error(error)) {
                (Some(lookup), _) => (lookup.to_string(), None),
                (None, Some(system)) => (system.to_string(), Some(system.kind())),
                (None, None) => (causes(error), None),
            },
        };
        Some(Self::of(Phase::Proxy, "", &cause).with_kind(kind))
    }

    fn direct(
        error: &reqwest::Error,
        server: &HostPort,
        settings: &Settings,
        limit: Duration,
    ) -> Self {
        if let Some(lookup) = find::<LookupError>(error) {
            return Self::of_lookup(&server.host, lookup);
        }
        let system = io_error(error);
        // If a server has several addresses, `hyper-util` wraps the deadline of one in an `io::Error`.
        let is_deadline =
            error.is_timeout() && system.is_none_or(|system| system.raw_os_error().is_none());
        match (error.is_connect(), is_deadline) {
            (false, true) => return Self::late(Phase::Exchange, server, limit),
            (true, true) => return Self::late(Phase::Connect, server, settings.connect_timeout),
            // In TLS 1.3, a server that refuses the client's certificate reports it after the
            // handshake.
            (false, false) => match system.filter(|_| is_alert(error)) {
                Some(system) => return Self::of_handshake(server, system, settings.advice),
                None => return Self::of_exchange(server, error),
            },
            (true, false) => {}
        }
        match system {
            Some(system) if is_of_tls(error) => Self::of_handshake(server, system, settings.advice),
            Some(system) => Self::of(Phase::Connect, server, system).with_kind(Some(system.kind())),
            None => Self::of(Phase::Connect, server, &causes(error)),
        }
    }

    pub(super) fn of(
        phase: Phase,
        server: &(impl fmt::Display + ?Sized),
        cause: &(impl fmt::Display + ?Sized),
    ) -> Self {
        Self { phase, cause: cause.to_string(), kind: None, server: server.to_string() }
    }

    pub(super) fn of_lookup(host: &str, error: &LookupError) -> Self {
        let kind = matches!(error, LookupError::Late(_)).then_some(io::ErrorKind::TimedOut);
        Self::of(Phase::Resolve, host, error).with_kind(kind)
    }

    pub(super) fn of_handshake(server: &HostPort, error: &io::Error, advice: Advice) -> Self {
        let cause = tls::explain_io(error, advice);
        Self::of(Phase::Handshake, server, &cause).with_kind(Some(error.kind()))
    }

    /// An error of HTTP on an established connection.
    pub fn of_exchange(server: &HostPort, error: &(dyn Error + 'static)) -> Self {
        let kind = io_error(error).map(io::Error::kind);
        Self::of(Phase::Exchange, server, &causes(error)).with_kind(kind)
    }

    /// An error for a deadline of `limit` that has passed.
    pub fn late(phase: Phase, server: &impl fmt::Display, limit: Duration) -> Self {
        let cause = format!("no answer within {} s", limit.as_secs());
        Self::of(phase, server, &cause).with_kind(Some(io::ErrorKind::TimedOut))
    }

    /// Whether a deadline has passed, ours or one of the system.
    pub fn is_late(&self) -> bool {
        self.kind == Some(io::ErrorKind::TimedOut)
    }

    pub(super) fn with_kind(self, kind: Option<io::ErrorKind>) -> Self {
        Self { kind, ..self }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.phase.gerund(), self.server, self.cause)
    }
}

impl Error for RequestError {}

/// An error and its sources, including errors wrapped in an [`io::Error`].
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error| inner(*error))
}

fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// The innermost [`io::Error`]: the one that the system or rustls reported.
fn io_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    chain(error).filter_map(|error| error.downcast_ref()).last()
}

/// Whether a failed connection failed in the TLS handshake. `hyper-rustls` wraps errors of TLS in an
/// [`io::Error`]; `hyper-util` wraps errors of TCP in its own type.
fn is_of_tls(error: &reqwest::Error) -> bool {
    let connect = find::<hyper_util::client::legacy::Error>(error);
    connect.and_then(Error::source).is_some_and(<dyn Error>::is::<io::Error>)
}

/// Whether the server reported a failed handshake or another error of TLS.
fn is_alert(error: &reqwest::Error) -> bool {
    let tls = find::<rustls::Error>(error);
    tls.is_some_and(|error| matches!(error, rustls::Error::AlertReceived(_)))
}

/// The text of one error. For a connection that was cut off, rustls prints a link to its manual, which
/// is replaced.
fn text(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    if text.contains("without sending TLS close_notify") {
        return "the server closed the connection without an answer (no TLS close_notify)"
            .to_owned();
    }
    text
}

/// The texts of an error and its sources. The outer errors of `reqwest` and `hyper-util` are left out:
/// they only report that a request failed, and its URL.
fn causes(error: &(dyn Error + 'static)) -> String {
    let is_outer = |error: &(dyn Error + 'static)| {
        error.is::<reqwest::Error>() || error.is::<hyper_util::client::legacy::Error>()
    };
    let (mut next, mut texts) = (Some(error), Vec::new());
    while let Some(error) = next {
        next = error.source();
        if next.is_none() || !is_outer(error) {
            texts.push(text(error));
        }
    }
    texts.join(": ")
}
