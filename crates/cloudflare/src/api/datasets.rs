//! The datasets of Cloudflare Logpush.

use settings::suggestion;

use super::Scope;

/// Every dataset that Cloudflare documents, in alphabetical order.
///
/// The daemon also receives datasets that are not listed. They have no metric series of their own, and
/// `validate` warns about their names.
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

/// The datasets of zones. All others are datasets of accounts only.
const ZONE_DATASETS: [&str; 9] = [
    "account_abuse_protection_events",
    "dns_logs",
    "firewall_events",
    "http_requests",
    "nel_reports",
    "page_shield_events",
    "spectrum_events",
    "websocket_analytics",
    "zaraz_events",
];

/// The datasets of zones that accounts have, too.
const SHARED_DATASETS: [&str; 3] =
    ["account_abuse_protection_events", "firewall_events", "websocket_analytics"];

/// Returns a warning if Cloudflare has no such dataset, or not in this scope.
///
/// Cloudflare adds datasets and scopes over time, so this is not an error.
pub fn check_scope(dataset: &str, scope: &Scope) -> Option<String> {
    if !is_known(dataset) {
        return check_name(dataset);
    }
    let is_of_zones = ZONE_DATASETS.contains(&dataset);
    match scope {
        _ if SHARED_DATASETS.contains(&dataset) => None,
        Scope::Zone(_) if !is_of_zones => {
            Some(format!("`{dataset}` is a dataset of accounts: use --account ID, not --zone"))
        }
        Scope::Account(_) if is_of_zones => {
            Some(format!("`{dataset}` is a dataset of zones: use --zone ID, not --account"))
        }
        Scope::Zone(_) | Scope::Account(_) => None,
    }
}

/// Reports whether Cloudflare has a dataset of this name.
pub fn is_known(dataset: &str) -> bool {
    DATASETS.binary_search(&dataset).is_ok()
}

/// Returns a warning with a suggestion if Cloudflare has no such dataset.
pub fn check_name(dataset: &str) -> Option<String> {
    (!is_known(dataset)).then(|| {
        let hint = suggestion(dataset, &DATASETS, "the datasets are");
        format!("Cloudflare has no dataset `{dataset}`: {hint}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datasets_are_sorted_and_unique() {
        assert!(DATASETS.is_sorted_by(|one, next| one < next));
        assert!(is_known("http_requests") && !is_known("http_request"));
    }

    #[test]
    fn a_dataset_of_the_other_scope_is_warned_about() {
        assert!(ZONE_DATASETS.iter().chain(&SHARED_DATASETS).all(|name| is_known(name)));
        assert!(SHARED_DATASETS.iter().all(|name| ZONE_DATASETS.contains(name)));
        let (zone, account) = (Scope::Zone("z".into()), Scope::Account("a".into()));
        for (dataset, in_zone, in_account) in [
            ("http_requests", None, Some("use --zone")),
            ("audit_logs_v2", Some("use --account"), None),
            ("websocket_analytics", None, None),
            ("account_abuse_protection_events", None, None),
            ("firewall_events", None, None),
            ("magic_bgp_logs", Some("use --account"), None),
            ("http_request", Some("did you mean"), Some("did you mean")),
        ] {
            for (scope, want) in [(&zone, in_zone), (&account, in_account)] {
                let warning = check_scope(dataset, scope);
                assert_eq!(warning.is_some(), want.is_some(), "{dataset}: {warning:?}");
                assert!(
                    warning.unwrap_or_default().contains(want.unwrap_or_default()),
                    "{dataset}"
                );
            }
        }
    }
}
