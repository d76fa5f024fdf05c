//! Cloudflare's API for Logpush jobs: its requests, its limits, and the meaning of its responses.
//!
//! Pure: no sockets, no files, no clock. [`crate::job`] sends the requests that this module describes.
//! The sources are Cloudflare's API schema and its Logpush documentation.

pub mod datasets;
pub mod destination;
pub mod filter;
pub mod health;
pub mod job;
pub mod limits;
pub mod mask;
pub mod output;
pub mod response;

use http::Method;
use serde_json::{Value, json};

/// The base URL of Cloudflare's API.
pub const API_URL: &str = "https://api.cloudflare.com/client/v4";

/// The owner of jobs: a zone (datasets such as `http_requests`) or an account (datasets such as
/// `audit_logs`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scope {
    /// A zone, by its ID.
    Zone(String),
    /// An account, by its ID.
    Account(String),
}

impl Scope {
    fn path(&self) -> String {
        match self {
            Self::Zone(id) => format!("/zones/{id}/logpush"),
            Self::Account(id) => format!("/accounts/{id}/logpush"),
        }
    }

    /// Formats the scope as a command-line option.
    pub fn as_option(&self) -> String {
        match self {
            Self::Zone(id) => format!("--zone {id}"),
            Self::Account(id) => format!("--account {id}"),
        }
    }
}

/// Parses the ID of a zone or account.
///
/// # Errors
/// The text is not 32 hexadecimal digits.
pub fn parse_id(text: &str) -> Result<String, String> {
    if text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("an ID has 32 hexadecimal digits; the zone's overview page in the dashboard shows the zone ID and the account ID".into())
}

/// Parses the name of a dataset.
///
/// # Errors
/// The text is not 1 to 64 characters of `[a-z0-9_]`.
pub fn parse_dataset(text: &str) -> Result<String, String> {
    let is_name = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    if (1..=64).contains(&text.len()) && text.bytes().all(is_name) {
        return Ok(text.to_owned());
    }
    Err("a dataset name has 1 to 64 characters from a-z, 0-9 and _, such as http_requests".into())
}

/// A request to the API.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiCall {
    /// The HTTP method.
    pub method: Method,
    /// The path, relative to [`API_URL`].
    pub path: String,
    /// The JSON body, if the request has one.
    pub body: Option<Value>,
}

impl ApiCall {
    fn get(path: String) -> Self {
        Self { method: Method::GET, path, body: None }
    }

    fn post(path: String, body: Value) -> Self {
        Self { method: Method::POST, path, body: Some(body) }
    }

    /// Lists all jobs of the zone or account.
    pub fn list(scope: &Scope) -> Self {
        Self::get(format!("{}/jobs", scope.path()))
    }

    /// Gets one job.
    pub fn show(scope: &Scope, id: u64) -> Self {
        Self::get(format!("{}/jobs/{id}", scope.path()))
    }

    /// Creates a job.
    pub fn create(scope: &Scope, job: Value) -> Self {
        Self::post(format!("{}/jobs", scope.path()), job)
    }

    /// Changes a job. Members missing from `changes` stay, but `output_options` is replaced as a whole.
    pub fn update(scope: &Scope, id: u64, changes: Value) -> Self {
        let path = format!("{}/jobs/{id}", scope.path());
        Self { method: Method::PUT, path, body: Some(changes) }
    }

    /// Deletes a job.
    pub fn delete(scope: &Scope, id: u64) -> Self {
        let path = format!("{}/jobs/{id}", scope.path());
        Self { method: Method::DELETE, path, body: None }
    }

    /// Lists the fields of a dataset with their descriptions.
    pub fn fields(scope: &Scope, dataset: &str) -> Self {
        Self::get(format!("{}/datasets/{dataset}/fields", scope.path()))
    }

    /// Makes Cloudflare send its destination check.
    pub fn validate(scope: &Scope, destination: &str) -> Self {
        let body = json!({ "destination_conf": destination });
        Self::post(format!("{}/validate/destination", scope.path()), body)
    }

    /// Asks whether a job already sends to a destination.
    pub fn exists(scope: &Scope, destination: &str) -> Self {
        let body = json!({ "destination_conf": destination });
        Self::post(format!("{}/validate/destination/exists", scope.path()), body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_the_methods_and_paths_of_the_api() {
        let zone = Scope::Zone("z".into());
        let account = Scope::Account("a".into());
        let cases = [
            (ApiCall::list(&zone), "GET /zones/z/logpush/jobs"),
            (ApiCall::show(&account, 7), "GET /accounts/a/logpush/jobs/7"),
            (ApiCall::create(&zone, json!({})), "POST /zones/z/logpush/jobs {}"),
            (
                ApiCall::update(&zone, 7, json!({"enabled": true})),
                "PUT /zones/z/logpush/jobs/7 {\"enabled\":true}",
            ),
            (ApiCall::delete(&zone, 7), "DELETE /zones/z/logpush/jobs/7"),
            (
                ApiCall::fields(&account, "audit_logs"),
                "GET /accounts/a/logpush/datasets/audit_logs/fields",
            ),
            (
                ApiCall::validate(&zone, "https://x"),
                "POST /zones/z/logpush/validate/destination {\"destination_conf\":\"https://x\"}",
            ),
            (
                ApiCall::exists(&zone, "https://x"),
                "POST /zones/z/logpush/validate/destination/exists {\"destination_conf\":\"https://x\"}",
            ),
        ];
        for (call, want) in cases {
            let body = call.body.map(|body| format!(" {body}")).unwrap_or_default();
            assert_eq!(format!("{} {}{body}", call.method, call.path), want);
        }
    }

    #[test]
    fn ids_and_dataset_names_are_validated() {
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
