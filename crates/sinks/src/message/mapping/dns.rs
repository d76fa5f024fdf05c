//! DNS queries.

use super::{Mapping, field, word};
use crate::message::severity::Scale;

pub(super) static DNS_LOGS: Mapping = Mapping {
    dataset: "dns_logs",
    name: "DNS query",
    event: &[&[word("ResponseCode")]],
    base: 1,
    severity: &[("ResponseCode", Scale::DnsCode)],
    fields: &[
        field("SourceIP", "src", "src"),
        field("QueryName", "destinationDnsDomain", ""),
        field("ColoCode", "deviceExternalId", ""),
        field("ResponseCached", "cs1", ""),
        field("EDNSSubnet", "cs2", ""),
        field("ResponseCode", "cn1", ""),
        field("QueryType", "cn2", ""),
        field("EDNSSubnetLength", "cn3", ""),
    ],
};

pub(super) static DNS_FIREWALL_LOGS: Mapping = Mapping {
    dataset: "dns_firewall_logs",
    name: "DNS Firewall query",
    event: &[&[word("ClientResponseCode"), word("ResponseCode")]],
    base: 1,
    severity: &[("ClientResponseCode", Scale::DnsCode), ("ResponseCode", Scale::DnsCode)],
    fields: &[
        field("SourceIP", "src", "src"),
        field("UpstreamIP", "dst", "dst"),
        field("QueryName", "destinationDnsDomain", ""),
        field("QuerySize", "in", "srcBytes"),
        field("ResponseReason", "reason", ""),
        field("ColoCode", "deviceExternalId", ""),
        field("ResponseCached", "cs1", ""),
        field("EDNSSubnet", "cs2", ""),
        field("ClusterID", "cs3", ""),
        field("UpstreamResponseCode", "cs4", ""),
        field("ClientResponseCode", "cn1", ""),
        field("ResponseCode", "cn1", ""),
        field("QueryType", "cn2", ""),
        field("EDNSSubnetLength", "cn3", ""),
    ],
};

pub(super) static GATEWAY_DNS: Mapping = Mapping {
    dataset: "gateway_dns",
    name: "Gateway DNS query",
    event: &[&[word("ResolverDecision")]],
    base: 1,
    severity: &[("ResolverDecision", Scale::Action), ("RCode", Scale::DnsCode)],
    fields: &[
        field("SrcIP", "src", "src"),
        field("SrcPort", "spt", "srcPort"),
        field("DstIP", "dst", "dst"),
        field("DstPort", "dpt", "dstPort"),
        field("Email", "suser", "usrName"),
        field("UserID", "suid", ""),
        field("DeviceName", "shost", "resource"),
        field("QueryName", "destinationDnsDomain", ""),
        field("ApplicationName", "destinationServiceName", ""),
        field("Protocol", "app", ""),
        field("ResolverDecision", "act", ""),
        field("QuerySize", "in", "srcBytes"),
        field("QueryID", "externalId", ""),
        field("ColoCode", "deviceExternalId", ""),
        field("PolicyID", "cs1", ""),
        field("PolicyName", "cs2", "policy"),
        field("Policy", "cs2", "policy"),
        field("QueryTypeName", "cs3", ""),
        field("Location", "cs4", ""),
        field("QueryCategoryNames", "cs5", ""),
        field("ResolvedIPs", "cs6", ""),
        field("RCode", "cn1", ""),
        field("QueryType", "cn2", ""),
    ],
};
