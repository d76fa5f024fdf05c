//! Which member of a dataset goes under which key: the tables, and nothing else.
//!
//! A member without a key goes under its own name. `docs/message-formats.md` shows the tables to
//! people; a test holds them together.

mod application;
mod audit;
mod devices;
mod dns;
mod email;
mod general;
mod http;
mod magic;
mod network;
mod zero_trust;

use super::severity::Scale;

/// How the records of a dataset become events.
#[derive(Debug)]
pub(super) struct Mapping {
    /// Empty in the general one.
    pub(super) dataset: &'static str,
    /// What such an event is, for people: CEF's name. Empty in the general one.
    pub(super) name: &'static str,
    /// The parts of the event's ID after the dataset. Each is made of its first member that says something.
    pub(super) event: &'static [&'static [IdPart]],
    /// The least severity.
    pub(super) base: u8,
    /// What can raise it.
    pub(super) severity: &'static [(&'static str, Scale)],
    /// In the order of the message. Fields that share a key stand together, the best first.
    pub(super) fields: &'static [Field],
}

/// How a member becomes part of an event's ID. A SIEM maps every ID by hand, so there are only a few.
#[derive(Debug)]
pub(super) struct IdPart {
    pub(super) member: &'static str,
    pub(super) form: IdForm,
}

#[derive(Debug)]
pub(super) enum IdForm {
    /// The value itself.
    Word,
    /// The class of an HTTP status, such as `4xx`; of another number nothing.
    StatusClass,
    /// A word for `true` and one for `false`.
    Truth { yes: &'static str, no: &'static str },
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
    /// A time, in milliseconds. The member itself follows with all of its digits.
    Time(&'static str),
    /// An array of strings, joined with commas. The member itself follows as JSON.
    List(&'static str),
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

/// Only CEF has keys for such times.
const fn time(member: &'static str, cef: &'static str) -> Field {
    Field { from: Source::Time(member), cef, leef: "" }
}

const fn list(member: &'static str, cef: &'static str, leef: &'static str) -> Field {
    Field { from: Source::List(member), cef, leef }
}

const fn word(member: &'static str) -> IdPart {
    IdPart { member, form: IdForm::Word }
}

const fn class(member: &'static str) -> IdPart {
    IdPart { member, form: IdForm::StatusClass }
}

const fn truth(member: &'static str, yes: &'static str, no: &'static str) -> IdPart {
    IdPart { member, form: IdForm::Truth { yes, no } }
}

/// In the order of the documentation.
pub(super) static ALL: [&Mapping; 38] = [
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
    &dns::DNS_FIREWALL_LOGS,
    &application::ACCOUNT_ABUSE_PROTECTION_EVENTS,
    &application::PAGE_SHIELD_EVENTS,
    &application::SINKHOLE_HTTP_LOGS,
    &application::TURNSTILE_EVENTS,
    &application::WEBSOCKET_ANALYTICS,
    &application::WORKERS_TRACE_EVENTS,
    &application::ZARAZ_EVENTS,
    &email::EMAIL_SECURITY_ALERTS,
    &email::EMAIL_SECURITY_POST_DELIVERY_EVENTS,
    &magic::IPSEC_LOGS,
    &magic::MAGIC_BGP_LOGS,
    &magic::MAGIC_IDS_DETECTIONS,
    &magic::MNM_FLOW_LOGS,
    &zero_trust::ACCESS_REQUESTS,
    &zero_trust::BISO_USER_ACTIONS,
    &zero_trust::CASB_FINDINGS,
    &zero_trust::DLP_FORENSIC_COPIES,
    &zero_trust::MCP_PORTAL_LOGS,
    &zero_trust::SSH_LOGS,
    &zero_trust::ZERO_TRUST_NETWORK_SESSIONS,
    &devices::DEVICE_POSTURE_RESULTS,
    &devices::DEX_APPLICATION_TESTS,
    &devices::DEX_DEVICE_STATE_EVENTS,
    &devices::WARP_CONFIG_CHANGES,
    &devices::WARP_TOGGLE_CHANGES,
    &general::GENERAL,
];
