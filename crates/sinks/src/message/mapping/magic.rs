//! Magic Transit and Magic WAN: intrusion detection, tunnels, routes and flows.

use super::{Mapping, field, word};
use crate::message::severity::Scale;

pub(super) static MAGIC_IDS_DETECTIONS: Mapping = Mapping {
    dataset: "magic_ids_detections",
    name: "Intrusion detection",
    event: &[&[word("Action")]],
    // A signature matched, even if the packet passed.
    base: 5,
    severity: &[("Action", Scale::Action)],
    fields: &[
        field("SourceIP", "src", "src"),
        field("SourcePort", "spt", "srcPort"),
        field("DestinationIP", "dst", "dst"),
        field("DestinationPort", "dpt", "dstPort"),
        field("Protocol", "proto", "proto"),
        field("Action", "act", ""),
        field("SignatureMessage", "msg", ""),
        field("ColoCode", "deviceExternalId", ""),
        field("ColoCity", "cs1", ""),
        field("SignatureID", "cn1", ""),
        field("SignatureRevision", "cn2", ""),
    ],
};

pub(super) static IPSEC_LOGS: Mapping = Mapping {
    dataset: "ipsec_logs",
    name: "IPsec log",
    event: &[&[word("Level")]],
    base: 1,
    severity: &[("Level", Scale::Failure)],
    fields: &[
        field("RemoteIP", "src", "src"),
        field("RemotePort", "spt", "srcPort"),
        field("LocalIP", "dst", "dst"),
        field("LocalPort", "dpt", "dstPort"),
        field("Message", "msg", ""),
        field("Level", "cs1", ""),
    ],
};

pub(super) static MAGIC_BGP_LOGS: Mapping = Mapping {
    dataset: "magic_bgp_logs",
    name: "BGP event",
    event: &[&[word("EventKind")]],
    base: 1,
    severity: &[("EventKind", Scale::Failure)],
    fields: &[
        field("EventKind", "act", ""),
        field("Direction", "cs1", ""),
        field("TunnelName", "cs2", "resource"),
        field("TunnelID", "cs3", ""),
    ],
};

pub(super) static MNM_FLOW_LOGS: Mapping = Mapping {
    dataset: "mnm_flow_logs",
    name: "Network flow",
    event: &[&[word("FlowProtocol")]],
    base: 1,
    severity: &[],
    fields: &[
        field("SourceAddress", "src", "src"),
        field("SourcePort", "spt", "srcPort"),
        field("DestinationAddress", "dst", "dst"),
        field("DestinationPort", "dpt", "dstPort"),
        field("Protocol", "proto", "proto"),
        field("DeviceID", "deviceExternalId", ""),
        field("FlowProtocol", "cs1", ""),
        field("RuleIDs", "cs2", "policy"),
        field("SamplerAddress", "cs3", ""),
        field("SourceAS", "cs4", ""),
        field("DestinationAS", "cs5", ""),
        field("Packets", "cn1", "srcPackets"),
        field("SampleRate", "cn2", ""),
        field("TcpFlags", "cn3", ""),
    ],
};
