//! The datasets that Cloudflare Logpush has, by name.

use settings::suggestion;

use super::Scope;

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

/// The datasets of a zone. All others are an account's.
const OF_ZONES: [&str; 9] = [
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

/// The datasets that a zone and an account have.
const OF_BOTH: [&str; 3] =
    ["account_abuse_protection_events", "firewall_events", "websocket_analytics"];

/// What to report about a job for a dataset that Cloudflare does not have, or not in this scope. Cloudflare
/// adds datasets and scopes, so this is a doubt and not an error.
pub fn doubt_in(dataset: &str, scope: &Scope) -> Option<String> {
    if !is_known(dataset) {
        return doubt(dataset);
    }
    let is_of_zones = OF_ZONES.contains(&dataset);
    match scope {
        _ if OF_BOTH.contains(&dataset) => None,
        Scope::Zone(_) if !is_of_zones => {
            Some(format!("`{dataset}` is a dataset of accounts: use --account ID, not --zone"))
        }
        Scope::Account(_) if is_of_zones => {
            Some(format!("`{dataset}` is a dataset of zones: use --zone ID, not --account"))
        }
        Scope::Zone(_) | Scope::Account(_) => None,
    }
}

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

    #[test]
    fn a_dataset_is_a_zones_or_an_accounts() {
        assert!(OF_ZONES.iter().chain(&OF_BOTH).all(|name| is_known(name)));
        assert!(OF_BOTH.iter().all(|name| OF_ZONES.contains(name)));
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
                let doubt = doubt_in(dataset, scope);
                assert_eq!(doubt.is_some(), want.is_some(), "{dataset}: {doubt:?}");
                assert!(doubt.unwrap_or_default().contains(want.unwrap_or_default()), "{dataset}");
            }
        }
    }
}
