//! The tables that assign the members of each dataset to keys.
//!
//! A member without a key gets its own name as the key. `docs/message-formats.md` contains the
//! tables; a test compares them.

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
    /// The dataset. Empty in the general mapping.
    pub(super) dataset: &'static str,
    /// A readable name of the event, for the header of CEF. Empty in the general mapping.
    pub(super) name: &'static str,
    /// The parts of the event ID after the dataset. Each part is its first member with a value.
    pub(super) event: &'static [&'static [IdPart]],
    /// The minimum severity.
    pub(super) base: u8,
    /// The members that can raise the severity.
    pub(super) severity: &'static [(&'static str, Scale)],
    /// The fields in the order of the message. Fields with the same key are consecutive, the
    /// preferred one first.
    pub(super) fields: &'static [Field],
}

/// How a member becomes a part of an event ID. Administrators of a SIEM map IDs by hand, so there
/// must be few.
#[derive(Debug)]
pub(super) struct IdPart {
    pub(super) member: &'static str,
    pub(super) form: IdForm,
}

#[derive(Debug)]
pub(super) enum IdForm {
    /// The value itself.
    Word,
    /// The class of an HTTP status, such as `4xx`; no part for other numbers.
    StatusClass,
    /// A word for `true` and a word for `false`.
    Bool { yes: &'static str, no: &'static str },
}

/// A value, and its key in each dictionary; empty if the dictionary has no key for it.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) from: Source,
    pub(super) cef: &'static str,
    pub(super) leef: &'static str,
}

/// The source of a value.
#[derive(Debug)]
pub(super) enum Source {
    Member(&'static str),
    /// A time in milliseconds. The member follows as another field, with all of its digits.
    Time(&'static str),
    /// An array of strings, joined with commas. The member follows as another field, as JSON.
    List(&'static str),
    /// A URL, if the record has all parts except the query. The query begins with its `?`.
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

/// A time. Only CEF has keys for it.
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

const fn flag(member: &'static str, yes: &'static str, no: &'static str) -> IdPart {
    IdPart { member, form: IdForm::Bool { yes, no } }
}

/// All mappings, in the order of the documentation. The general mapping is the last.
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
