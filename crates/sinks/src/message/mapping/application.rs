//! Datasets of application security and performance, and of sinkholes.

use super::{Mapping, field, time, word};
use crate::message::severity::Scale;

pub(super) static PAGE_SHIELD_EVENTS: Mapping = Mapping {
    dataset: "page_shield_events",
    name: "Page Shield violation",
    event: &[&[word("Action")]],
    base: 3,
    severity: &[("Action", Scale::Action)],
    fields: &[
        field("URL", "request", "url"),
        field("URLHost", "dhost", ""),
        field("PageURL", "requestContext", ""),
        field("Action", "act", ""),
        field("PolicyID", "cs1", "policy"),
        field("CSPDirective", "cs2", ""),
        field("ResourceType", "cs3", ""),
        field("Host", "cs4", ""),
    ],
};

pub(super) static TURNSTILE_EVENTS: Mapping = Mapping {
    dataset: "turnstile_events",
    name: "Turnstile event",
    // `Action` is a name that the site chooses for its widget.
    event: &[&[word("EventType")]],
    base: 1,
    severity: &[("EventType", Scale::Failure)],
    fields: &[
        field("ClientIP", "src", "src"),
        field("Hostname", "dhost", ""),
        field("UserAgent", "requestClientApplication", ""),
        field("EventType", "act", ""),
        field("Sitekey", "cs1", "resource"),
        field("CountryCode", "cs2", ""),
        field("Action", "cs3", ""),
        field("ASN", "cs4", ""),
        field("BrowserName", "cs5", ""),
        field("OSName", "cs6", ""),
    ],
};

/// Each member of the zone dataset is followed by the same member of the account dataset.
pub(super) static WEBSOCKET_ANALYTICS: Mapping = Mapping {
    dataset: "websocket_analytics",
    name: "WebSocket connection",
    event: &[&[word("ConnectionCloseReason"), word("connectionCloseReason")]],
    base: 1,
    severity: &[
        ("ConnectionCloseReason", Scale::Failure),
        ("connectionCloseReason", Scale::Failure),
    ],
    fields: &[
        time("EdgeStartTimestamp", "start"),
        time("timestampStartNanos", "start"),
        time("EdgeEndTimestamp", "end"),
        time("timestampEndNanos", "end"),
        field("ClientIP", "src", "src"),
        field("clientIP", "src", "src"),
        field("ClientRequestHost", "dhost", ""),
        field("clientRequestHTTPHost", "dhost", ""),
        field("ClientRequestUserAgent", "requestClientApplication", ""),
        field("clientRequestUserAgent", "requestClientApplication", ""),
        field("BytesReceivedClient", "in", "srcBytes"),
        field("byteRecvUplink", "in", "srcBytes"),
        field("BytesSentClient", "out", "dstBytes"),
        field("byteSentDownlink", "out", "dstBytes"),
        field("ConnectionCloseReason", "reason", ""),
        field("connectionCloseReason", "reason", ""),
        field("RayID", "externalId", ""),
        field("rayId", "externalId", ""),
        field("ColoCode", "deviceExternalId", ""),
        field("coloCode", "deviceExternalId", ""),
        field("ConnectionID", "cs1", ""),
        field("connectionId", "cs1", ""),
        field("ConnectionCloseSource", "cs2", ""),
        field("connectionCloseSource", "cs2", ""),
        field("ClientRequestPath", "cs3", ""),
        field("clientRequestPath", "cs3", ""),
        field("ClientASN", "cs4", ""),
        field("clientASN", "cs4", ""),
        field("ConnectionTransportCloseCode", "cn1", ""),
        field("transportCloseCode", "cn1", ""),
    ],
};

pub(super) static WORKERS_TRACE_EVENTS: Mapping = Mapping {
    dataset: "workers_trace_events",
    name: "Worker invocation",
    event: &[&[word("Outcome")]],
    base: 1,
    severity: &[("Outcome", Scale::Action)],
    fields: &[
        field("Outcome", "outcome", ""),
        field("ScriptName", "cs1", "resource"),
        field("EventType", "cs2", ""),
        field("Entrypoint", "cs3", ""),
        field("DispatchNamespace", "cs4", ""),
        field("CPUTimeMs", "cn1", ""),
        field("WallTimeMs", "cn2", ""),
    ],
};

pub(super) static ZARAZ_EVENTS: Mapping = Mapping {
    dataset: "zaraz_events",
    name: "Zaraz event",
    event: &[&[word("EventType")]],
    base: 1,
    severity: &[],
    fields: &[
        field("IP", "src", "src"),
        field("URL", "request", "url"),
        field("EventType", "act", ""),
    ],
};

pub(super) static ACCOUNT_ABUSE_PROTECTION_EVENTS: Mapping = Mapping {
    dataset: "account_abuse_protection_events",
    name: "Account abuse protection event",
    event: &[&[word("EventType")], &[word("AuthenticationStatus")]],
    base: 1,
    severity: &[("AuthenticationStatus", Scale::Failure), ("FraudEmailRisk", Scale::Level)],
    fields: &[
        field("ClientIP", "src", "src"),
        field("Email", "suser", "usrName"),
        field("UserID", "suid", ""),
        field("Host", "dhost", ""),
        field("UserAgent", "requestClientApplication", ""),
        field("EventType", "act", ""),
        field("AuthenticationStatus", "outcome", ""),
        field("RayID", "externalId", ""),
        field("AuthenticationMethod", "cs1", ""),
        field("ClientCountry", "cs2", ""),
        field("AuthenticationIdentityProvider", "cs3", ""),
        field("ClientASN", "cs4", ""),
        field("JA4", "cs5", ""),
        field("EphemeralID", "cs6", ""),
        field("BotScore", "cn3", ""),
    ],
};

pub(super) static SINKHOLE_HTTP_LOGS: Mapping = Mapping {
    dataset: "sinkhole_http_logs",
    name: "Sinkhole HTTP request",
    event: &[],
    // Only malware and scanners send requests to a sinkhole.
    base: 5,
    severity: &[],
    fields: &[
        field("SrcAddr", "src", "src"),
        field("DestAddr", "dst", "dst"),
        field("URL", "request", "url"),
        field("Host", "dhost", ""),
        field("Method", "requestMethod", ""),
        field("UserAgent", "requestClientApplication", ""),
        field("Referrer", "requestContext", ""),
        field("Username", "suser", "usrName"),
        field("BodyLength", "in", "srcBytes"),
        field("SinkholeID", "deviceExternalId", ""),
        field("R2Path", "filePath", ""),
        field("URI", "cs1", ""),
    ],
};
