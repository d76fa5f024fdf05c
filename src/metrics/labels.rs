//! The closed lists that labels are taken from, and a counter for each of their values.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::decode::RejectReason;

/// A value of a label that is taken from a closed list.
pub(super) trait Label: Copy + Eq {
    /// As the exposition has it.
    fn label(self) -> &'static str;
}

/// A counter for each value of a closed list.
#[derive(Debug)]
pub(super) struct Counters<L>(Box<[(L, AtomicU64)]>);

impl<L: Label> Counters<L> {
    pub(super) fn new(list: impl IntoIterator<Item = L>) -> Self {
        Self(list.into_iter().map(|label| (label, AtomicU64::new(0))).collect())
    }

    /// Counts nothing for a value that is not in the list.
    pub(super) fn add(&self, label: L, amount: u64) {
        if let Some((_, count)) = self.0.iter().find(|(known, _)| *known == label) {
            count.fetch_add(amount, Relaxed);
        }
    }

    /// The labels in the order of the list, and how often each was counted.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(label, count)| (label.label(), count.load(Relaxed)))
    }
}

/// What became of a batch that was answered 200.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BatchOutcome {
    /// Its records are in the spool.
    Committed,
    /// It was committed before.
    Duplicate,
    /// Cloudflare asked whether the destination works.
    DestinationCheck,
    /// No record of it could be kept; all of it is in quarantine.
    Quarantined,
    /// It held no record.
    Empty,
}

impl BatchOutcome {
    pub(super) const ALL: [Self; 5] =
        [Self::Committed, Self::Duplicate, Self::DestinationCheck, Self::Quarantined, Self::Empty];
}

impl Label for BatchOutcome {
    fn label(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Duplicate => "duplicate",
            Self::DestinationCheck => "destination_check",
            Self::Quarantined => "quarantined",
            Self::Empty => "empty",
        }
    }
}

/// Why a request or a connection was refused, or came to nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefusalReason {
    /// 400
    Malformed,
    /// 401
    Unauthorized,
    /// 403
    Forbidden,
    /// 404
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 408
    BodyTimeout,
    /// 413
    TooLarge,
    /// 415
    UnsupportedEncoding,
    /// 503
    Unavailable,
    /// The client hung up before the body was complete.
    Disconnected,
    /// There was never a request: no TLS handshake.
    TlsHandshake,
    /// A connection that was closed at once: its address has as many as it may have.
    TooManyConnections,
    /// A connection that was closed at once: its address is in no `allow_from`.
    AddressNotAllowed,
    /// A connection without a verified sender that made room for another.
    Evicted,
    /// A connection without a verified sender that had too many requests at a time.
    Flooded,
    /// The client did not take an answer.
    AnswerTimeout,
    /// A connection from a proxy that did not begin with a PROXY protocol header.
    ProxyHeader,
}

impl RefusalReason {
    /// How many there are.
    pub const COUNT: usize = Self::OF_REQUESTS.len() + Self::OF_CONNECTIONS.len();

    /// Of requests: only these know an endpoint.
    pub(super) const OF_REQUESTS: [Self; 10] = [
        Self::Malformed,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::BodyTimeout,
        Self::TooLarge,
        Self::UnsupportedEncoding,
        Self::Unavailable,
        Self::Disconnected,
    ];

    const OF_CONNECTIONS: [Self; 7] = [
        Self::TlsHandshake,
        Self::TooManyConnections,
        Self::AddressNotAllowed,
        Self::Evicted,
        Self::Flooded,
        Self::AnswerTimeout,
        Self::ProxyHeader,
    ];

    pub(super) fn all() -> impl Iterator<Item = Self> {
        Self::OF_REQUESTS.into_iter().chain(Self::OF_CONNECTIONS)
    }

    /// The word for metrics and the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BodyTimeout => "body_timeout",
            Self::TooLarge => "too_large",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::Unavailable => "unavailable",
            Self::Disconnected => "disconnected",
            Self::TlsHandshake => "tls_handshake",
            Self::TooManyConnections => "too_many_connections",
            Self::AddressNotAllowed => "address_not_allowed",
            Self::Evicted => "evicted",
            Self::Flooded => "flooded",
            Self::AnswerTimeout => "answer_timeout",
            Self::ProxyHeader => "proxy_header",
        }
    }
}

impl Label for RefusalReason {
    fn label(self) -> &'static str {
        self.label()
    }
}

/// Why something went to quarantine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum QuarantineReason {
    /// A record that is none.
    Record(RejectReason),
    /// A whole body that could not be read.
    UndecodableBody,
}

impl QuarantineReason {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        RejectReason::ALL.into_iter().map(Self::Record).chain([Self::UndecodableBody])
    }
}

impl Label for QuarantineReason {
    fn label(self) -> &'static str {
        match self {
            Self::Record(reason) => reason.label(),
            Self::UndecodableBody => "undecodable_body",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_whole() {
        let refusals: Vec<_> = RefusalReason::all().map(|reason| reason as usize).collect();
        assert_eq!(refusals, (0..=RefusalReason::ProxyHeader as usize).collect::<Vec<_>>());
        let outcomes: Vec<_> = BatchOutcome::ALL.map(|outcome| outcome as usize).into();
        assert_eq!(outcomes, (0..=BatchOutcome::Empty as usize).collect::<Vec<_>>());
    }

    #[test]
    fn a_value_outside_the_list_counts_nothing() {
        let counters = Counters::new([BatchOutcome::Committed, BatchOutcome::Empty]);
        counters.add(BatchOutcome::Empty, 2);
        counters.add(BatchOutcome::Duplicate, 1);
        assert_eq!(counters.counts().collect::<Vec<_>>(), [("committed", 0), ("empty", 2)]);
    }
}
