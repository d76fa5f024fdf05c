//! The closed lists of label values, and counters for them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::decode::RejectReason;

/// A label value from a closed list.
pub(super) trait Label: Copy + Eq {
    /// Returns the text in the exposition.
    fn label(self) -> &'static str;
}

/// A counter for each value of a closed list.
#[derive(Debug)]
pub(super) struct Counters<L>(Box<[(L, AtomicU64)]>);

impl<L: Label> Counters<L> {
    pub(super) fn new(list: impl IntoIterator<Item = L>) -> Self {
        Self(list.into_iter().map(|label| (label, AtomicU64::new(0))).collect())
    }

    /// Adds to the counter of `label`. Does nothing if the list does not contain it.
    pub(super) fn add(&self, label: L, amount: u64) {
        if let Some((_, count)) = self.0.iter().find(|(known, _)| *known == label) {
            count.fetch_add(amount, Relaxed);
        }
    }

    /// Returns the labels in the order of the list, and their counts.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(label, count)| (label.label(), count.load(Relaxed)))
    }
}

/// The result of a batch that was answered 200.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BatchOutcome {
    /// Its records are in the spool.
    Committed,
    /// It was committed before.
    Duplicate,
    /// It was a test of the destination by Cloudflare.
    DestinationCheck,
    /// It contained no valid record, and is in quarantine.
    Quarantined,
    /// It contained no record.
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

/// Why a request or a connection was refused or failed.
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
    /// The client disconnected before the end of the body.
    Disconnected,
    /// The TLS handshake failed.
    TlsHandshake,
    /// The connection was closed at once: its address had too many connections.
    TooManyConnections,
    /// The connection was closed at once: no `allow_from` contains its address.
    AddressNotAllowed,
    /// The connection had no verified sender, and was closed to make room for another.
    Evicted,
    /// The connection had no verified sender, and too many concurrent requests.
    Flooded,
    /// The client did not read a response in time.
    AnswerTimeout,
    /// The connection came from a proxy, and did not begin with a PROXY protocol header.
    ProxyHeader,
}

impl RefusalReason {
    /// The number of reasons.
    pub const COUNT: usize = Self::OF_REQUESTS.len() + Self::OF_CONNECTIONS.len();

    /// The reasons for requests, which have an endpoint.
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

    /// Returns the word for metrics and the log.
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

/// Why a record or a body was quarantined.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum QuarantineReason {
    /// An invalid record.
    Record(RejectReason),
    /// A whole body that cannot be decoded.
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
    fn the_lists_are_complete() {
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
