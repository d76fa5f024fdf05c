//! The closed lists that labels are taken from.

/// What became of a batch that was answered 200.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
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

impl Outcome {
    /// The word for metrics and answers.
    pub fn label(self) -> &'static str {
        Self::LABELS.get(self as usize).copied().unwrap_or_default()
    }

    pub(super) const LABELS: [&str; 5] =
        ["committed", "duplicate", "destination_check", "quarantined", "empty"];
}

/// Why a request or a connection was refused, or came to nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
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

impl Refusal {
    /// The word for metrics and the log.
    pub fn label(self) -> &'static str {
        Self::LABELS.get(self as usize).copied().unwrap_or_default()
    }

    /// How many there are.
    pub const COUNT: usize = Self::LABELS.len();

    /// How many of the labels, from the first, are of requests: only these know an endpoint.
    pub(super) const OF_REQUESTS: usize = Self::Disconnected as usize + 1;

    pub(super) const LABELS: [&str; 17] = [
        "malformed",
        "unauthorized",
        "forbidden",
        "not_found",
        "method_not_allowed",
        "body_timeout",
        "too_large",
        "unsupported_encoding",
        "unavailable",
        "disconnected",
        "tls_handshake",
        "too_many_connections",
        "address_not_allowed",
        "evicted",
        "flooded",
        "answer_timeout",
        "proxy_header",
    ];
}

/// Stands for every dataset that is in no list: its name came from a client.
pub(super) const OTHER: &str = "other";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_variant_has_the_last_label() {
        assert_eq!(Outcome::LABELS[Outcome::Empty as usize], "empty");
        assert_eq!(Outcome::Empty as usize, Outcome::LABELS.len() - 1);
        assert_eq!(Refusal::LABELS[Refusal::BodyTimeout as usize], "body_timeout");
        assert_eq!(Refusal::LABELS[Refusal::TlsHandshake as usize], "tls_handshake");
        assert_eq!(Refusal::ProxyHeader as usize, Refusal::LABELS.len() - 1);
    }
}
