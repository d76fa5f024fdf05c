//! Email Security: alerts, and actions after delivery.

use super::{Mapping, field, flag, list, time, word};
use crate::message::severity::Scale;

pub(super) static EMAIL_SECURITY_ALERTS: Mapping = Mapping {
    dataset: "email_security_alerts",
    name: "Email security alert",
    event: &[&[word("FinalDisposition")]],
    base: 1,
    severity: &[("FinalDisposition", Scale::Disposition)],
    fields: &[
        field("SMTPHeloServerIP", "src", "src"),
        field("SMTPHeloServerName", "shost", ""),
        field("From", "suser", ""),
        field("OriginalSender", "suser", ""),
        field("SMTPEnvelopeFrom", "suser", ""),
        list("To", "duser", "usrName"),
        list("SMTPEnvelopeTo", "duser", "usrName"),
        field("Subject", "msg", ""),
        list("AlertReasons", "reason", ""),
        field("AlertID", "externalId", ""),
        field("FinalDisposition", "cs1", ""),
        list("ThreatCategories", "cs2", ""),
        field("MessageID", "cs3", ""),
        field("SPFResult", "cs4", ""),
        field("DKIMResult", "cs5", ""),
        field("DMARCResult", "cs6", ""),
    ],
};

pub(super) static EMAIL_SECURITY_POST_DELIVERY_EVENTS: Mapping = Mapping {
    dataset: "email_security_post_delivery_events",
    name: "Email post-delivery action",
    event: &[&[word("Operation")], &[flag("Success", "success", "failure")]],
    base: 1,
    severity: &[("FinalDisposition", Scale::Disposition), ("Success", Scale::Success)],
    fields: &[
        time("RequestedAt", "start"),
        time("CompletedAt", "end"),
        field("From", "suser", ""),
        field("Recipient", "duser", "usrName"),
        list("To", "duser", "usrName"),
        field("Subject", "msg", ""),
        field("Operation", "act", ""),
        field("Success", "outcome", ""),
        field("Status", "reason", ""),
        field("AlertID", "externalId", ""),
        field("FinalDisposition", "cs1", ""),
        field("RequestedDisposition", "cs2", ""),
        field("MessageID", "cs3", ""),
        field("RequestedBy", "cs4", ""),
        field("Folder", "cs5", ""),
        field("Destination", "cs5", ""),
        list("Reasons", "cs6", ""),
    ],
};
