//! The mapping of all other datasets: member names that many datasets use.

use super::{Mapping, class, field, word};
use crate::message::severity::Scale;

pub(super) static GENERAL: Mapping = Mapping {
    dataset: "",
    name: "",
    event: &[&[
        word("Action"),
        word("Outcome"),
        word("ActionType"),
        word("EventType"),
        word("Event"),
        word("Type"),
        class("Status"),
    ]],
    base: 1,
    severity: &[("Action", Scale::Action), ("Outcome", Scale::Action), ("Allowed", Scale::Success)],
    fields: &[
        field("ClientIP", "src", "src"),
        field("SourceIP", "src", "src"),
        field("SrcIP", "src", "src"),
        field("IPAddress", "src", "src"),
        field("ClientPort", "spt", "srcPort"),
        field("SourcePort", "spt", "srcPort"),
        field("SrcPort", "spt", "srcPort"),
        field("DestinationIP", "dst", "dst"),
        field("DstIP", "dst", "dst"),
        field("DestinationPort", "dpt", "dstPort"),
        field("DstPort", "dpt", "dstPort"),
        field("Transport", "proto", "proto"),
        field("Email", "suser", "usrName"),
        field("UserEmail", "suser", "usrName"),
        field("UserID", "suid", ""),
        field("UserUID", "suid", ""),
        field("DeviceName", "shost", "resource"),
        field("URL", "request", "url"),
        field("UserAgent", "requestClientApplication", ""),
        field("Action", "act", ""),
        field("Outcome", "outcome", ""),
        field("RayID", "externalId", ""),
        field("PolicyName", "", "policy"),
    ],
};
