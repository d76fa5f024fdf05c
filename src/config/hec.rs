//! The paths of Splunk's HTTP Event Collector (HEC), behind the prefix of an endpoint.

/// The prefix that Splunk itself has.
pub(super) const HEC_PREFIX: &str = "/services/collector";

/// What a path is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HecPath {
    /// Events in their envelopes, JSON objects one behind the other.
    Event,
    /// Records as they are.
    Raw,
    /// Whether batches are taken.
    Health,
    /// What became of earlier requests: not kept here.
    Ack,
}

/// What stands behind the prefix.
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
