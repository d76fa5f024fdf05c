//! The members of Cloudflare's datasets that contain the time of a record.

/// The members with the time of a record, in order of preference. The later ones are for jobs that do not
/// select the first one.
pub(super) fn time_members(dataset: &str) -> &'static [&'static str] {
    match dataset {
        "http_requests" => &["EdgeStartTimestamp", "EdgeEndTimestamp"],
        "firewall_events"
        | "gateway_dns"
        | "gateway_http"
        | "gateway_network"
        | "network_analytics_logs"
        | "dlp_forensic_copies"
        | "mcp_portal_logs" => &["Datetime"],
        "ssh_logs" => &["Datetime", "SessionStartDatetime", "SessionFinishDatetime"],
        "dns_logs"
        | "dns_firewall_logs"
        | "nel_reports"
        | "account_abuse_protection_events"
        | "biso_user_actions"
        | "device_posture_results"
        | "dex_application_tests"
        | "dex_device_state_events"
        | "email_security_alerts"
        | "ipsec_logs"
        | "magic_ids_detections"
        | "page_shield_events"
        | "sinkhole_http_logs"
        | "turnstile_events"
        | "warp_config_changes"
        | "warp_toggle_changes" => &["Timestamp"],
        "spectrum_events" => &["Timestamp", "DisconnectTimestamp", "ConnectTimestamp"],
        "mnm_flow_logs" => &["Timestamp", "FlowTimestamp"],
        "audit_logs" => &["When"],
        "audit_logs_v2" => &["ActionTimestamp"],
        "access_requests" => &["CreatedAt"],
        "casb_findings" => &["DetectedTimestamp"],
        "email_security_post_delivery_events" => {
            &["CompletedAt", "RequestedAt", "MessageTimestamp"]
        }
        "magic_bgp_logs" => &["EventTimestamp"],
        // Of each pair, the first is for a zone and the second for an account.
        "websocket_analytics" => {
            &["EdgeStartTimestamp", "timestampStartNanos", "EdgeEndTimestamp", "timestampEndNanos"]
        }
        "workers_trace_events" => &["EventTimestampMs"],
        "zaraz_events" => &["TimestampStart"],
        "zero_trust_network_sessions" => &["SessionStartTime", "SessionEndTime"],
        _ => USUAL,
    }
}

/// For other datasets: a new dataset, a dataset under another name in the configuration, or one that a
/// transformer has changed.
const USUAL: &[&str] = &[
    "EdgeStartTimestamp",
    "Timestamp",
    "Datetime",
    "EventTimestamp",
    "EventTimestampMs",
    "ActionTimestamp",
    "CreatedAt",
    "When",
    "DetectedTimestamp",
    "CompletedAt",
    "TimestampStart",
    "SessionStartTime",
    "timestampStartNanos",
    "EdgeEndTimestamp",
    "timestamp",
    "@timestamp",
    "time",
    "datetime",
];
