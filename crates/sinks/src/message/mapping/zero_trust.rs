//! Zero Trust: sessions, logins, and actions of users and applications.

use super::{Mapping, field, flag, list, time, word};
use crate::message::severity::Scale;

pub(super) static ZERO_TRUST_NETWORK_SESSIONS: Mapping = Mapping {
    dataset: "zero_trust_network_sessions",
    name: "Zero Trust network session",
    event: &[&[word("ConnectionCloseReason")]],
    base: 1,
    severity: &[("ConnectionCloseReason", Scale::Failure)],
    fields: &[
        time("SessionStartTime", "start"),
        time("SessionEndTime", "end"),
        field("SourceIP", "src", "src"),
        field("SourcePort", "spt", "srcPort"),
        field("SourceInternalIP", "", "srcPreNAT"),
        field("EgressIP", "sourceTranslatedAddress", "srcPostNAT"),
        field("EgressPort", "sourceTranslatedPort", "srcPostNATPort"),
        field("OriginIP", "dst", "dst"),
        field("OriginPort", "dpt", "dstPort"),
        field("Protocol", "proto", "proto"),
        field("DetectedProtocol", "app", ""),
        field("BytesSent", "in", "srcBytes"),
        field("BytesReceived", "out", "dstBytes"),
        field("Email", "suser", "usrName"),
        field("UserID", "suid", ""),
        field("DeviceName", "shost", "resource"),
        field("SNI", "dhost", ""),
        field("ResolvedFQDN", "dhost", ""),
        field("ConnectionCloseReason", "reason", ""),
        field("SessionID", "externalId", ""),
        field("IngressColoName", "deviceExternalId", ""),
        field("EgressRuleID", "cs1", ""),
        field("EgressRuleName", "cs2", "policy"),
        field("Offramp", "cs3", ""),
        field("VirtualNetworkID", "cs4", ""),
        field("DeviceID", "cs5", ""),
        field("OriginTLSCertificateValidationResult", "cs6", ""),
    ],
};

pub(super) static ACCESS_REQUESTS: Mapping = Mapping {
    dataset: "access_requests",
    name: "Access request",
    event: &[&[word("Action")], &[flag("Allowed", "allowed", "denied")]],
    base: 1,
    severity: &[("Allowed", Scale::Success)],
    fields: &[
        field("IPAddress", "src", "src"),
        field("Email", "suser", "usrName"),
        field("UserUID", "suid", ""),
        field("AppDomain", "destinationServiceName", "resource"),
        field("Action", "act", ""),
        field("Allowed", "outcome", ""),
        field("RayID", "externalId", ""),
        field("AppUUID", "cs1", ""),
        field("Connection", "cs2", ""),
        field("Country", "cs3", ""),
        field("PurposeJustificationResponse", "cs4", ""),
        list("TemporaryAccessApprovers", "cs5", ""),
        field("TemporaryAccessDuration", "cn1", ""),
    ],
};

pub(super) static SSH_LOGS: Mapping = Mapping {
    dataset: "ssh_logs",
    name: "SSH session",
    event: &[&[word("ProgramType")]],
    base: 1,
    severity: &[("Error", Scale::Presence)],
    fields: &[
        time("SessionStartDatetime", "start"),
        time("SessionFinishDatetime", "end"),
        field("ClientAddress", "src", "src"),
        field("ServerAddress", "dst", "dst"),
        field("UserEmail", "suser", "usrName"),
        field("UserID", "suid", ""),
        field("Username", "duser", ""),
        field("Error", "reason", ""),
        field("SessionID", "externalId", ""),
        field("ProgramType", "cs1", ""),
        field("ProgramID", "cs2", ""),
        field("TargetID", "cs3", "resource"),
    ],
};

pub(super) static BISO_USER_ACTIONS: Mapping = Mapping {
    dataset: "biso_user_actions",
    name: "Browser isolation user action",
    event: &[&[word("Type")], &[word("Decision")]],
    base: 1,
    severity: &[("Decision", Scale::Action)],
    fields: &[
        field("UserEmail", "suser", "usrName"),
        field("UserID", "suid", ""),
        field("URL", "request", "url"),
        field("DomainName", "dhost", ""),
        field("Decision", "act", ""),
        field("Type", "cs1", ""),
        field("Metadata", "cs2", ""),
    ],
};

pub(super) static CASB_FINDINGS: Mapping = Mapping {
    dataset: "casb_findings",
    name: "CASB finding",
    event: &[&[word("FindingTypeSeverity")]],
    base: 3,
    severity: &[("FindingTypeSeverity", Scale::Level)],
    fields: &[
        field("AssetLink", "request", "url"),
        field("IntegrationDisplayName", "destinationServiceName", ""),
        field("FindingTypeDisplayName", "msg", ""),
        field("InstanceID", "externalId", ""),
        field("AssetDisplayName", "cs1", "resource"),
        field("AssetExternalID", "cs2", ""),
        field("IntegrationPolicyVendor", "cs3", ""),
        field("FindingTypeID", "cs4", ""),
        field("IntegrationID", "cs5", ""),
        field("FindingTypeSeverity", "cs6", ""),
    ],
};

pub(super) static DLP_FORENSIC_COPIES: Mapping = Mapping {
    dataset: "dlp_forensic_copies",
    name: "DLP forensic copy",
    event: &[&[word("Phase")]],
    // Each record is a match of a data loss prevention rule.
    base: 5,
    severity: &[],
    fields: &[
        field("GatewayRequestID", "externalId", ""),
        field("ForensicCopyID", "fileId", ""),
        field("TriggeredRuleID", "cs1", "policy"),
        field("Phase", "cs2", ""),
    ],
};

pub(super) static MCP_PORTAL_LOGS: Mapping = Mapping {
    dataset: "mcp_portal_logs",
    name: "MCP portal request",
    event: &[&[word("Method")], &[flag("Success", "success", "failure")]],
    base: 1,
    severity: &[("Success", Scale::Success)],
    fields: &[
        field("ClientIP", "src", "src"),
        field("UserEmail", "suser", "usrName"),
        field("UserID", "suid", ""),
        field("ServerURL", "request", "url"),
        field("Method", "act", ""),
        field("Success", "outcome", ""),
        field("Error", "reason", ""),
        field("SessionID", "externalId", ""),
        field("ColoCode", "deviceExternalId", ""),
        field("ServerID", "cs1", ""),
        field("PortalID", "cs2", ""),
        field("ToolCallName", "cs3", "resource"),
        field("PromptGetName", "cs3", "resource"),
        field("ResourceReadURI", "cs3", "resource"),
        field("ClientCountry", "cs4", ""),
        field("ServerResponseDurationMs", "cn1", ""),
    ],
};
