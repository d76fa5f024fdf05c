//! A Logpush job as the API returns it.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A Logpush job. Members that are missing or null have their default value.
#[derive(Clone, Debug, Default, Deserialize)]
#[expect(missing_docs, reason = "Cloudflare's names")]
pub struct Job {
    pub id: u64,
    #[serde(default, deserialize_with = "or_default")]
    pub dataset: String,
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub enabled: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub destination_conf: String,
    #[serde(default, deserialize_with = "or_default")]
    pub filter: String,
    #[serde(default, deserialize_with = "or_default")]
    pub logpull_options: String,
    #[serde(default, deserialize_with = "or_default")]
    pub output_options: Map<String, Value>,
    #[serde(default, deserialize_with = "or_default")]
    pub max_upload_bytes: u64,
    #[serde(default, deserialize_with = "or_default")]
    pub max_upload_records: u64,
    #[serde(default, deserialize_with = "or_default")]
    pub max_upload_interval_seconds: u64,
    /// The end of the last time range of logs that was pushed.
    #[serde(default, deserialize_with = "time")]
    pub last_complete: Option<Timestamp>,
    /// The time of the last failure; `None` if the job has succeeded since.
    #[serde(default, deserialize_with = "time")]
    pub last_error: Option<Timestamp>,
    #[serde(default, deserialize_with = "or_default")]
    pub error_message: String,
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Parses a time. An invalid time counts as missing, so that the rest of the job is still shown.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

impl Job {
    /// Reports whether the job has not succeeded since its last failure.
    pub fn is_failing(&self) -> bool {
        self.last_error.is_some() || !self.error_message.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_members_but_the_id_are_optional() {
        let text = r#"{"id":7,"dataset":null,"name":null,"enabled":null,"output_options":null,
            "last_complete":"","last_error":null,"max_upload_bytes":null,"new":1}"#;
        let job: Job = serde_json::from_str(text).unwrap();
        assert_eq!((job.id, job.dataset.as_str(), job.enabled), (7, "", false));
        assert!(job.last_complete.is_none() && !job.is_failing());
        let text = r#"{"id":7,"last_complete":"2018-08-09T21:26:00Z","error_message":"error 401"}"#;
        let job: Job = serde_json::from_str(text).unwrap();
        assert_eq!(job.last_complete.unwrap().to_string(), "2018-08-09T21:26:00Z");
        assert!(job.is_failing());
    }
}
