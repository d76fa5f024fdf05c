//! Audit logs: changes in an account.

use super::{Mapping, field, word};
use crate::message::severity::Scale;

pub(super) static AUDIT_LOGS: Mapping = Mapping {
    dataset: "audit_logs",
    name: "Account change",
    event: &[&[word("ActionType")]],
    base: 3,
    severity: &[("ActionResult", Scale::Success)],
    fields: &[
        field("ActorIP", "src", "src"),
        field("ActorEmail", "suser", "usrName"),
        field("ActorID", "suid", ""),
        field("ActorType", "spriv", "role"),
        field("ActionType", "act", ""),
        field("ActionResult", "outcome", ""),
        field("ID", "externalId", ""),
        field("ResourceType", "cs1", ""),
        field("ResourceID", "cs2", ""),
        field("Interface", "cs3", ""),
        field("OwnerID", "cs4", ""),
        field("OldValue", "cs5", ""),
        field("NewValue", "cs6", ""),
    ],
};

pub(super) static AUDIT_LOGS_V2: Mapping = Mapping {
    dataset: "audit_logs_v2",
    name: "Account change",
    event: &[&[word("ActionType")]],
    base: 3,
    severity: &[("ActionResult", Scale::Success)],
    fields: &[
        field("ActorIPAddress", "src", "src"),
        field("ActorEmail", "suser", "usrName"),
        field("ActorID", "suid", ""),
        field("ActorType", "spriv", "role"),
        field("AccountName", "", "accountName"),
        field("ActionType", "act", ""),
        field("ActionResult", "outcome", ""),
        field("ActionDescription", "msg", ""),
        field("AuditLogID", "externalId", ""),
        field("ResourceType", "cs1", ""),
        field("ResourceID", "cs2", ""),
        field("ActorContext", "cs3", ""),
        field("AccountID", "cs4", ""),
        field("ResourceProduct", "cs5", ""),
        field("ZoneName", "cs6", ""),
    ],
};
