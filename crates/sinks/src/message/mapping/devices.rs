//! Devices of users: their posture, their WARP client, and their digital experience.

use super::{Mapping, class, field, flag, time, word};
use crate::message::severity::Scale;

pub(super) static DEVICE_POSTURE_RESULTS: Mapping = Mapping {
    dataset: "device_posture_results",
    name: "Device posture result",
    event: &[&[word("PostureCheckType")], &[flag("PostureEvaluatedResult", "passed", "failed")]],
    base: 1,
    severity: &[("PostureEvaluatedResult", Scale::Success)],
    fields: &[
        field("Email", "suser", "usrName"),
        field("UserUID", "suid", ""),
        field("DeviceName", "shost", "resource"),
        field("PostureEvaluatedResult", "outcome", ""),
        field("PolicyID", "cs1", ""),
        field("PostureCheckName", "cs2", "policy"),
        field("PostureCheckType", "cs3", ""),
        field("DeviceID", "cs4", ""),
        field("OSVersion", "cs5", ""),
        field("ClientVersion", "cs6", ""),
    ],
};

pub(super) static WARP_TOGGLE_CHANGES: Mapping = Mapping {
    dataset: "warp_toggle_changes",
    name: "WARP toggle change",
    event: &[&[word("Toggled")]],
    base: 3,
    severity: &[],
    fields: &[
        field("UserEmail", "suser", "usrName"),
        field("Hostname", "shost", "resource"),
        field("AccountName", "cs1", "accountName"),
        field("DeviceID", "cs2", ""),
        field("DeviceRegistrationID", "cs3", ""),
        field("SerialNumber", "cs4", ""),
        field("Toggled", "cs5", ""),
    ],
};

pub(super) static WARP_CONFIG_CHANGES: Mapping = Mapping {
    dataset: "warp_config_changes",
    name: "WARP configuration change",
    event: &[],
    base: 3,
    severity: &[],
    fields: &[
        field("Hostname", "shost", "resource"),
        field("AccountNameTo", "cs1", "accountName"),
        field("AccountNameFrom", "cs2", ""),
        field("ConfigNameTo", "cs3", ""),
        field("ConfigNameFrom", "cs4", ""),
        field("DeviceID", "cs5", ""),
        field("SerialNumber", "cs6", ""),
    ],
};

pub(super) static DEX_APPLICATION_TESTS: Mapping = Mapping {
    dataset: "dex_application_tests",
    name: "DEX test",
    event: &[&[word("TestType")], &[word("TracerouteStatus"), class("HTTPStatusCode")]],
    base: 1,
    severity: &[
        ("HTTPStatusCode", Scale::HttpStatus),
        ("TracerouteStatus", Scale::Failure),
        ("HTTPErrorMessage", Scale::Presence),
    ],
    fields: &[
        time("Timestamp", "start"),
        time("TracerouteTimeEnd", "end"),
        field("HTTPClientIPAddress", "src", "src"),
        field("TracerouteSourceIPAddress", "src", "src"),
        field("HTTPServerIPAddress", "dst", "dst"),
        field("TracerouteDestinationIPAddress", "dst", "dst"),
        field("TracerouteDestinationHostname", "dhost", ""),
        field("TracerouteProtocol", "proto", "proto"),
        field("UserEmail", "suser", "usrName"),
        field("UserID", "suid", ""),
        field("HTTPURL", "request", "url"),
        field("HTTPMethod", "requestMethod", ""),
        field("HTTPResponseBodyBytes", "out", "dstBytes"),
        field("HTTPErrorMessage", "reason", ""),
        field("TestID", "externalId", ""),
        field("ColoCode", "deviceExternalId", ""),
        field("TestType", "cs1", ""),
        field("DeviceID", "cs2", ""),
        field("ClientPlatform", "cs3", ""),
        field("TunnelType", "cs4", ""),
        field("TracerouteStatus", "cs5", ""),
        field("ExecutionContext", "cs6", ""),
        field("HTTPStatusCode", "cn1", ""),
        field("TracerouteDurationMs", "cn2", ""),
    ],
};

pub(super) static DEX_DEVICE_STATE_EVENTS: Mapping = Mapping {
    dataset: "dex_device_state_events",
    name: "DEX device state",
    event: &[&[word("Status")]],
    base: 1,
    severity: &[],
    fields: &[
        field("ISPIPv4Address", "src", "src"),
        field("ISPIPv6Address", "src", "src"),
        field("DeviceIPv4Address", "", "srcPreNAT"),
        field("DeviceIPv6Address", "", "srcPreNAT"),
        field("WarpColoCode", "deviceExternalId", ""),
        field("DeviceID", "cs1", ""),
        field("Status", "cs2", ""),
        field("Mode", "cs3", ""),
        field("ClientPlatform", "cs4", ""),
        field("ClientVersion", "cs5", ""),
        field("ConnectionType", "cs6", ""),
    ],
};
