//! A job as the API describes it.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A job. Members that Cloudflare leaves out or sets to null are as if empty.
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
    /// The end of the last range of logs that was pushed.
    #[serde(default, deserialize_with = "time")]
    pub last_complete: Option<Timestamp>,
    /// When it last failed; none if it has succeeded since.
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

/// What is no time is none: a job is shown all the same.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

impl Job {
    /// It has not succeeded since it last failed.
    pub fn is_failing(&self) -> bool {
        self.last_error.is_some() || !self.error_message.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_may_lack_everything_but_its_id() {
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
