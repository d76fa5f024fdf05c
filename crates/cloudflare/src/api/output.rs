//! `output_options`: the format of records.

use std::{fmt, str::FromStr};

use serde::Serialize;

/// The `output_options` of a job. In a new job, unset members have Cloudflare's default; in an update,
/// they keep their value.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "Cloudflare's names; `logpushd job create --help` explains them")]
pub struct OutputOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_names: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_type: Option<OutputType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_suffix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_suffix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_delimiter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_template: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field_delimiter: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_format: Option<TimestampFormat>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<f64>,
    #[serde(rename = "CVE-2021-44228", skip_serializing_if = "Option::is_none")]
    pub cve_2021_44228: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge_subrequests: Option<bool>,
}

/// The record format; it also sets the defaults of the other options.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputType {
    /// One JSON object per line.
    Ndjson,
    /// One CSV row per line.
    Csv,
}

/// The format of timestamps.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TimestampFormat {
    /// Nanoseconds since 1970, as a number; Cloudflare's default.
    UnixNano,
    /// Seconds since 1970, as a number.
    Unix,
    /// RFC 3339 with seconds.
    Rfc3339,
    /// RFC 3339 with milliseconds.
    Rfc3339Ms,
    /// RFC 3339 with nanoseconds.
    Rfc3339Ns,
}

/// Returns the value of `text` in `words`.
fn parse_word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("Cloudflare accepts {}", words.join(", "))
    })
}

impl FromStr for OutputType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_word(text, &[("ndjson", Self::Ndjson), ("csv", Self::Csv)])
    }
}

impl FromStr for TimestampFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_word(
            text,
            &[
                ("unixnano", Self::UnixNano),
                ("unix", Self::Unix),
                ("rfc3339", Self::Rfc3339),
                ("rfc3339ms", Self::Rfc3339Ms),
                ("rfc3339ns", Self::Rfc3339Ns),
            ],
        )
    }
}

impl OutputOptions {
    /// Reports whether no option is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Lists the options that are invalid or contradict each other.
    pub fn problems(&self, dataset: Option<&str>) -> Vec<String> {
        let mut problems = Vec::new();
        let fields = self.field_names.as_deref().unwrap_or_default();
        for (index, field) in fields.iter().enumerate() {
            if field.is_empty() || !field.bytes().all(is_word) {
                problems.push(format!(
                    "--fields: `{field}` is not a field name: separate names by commas, such as ClientIP,RayID"
                ));
            } else if fields.iter().take(index).any(|previous| previous == field) {
                problems.push(format!("--fields: `{field}` occurs twice"));
            }
        }
        if let (Some(template), Some(fields)) = (&self.record_template, &self.field_names) {
            for field in
                template_fields(template).filter(|field| !fields.iter().any(|f| f == field))
            {
                problems.push(format!(
                    "--record-template uses {field}, which is not in --fields and would be null: add it to --fields"
                ));
            }
        }
        if self.merge_subrequests == Some(true)
            && let Some(dataset) = dataset.filter(|dataset| *dataset != "http_requests")
        {
            problems
                .push(format!("--merge-subrequests is only for http_requests, not for {dataset}"));
        }
        problems
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Returns the fields that a template uses, such as `{{.Field}}`.
fn template_fields(template: &str) -> impl Iterator<Item = &str> {
    template.split("{{").skip(1).filter_map(|action| {
        let action = action.split("}}").next()?.trim().trim_matches('-').trim();
        action.strip_prefix('.').filter(|name| !name.is_empty() && name.bytes().all(is_word))
    })
}

impl fmt::Display for TimestampFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnixNano => "unixnano",
            Self::Unix => "unix",
            Self::Rfc3339 => "rfc3339",
            Self::Rfc3339Ms => "rfc3339ms",
            Self::Rfc3339Ns => "rfc3339ns",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn options_serialize_with_cloudflares_names() {
        let options = OutputOptions {
            field_names: Some(vec!["ClientIP".into()]),
            output_type: Some("csv".parse().unwrap()),
            timestamp_format: Some("rfc3339ns".parse().unwrap()),
            cve_2021_44228: Some(true),
            batch_prefix: Some("ClientIP\n".into()),
            sample_rate: Some(0.1),
            ..OutputOptions::default()
        };
        let want = json!({
            "field_names": ["ClientIP"], "output_type": "csv", "timestamp_format": "rfc3339ns",
            "CVE-2021-44228": true, "batch_prefix": "ClientIP\n", "sample_rate": 0.1
        });
        assert_eq!(serde_json::to_value(&options).unwrap(), want);
        assert_eq!(serde_json::to_value(OutputOptions::default()).unwrap(), json!({}));
        for word in ["unixnano", "unix", "rfc3339", "rfc3339ms", "rfc3339ns"] {
            let format: TimestampFormat = word.parse().unwrap();
            assert_eq!(serde_json::to_value(format).unwrap(), word);
            assert_eq!(format.to_string(), word);
        }
        assert!("RFC3339".parse::<TimestampFormat>().unwrap_err().contains("rfc3339ms"));
        assert!("json".parse::<OutputType>().unwrap_err().contains("ndjson, csv"));
    }

    #[test]
    fn contradictory_options_are_reported() {
        let options = OutputOptions {
            field_names: Some(["A", "B C", "A", ""].map(str::to_owned).to_vec()),
            record_template: Some(r#"{"a":{{.A}},"d":{{ .D }}{{/* .E */}}{{"}"}}"#.into()),
            merge_subrequests: Some(true),
            ..OutputOptions::default()
        };
        let problems = options.problems(Some("dns_logs")).join("\n");
        for part in [
            "`B C` is not a field name",
            "`A` occurs twice",
            "`` is not a field name",
            "uses D,",
            "not for dns_logs",
        ] {
            assert!(problems.contains(part), "{part:?} not in {problems}");
        }
        assert_eq!(problems.lines().count(), 5, "{problems}");
        assert_eq!(OutputOptions::default().problems(None), [""; 0]);
    }
}
