//! Which member of a dataset goes under which key: the tables, and nothing else.
//!
//! A member without a key goes under its own name. `docs/message-formats.md` shows the tables to
//! people; a test holds them together.

mod audit;
mod dns;
mod general;
mod http;
mod network;

use super::severity::Scale;

/// How the records of a dataset become events.
#[derive(Debug)]
pub(super) struct Mapping {
    /// Empty in the general one.
    pub(super) dataset: &'static str,
    /// What such an event is, for people: CEF's name. Empty in the general one.
    pub(super) name: &'static str,
    /// The members that tell the dataset's events apart; the first that says something does.
    pub(super) event: &'static [&'static str],
    /// The least severity.
    pub(super) base: u8,
    /// What can raise it.
    pub(super) severity: &'static [(&'static str, Scale)],
    /// In the order of the message. Fields that share a key stand together, the best first.
    pub(super) fields: &'static [Field],
}

/// A key of each dictionary for one value; empty where the dictionary has none.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) from: Source,
    pub(super) cef: &'static str,
    pub(super) leef: &'static str,
}

/// What the value is made of.
#[derive(Debug)]
pub(super) enum Source {
    Member(&'static str),
    /// Of several members; only if all but the query are there. The query begins with its `?`.
    Url {
        scheme: &'static str,
        host: &'static str,
        path: &'static str,
        query: Option<&'static str>,
    },
}

impl Mapping {
    pub(super) fn of(dataset: &str) -> &'static Self {
        let own = ALL.iter().copied().find(|mapping| mapping.dataset == dataset);
        own.unwrap_or(&general::GENERAL)
    }
}

const fn field(member: &'static str, cef: &'static str, leef: &'static str) -> Field {
    Field { from: Source::Member(member), cef, leef }
}

/// In the order of the documentation.
pub(super) static ALL: [&Mapping; 12] = [
    &http::HTTP_REQUESTS,
    &http::FIREWALL_EVENTS,
    &dns::DNS_LOGS,
    &network::SPECTRUM_EVENTS,
    &network::NEL_REPORTS,
    &audit::AUDIT_LOGS,
    &audit::AUDIT_LOGS_V2,
    &dns::GATEWAY_DNS,
    &http::GATEWAY_HTTP,
    &network::GATEWAY_NETWORK,
    &network::NETWORK_ANALYTICS_LOGS,
    &general::GENERAL,
];
