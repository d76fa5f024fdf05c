//! Validates jobs by Cloudflare's schema.

use serde_json::{Value, json};

use super::Refusal;

/// Datasets of a zone. All others belong to an account, and three belong to both.
const ZONE: [&str; 9] = [
    "http_requests",
    "firewall_events",
    "dns_logs",
    "spectrum_events",
    "nel_reports",
    "page_shield_events",
    "zaraz_events",
    "websocket_analytics",
    "account_abuse_protection_events",
];
const BOTH: [&str; 3] =
    ["account_abuse_protection_events", "firewall_events", "websocket_analytics"];

/// Members that a new job may have.
const MEMBERS: [&str; 12] = [
    "dataset",
    "destination_conf",
    "enabled",
    "filter",
    "frequency",
    "kind",
    "max_upload_bytes",
    "max_upload_interval_seconds",
    "max_upload_records",
    "name",
    "output_options",
    "ownership_challenge",
];

/// Fields of some datasets, with descriptions like Cloudflare's.
const FIELDS: [(&str, &[&str]); 3] = [
    (
        "http_requests",
        &[
            "ClientIP",
            "ClientRequestHost",
            "ClientRequestMethod",
            "ClientRequestURI",
            "EdgeResponseStatus",
            "EdgeStartTimestamp",
            "RayID",
        ],
    ),
    ("dns_logs", &["ColoCode", "QueryName", "Timestamp"]),
    ("audit_logs_v2", &["ActionTimestamp", "AuditLogID"]),
];

fn bad(message: impl Into<String>) -> Refusal {
    (400, 1002, message.into())
}

fn in_scope(scope: &str, dataset: &str) -> bool {
    match scope.split('/').next() {
        Some("zones") => ZONE.contains(&dataset),
        _ => !ZONE.contains(&dataset) || BOTH.contains(&dataset),
    }
}

/// The fields of a dataset.
pub(super) fn fields(scope: &str, dataset: &str) -> Result<Value, Refusal> {
    let known = FIELDS.iter().find(|(name, _)| *name == dataset && in_scope(scope, dataset));
    let (_, names) = known.ok_or_else(|| bad(format!("unknown dataset: {dataset}")))?;
    Ok(names
        .iter()
        .map(|name| ((*name).to_owned(), json!(format!("string; what {name} holds"))))
        .collect())
}

/// Validates a new job.
pub(super) fn check_new(scope: &str, job: &Value) -> Result<(), Refusal> {
    let dataset = job["dataset"].as_str().ok_or_else(|| bad("dataset is required"))?;
    if !in_scope(scope, dataset) {
        return Err(bad(format!("unknown dataset: {dataset}")));
    }
    if job["kind"] == "edge" && dataset != "http_requests" {
        return Err(bad("edge jobs are for http_requests only"));
    }
    check_destination_conf(job)?;
    check_members(dataset, job)
}

/// Validates changes of an existing job.
pub(super) fn check_changes(job: &Value, changes: &Value) -> Result<(), Refusal> {
    for name in ["dataset", "kind"] {
        if !changes[name].is_null() {
            return Err(bad(format!("{name} cannot be changed")));
        }
    }
    if !changes["destination_conf"].is_null() {
        check_destination_conf(changes)?;
    }
    check_members(job["dataset"].as_str().unwrap_or_default(), changes)
}

fn check_members(dataset: &str, job: &Value) -> Result<(), Refusal> {
    for (name, value) in job.as_object().into_iter().flatten() {
        let is_right = match name.as_str() {
            "enabled" => value.is_boolean(),
            "max_upload_bytes" => is_in(value, 5_000_000, 1_000_000_000),
            "max_upload_records" => is_in(value, 1_000, 1_000_000),
            "max_upload_interval_seconds" => is_in(value, 30, 300),
            "output_options" => {
                check_output(dataset, value)?;
                value.is_object()
            }
            "filter" => value.as_str().is_some_and(is_filter),
            "name" => value.as_str().is_some_and(is_name),
            name => MEMBERS.contains(&name) && value.is_string(),
        };
        if !is_right {
            return Err(bad(format!("invalid {name}: {value}")));
        }
    }
    Ok(())
}

/// 0 is "not set".
fn is_in(value: &Value, least: u64, most: u64) -> bool {
    value.as_u64().is_some_and(|value| value == 0 || (least..=most).contains(&value))
}

fn is_name(text: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    text.len() <= 512 && text.chars().all(is_allowed)
}

fn is_filter(text: &str) -> bool {
    let filter = serde_json::from_str::<Value>(text).unwrap_or_default();
    text.is_empty() || (text.len() <= 1000 && filter["where"].is_object())
}

fn check_output(dataset: &str, options: &Value) -> Result<(), Refusal> {
    for (name, value) in options.as_object().into_iter().flatten() {
        let known = FIELDS.iter().find(|(name, _)| *name == dataset).map(|(_, names)| *names);
        let is_field = |field: &Value| {
            field.as_str().is_some_and(|field| known.is_none_or(|known| known.contains(&field)))
        };
        let is_right = match name.as_str() {
            "field_names" => value.as_array().is_some_and(|names| names.iter().all(is_field)),
            "output_type" => *value == "ndjson" || *value == "csv",
            "timestamp_format" => ["unixnano", "unix", "rfc3339", "rfc3339ms", "rfc3339ns"]
                .contains(&value.as_str().unwrap_or_default()),
            "sample_rate" => value.as_f64().is_some_and(|rate| rate > 0.0 && rate <= 1.0),
            "CVE-2021-44228" => value.is_boolean(),
            "merge_subrequests" => value.is_boolean() && dataset == "http_requests",
            "batch_prefix" | "batch_suffix" | "record_prefix" | "record_suffix"
            | "record_delimiter" | "record_template" | "field_delimiter" => value.is_string(),
            _ => false,
        };
        if !is_right {
            return Err(bad(format!("invalid output_options: {name}: {value}")));
        }
    }
    Ok(())
}

/// Cloudflare's own texts.
pub(super) fn check_destination_conf(body: &Value) -> Result<(), Refusal> {
    let text = body["destination_conf"].as_str().unwrap_or_default();
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || ".,_:/?%+&={}-".contains(c);
    if text.is_empty() || !text.chars().all(is_allowed) {
        let message = r#"invalid destination_conf: config string must match "^[a-zA-Z0-9\.,_:/?%+&=\{\}-]+$""#;
        return Err(bad(message));
    }
    if text.len() > 4096 {
        return Err(bad("invalid destination_conf: too long"));
    }
    Ok(())
}

/// Adds the members that Cloudflare returns besides those it was sent.
pub(super) fn complete(job: &mut Value, id: u64) {
    let rest = json!({
        "id": id, "enabled": false, "name": null, "kind": "", "frequency": "high",
        "last_complete": null, "last_error": null, "error_message": null
    });
    for (name, value) in rest.as_object().into_iter().flatten() {
        if job[name].is_null() {
            job[name] = value.clone();
        }
    }
}
