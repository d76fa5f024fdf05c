//! Why a request has no response, in words that an operator can act on.

use std::{error::Error, fmt, io, iter, time::Duration};

use tls::Advice;

use crate::{HostPort, Settings, steps::LookupError};

/// What is done for a request, in order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// The name's addresses.
    Resolve,
    /// TCP.
    Connect,
    /// TLS, with the check of the certificate.
    Handshake,
    /// HTTP.
    Exchange,
}

impl Phase {
    /// As in "connecting to HOST: why".
    fn gerund(self) -> &'static str {
        match self {
            Self::Resolve => "resolving",
            Self::Connect => "connecting to",
            Self::Handshake => "TLS handshake with",
            Self::Exchange => "talking to",
        }
    }
}

/// Why there is no response: the phase, the server and the cause.
#[derive(Debug)]
pub struct RequestError {
    /// Which phase failed. A server that does not finish the TLS handshake fails in
    /// [`Phase::Connect`] where the two are one step.
    pub phase: Phase,
    /// What failed, without the phase and the server.
    pub cause: String,
    /// What the system reported; [`io::ErrorKind::TimedOut`] is also one of our deadlines.
    pub kind: Option<io::ErrorKind>,
    server: String,
}

impl RequestError {
    /// An error of a client that was built from `settings`. `limit`: how long the request might take.
    pub fn new(
        error: &reqwest::Error,
        server: &HostPort,
        settings: &Settings,
        limit: Duration,
    ) -> Self {
        if let Some(lookup) = find::<LookupError>(error) {
            return Self::of_lookup(&server.host, lookup);
        }
        let system = io_error(error);
        // `hyper-util` wraps a deadline for one of several addresses in an `io::Error`.
        let is_deadline =
            error.is_timeout() && system.is_none_or(|system| system.raw_os_error().is_none());
        match (error.is_connect(), is_deadline) {
            (false, true) => return Self::late(Phase::Exchange, server, limit),
            (true, true) => return Self::late(Phase::Connect, server, settings.connect_timeout),
            (false, false) => return Self::of_exchange(server, error),
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

    /// A failure of HTTP on a connection that is there.
    pub fn of_exchange(server: &HostPort, error: &(dyn Error + 'static)) -> Self {
        let kind = io_error(error).map(io::Error::kind);
        Self::of(Phase::Exchange, server, &causes(error)).with_kind(kind)
    }

    /// A deadline that passed.
    pub fn late(phase: Phase, server: &impl fmt::Display, limit: Duration) -> Self {
        let cause = format!("no answer within {} s", limit.as_secs());
        Self::of(phase, server, &cause).with_kind(Some(io::ErrorKind::TimedOut))
    }

    /// Whether a deadline has passed, one of ours or one of the system.
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

/// An error and all that is behind it, also what an [`io::Error`] wraps.
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

/// What the system, or rustls, reported: the innermost of errors that wrap each other.
fn io_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    chain(error).filter_map(|error| error.downcast_ref()).last()
}

/// Whether it was TLS that could not be set up. `hyper-rustls` wraps its errors in an [`io::Error`], and
/// `hyper-util` those of TCP in a type of its own.
fn is_of_tls(error: &reqwest::Error) -> bool {
    let connect = find::<hyper_util::client::legacy::Error>(error);
    connect.and_then(Error::source).is_some_and(<dyn Error>::is::<io::Error>)
}

/// The text of an error. That of rustls for a connection that was cut off is a link to its manual, and is
/// replaced.
fn in_words(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    if text.contains("without sending TLS close_notify") {
        return "the other side closed it without an answer (no TLS close_notify)".to_owned();
    }
    text
}

/// An error and what is behind it. The outer errors of `reqwest` and `hyper-util` only report that a
/// request failed, and with which URL.
fn causes(error: &(dyn Error + 'static)) -> String {
    let is_outer = |error: &(dyn Error + 'static)| {
        error.is::<reqwest::Error>() || error.is::<hyper_util::client::legacy::Error>()
    };
    let (mut next, mut texts) = (Some(error), Vec::new());
    while let Some(error) = next {
        next = error.source();
        if next.is_none() || !is_outer(error) {
            texts.push(in_words(error));
        }
    }
    texts.join(": ")
}
