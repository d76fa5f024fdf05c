//! The paths of Splunk's HTTP Event Collector (HEC), after the prefix of an endpoint.

/// The prefix of Splunk.
pub(super) const HEC_PREFIX: &str = "/services/collector";

/// The purpose of a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HecPath {
    /// Receives events: concatenated JSON objects with envelopes.
    Event,
    /// Receives records without envelopes.
    Raw,
    /// Reports whether batches are accepted.
    Health,
    /// Would report the state of earlier requests, which logpushd does not support.
    Ack,
}

/// The paths after the prefix.
pub const HEC_PATHS: [(&str, HecPath); 9] = [
    ("", HecPath::Event),
    ("/event", HecPath::Event),
    ("/event/1.0", HecPath::Event),
    ("/raw", HecPath::Raw),
    ("/raw/1.0", HecPath::Raw),
    ("/health", HecPath::Health),
    ("/health/1.0", HecPath::Health),
    ("/ack", HecPath::Ack),
    ("/ack/1.0", HecPath::Ack),
];
