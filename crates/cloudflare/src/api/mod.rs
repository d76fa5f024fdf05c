//! Cloudflare's API for Logpush jobs: what is asked, what is allowed, and what the answers mean.
//!
//! Pure: no sockets, no files, no clock. [`crate::job`] sends what this module describes. The sources
//! are Cloudflare's API schema and its documentation of Logpush.

pub mod answer;
pub mod datasets;
pub mod destination;
pub mod filter;
pub mod health;
pub mod job;
pub mod limits;
pub mod mask;
pub mod output;

use http::Method;
use serde_json::{Value, json};

/// Where Cloudflare's API is.
pub const API_URL: &str = "https://api.cloudflare.com/client/v4";

/// Whose jobs: those of a zone (`http_requests`, `firewall_events` and so on) or of an account
/// (`audit_logs`, `gateway_dns` and so on).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scope {
    /// The ID of a zone.
    Zone(String),
    /// The ID of an account.
    Account(String),
}

impl Scope {
    fn path(&self) -> String {
        match self {
            Self::Zone(id) => format!("/zones/{id}/logpush"),
            Self::Account(id) => format!("/accounts/{id}/logpush"),
        }
    }

    /// As it is said on the command line.
    pub fn option(&self) -> String {
        match self {
            Self::Zone(id) => format!("--zone {id}"),
            Self::Account(id) => format!("--account {id}"),
        }
    }
}

/// The ID of a zone or an account.
///
/// # Errors
/// It cannot be one.
pub fn parse_id(text: &str) -> Result<String, String> {
    if text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("an ID has 32 hexadecimal digits: the dashboard shows those of the zone and of the account on the zone's overview page".into())
}

/// The name of a dataset.
///
/// # Errors
/// It cannot be one.
pub fn parse_dataset(text: &str) -> Result<String, String> {
    let is_name = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    if (1..=64).contains(&text.len()) && text.bytes().all(is_name) {
        return Ok(text.to_owned());
    }
    Err("a dataset is named as in http_requests: a-z, 0-9 and _".into())
}

/// A request to the API.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// How.
    pub method: Method,
    /// What stands behind the API's own URL.
    pub path: String,
    /// What is sent.
    pub body: Option<Value>,
}

impl Call {
    fn get(path: String) -> Self {
        Self { method: Method::GET, path, body: None }
    }

    fn post(path: String, body: Value) -> Self {
        Self { method: Method::POST, path, body: Some(body) }
    }

    /// All jobs of the zone or account.
    pub fn list(scope: &Scope) -> Self {
        Self::get(format!("{}/jobs", scope.path()))
    }

    /// One job.
    pub fn show(scope: &Scope, id: u64) -> Self {
        Self::get(format!("{}/jobs/{id}", scope.path()))
    }

    /// A new job.
    pub fn create(scope: &Scope, job: Value) -> Self {
        Self::post(format!("{}/jobs", scope.path()), job)
    }

    /// Changes of a job. What is not named stays, but `output_options` is replaced as a whole.
    pub fn update(scope: &Scope, id: u64, changes: Value) -> Self {
        let path = format!("{}/jobs/{id}", scope.path());
        Self { method: Method::PUT, path, body: Some(changes) }
    }

    /// The end of a job.
    pub fn delete(scope: &Scope, id: u64) -> Self {
        let path = format!("{}/jobs/{id}", scope.path());
        Self { method: Method::DELETE, path, body: None }
    }

    /// The fields of a dataset, each with a description.
    pub fn fields(scope: &Scope, dataset: &str) -> Self {
        Self::get(format!("{}/datasets/{dataset}/fields", scope.path()))
    }

    /// Has Cloudflare send its destination check.
    pub fn validate(scope: &Scope, destination: &str) -> Self {
        let body = json!({ "destination_conf": destination });
        Self::post(format!("{}/validate/destination", scope.path()), body)
    }

    /// Whether a job sends to that destination already.
    pub fn exists(scope: &Scope, destination: &str) -> Self {
        let body = json!({ "destination_conf": destination });
        Self::post(format!("{}/validate/destination/exists", scope.path()), body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_those_of_the_api() {
        let zone = Scope::Zone("z".into());
        let account = Scope::Account("a".into());
        let cases = [
            (Call::list(&zone), "GET /zones/z/logpush/jobs"),
            (Call::show(&account, 7), "GET /accounts/a/logpush/jobs/7"),
            (Call::create(&zone, json!({})), "POST /zones/z/logpush/jobs {}"),
            (
                Call::update(&zone, 7, json!({"enabled": true})),
                "PUT /zones/z/logpush/jobs/7 {\"enabled\":true}",
            ),
            (Call::delete(&zone, 7), "DELETE /zones/z/logpush/jobs/7"),
            (
                Call::fields(&account, "audit_logs"),
                "GET /accounts/a/logpush/datasets/audit_logs/fields",
            ),
            (
                Call::validate(&zone, "https://x"),
                "POST /zones/z/logpush/validate/destination {\"destination_conf\":\"https://x\"}",
            ),
            (
                Call::exists(&zone, "https://x"),
                "POST /zones/z/logpush/validate/destination/exists {\"destination_conf\":\"https://x\"}",
            ),
        ];
        for (call, want) in cases {
            let body = call.body.map(|body| format!(" {body}")).unwrap_or_default();
            assert_eq!(format!("{} {}{body}", call.method, call.path), want);
        }
    }

    #[test]
    fn an_id_is_no_name() {
        assert_eq!(parse_id(&"A0".repeat(16)).unwrap(), "a0".repeat(16));
        for text in ["", "example.com", &"0".repeat(31), &"g".repeat(32), &"/..a".repeat(8)] {
            assert!(parse_id(text).unwrap_err().contains("32 hexadecimal digits"), "{text}");
        }
        parse_dataset("http_requests").unwrap();
        for text in ["", "HTTP", "a/b", "a b", &"a".repeat(65)] {
            parse_dataset(text).unwrap_err();
        }
    }
}
