//! The datasets that Cloudflare Logpush has, by name.

use crate::config::suggestion;

/// Every dataset that Cloudflare documents, in alphabetical order. A dataset that is missing here is
/// still received: it has no metric series of its own, and `validate` warns about its name.
pub const DATASETS: [&str; 37] = [
    "access_requests",
    "account_abuse_protection_events",
    "audit_logs",
    "audit_logs_v2",
    "biso_user_actions",
    "casb_findings",
    "device_posture_results",
    "dex_application_tests",
    "dex_device_state_events",
    "dlp_forensic_copies",
    "dns_firewall_logs",
    "dns_logs",
    "email_security_alerts",
    "email_security_post_delivery_events",
    "firewall_events",
    "gateway_dns",
    "gateway_http",
    "gateway_network",
    "http_requests",
    "ipsec_logs",
    "magic_bgp_logs",
    "magic_ids_detections",
    "mcp_portal_logs",
    "mnm_flow_logs",
    "nel_reports",
    "network_analytics_logs",
    "page_shield_events",
    "sinkhole_http_logs",
    "spectrum_events",
    "ssh_logs",
    "turnstile_events",
    "warp_config_changes",
    "warp_toggle_changes",
    "websocket_analytics",
    "workers_trace_events",
    "zaraz_events",
    "zero_trust_network_sessions",
];

/// Whether Cloudflare has a dataset of this name.
pub fn is_known(dataset: &str) -> bool {
    DATASETS.binary_search(&dataset).is_ok()
}

/// What to report about the name of a dataset that Cloudflare does not have, with a suggestion.
pub fn doubt(dataset: &str) -> Option<String> {
    (!is_known(dataset)).then(|| {
        let hint = suggestion(dataset, &DATASETS, "the datasets are");
        format!("Cloudflare has no dataset `{dataset}`: {hint}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datasets_are_in_order_and_none_twice() {
        assert!(DATASETS.is_sorted_by(|one, next| one < next));
        assert!(is_known("http_requests") && !is_known("http_request"));
    }
}
