//! Compares the output of a job with the format that its endpoint expects.

use std::path::Path;

use command::fatal::Fatal;
use records::decode::Format;
use serde_json::{Map, Value};

use crate::api::output::{OutputOptions, OutputType};

/// An endpoint of a daemon, as far as a job depends on it.
pub struct JobEndpoint {
    /// The endpoint's name in the configuration.
    pub name: String,
    /// The job's `destination_conf` for this endpoint, including the secret.
    pub destination_conf: String,
    /// The format of request bodies.
    pub format: Format,
    /// The column names, for CSV without a header row.
    pub columns: Vec<String>,
}

/// The endpoint that `--endpoint` and its related options select.
#[derive(Clone, Copy, Debug)]
pub struct EndpointQuery<'a> {
    /// The configuration file, `-` for standard input.
    pub config: &'a Path,
    /// The endpoint's name in the configuration.
    pub name: &'a str,
    /// The dataset of the job.
    pub dataset: &'a str,
    /// The public host of the daemon, `NAME[:PORT]`, if it is not that of the certificate.
    pub host: Option<&'a str>,
}

/// Looks up an endpoint in a configuration. Fails if no such endpoint accepts the dataset.
pub type FindEndpoint = dyn Fn(&EndpointQuery<'_>) -> Result<JobEndpoint, Fatal>;

/// Extracts the options that [`differences`] compares from the `output_options` of a job.
pub(super) fn comparable_output(options: &Map<String, Value>) -> OutputOptions {
    let text = |name: &str| {
        let text = options.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let names = options.get("field_names").and_then(Value::as_array);
    let names = names.map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned));
    let is_csv = text("output_type").is_some_and(|kind| kind == "csv");
    OutputOptions {
        field_names: names.map(Iterator::collect),
        output_type: is_csv.then_some(OutputType::Csv),
        record_template: text("record_template"),
        field_delimiter: text("field_delimiter"),
        batch_prefix: text("batch_prefix"),
        ..OutputOptions::default()
    }
}

/// Lists the differences between the output of a job and the format that `endpoint` expects. With
/// `fields_pending`, the field names are not known yet.
pub(super) fn differences(
    endpoint: &JobEndpoint,
    output: &OutputOptions,
    fields_pending: bool,
) -> Vec<String> {
    let name = &endpoint.name;
    let is_csv = output.output_type == Some(OutputType::Csv);
    match endpoint.format {
        // A template can produce any format.
        Format::Json | Format::Concatenated if is_csv && output.record_template.is_none() => {
            vec![format!(
                "endpoint `{name}` expects JSON, not --output-type csv: remove the option, or set `format = \"csv\"` for the endpoint"
            )]
        }
        Format::Csv(delimiter) if output.record_template.is_none() => {
            csv(endpoint, char::from(delimiter.byte()), output, fields_pending)
        }
        Format::Json | Format::Concatenated | Format::Csv(_) | Format::Text => Vec::new(),
    }
}

fn csv(
    endpoint: &JobEndpoint,
    delimiter: char,
    output: &OutputOptions,
    fields_pending: bool,
) -> Vec<String> {
    let JobEndpoint { name, columns, .. } = endpoint;
    if output.output_type != Some(OutputType::Csv) {
        return vec![format!("endpoint `{name}` expects CSV: add --output-type csv")];
    }
    let mut differences = Vec::new();
    let sent = output.field_delimiter.as_deref().unwrap_or(",");
    if sent != delimiter.to_string() {
        differences.push(format!(
            "the job separates fields by {sent:?}, and endpoint `{name}` expects {delimiter:?}: add --field-delimiter {:?}",
            delimiter.to_string()
        ));
    }
    let fields = output.field_names.as_deref().unwrap_or_default();
    if columns.is_empty() {
        if output.batch_prefix.as_deref().unwrap_or_default().trim().is_empty() {
            let row = fields.join(&delimiter.to_string().escape_default().to_string());
            differences.push(format!(
                "endpoint `{name}` expects a header row in each body (`header = true`), and Logpush sends none: set `columns` for the endpoint, or add --batch-prefix '{row}\\n'"
            ));
        }
    } else if !fields_pending && fields != columns {
        let wanted = columns.join(",");
        differences.push(format!(
            "the fields of the job differ from the `columns` of endpoint `{name}`, or are in another order: add --fields {wanted}, or change `columns`"
        ));
    }
    differences
}

#[cfg(test)]
mod tests {
    use records::decode::Delimiter;
    use serde_json::json;

    use super::*;

    fn endpoint(format: Format, columns: &[&str]) -> JobEndpoint {
        JobEndpoint {
            name: "rows".into(),
            destination_conf: String::new(),
            format,
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn options_from_the_api_are_compared() {
        let comma = endpoint(Format::Csv(Delimiter::Comma), &["a", "b"]);
        let found = |options: Value| {
            let Value::Object(options) = options else { panic!("{options}") };
            differences(&comma, &comparable_output(&options), false)
        };
        let csv = json!({ "output_type": "csv", "field_names": ["a", "b"], "field_delimiter": null,
                          "record_template": "", "batch_prefix": "" });
        assert_eq!(found(csv), Vec::<String>::new());
        for (options, want) in [
            (json!({}), "add --output-type csv"),
            (json!({ "output_type": "ndjson" }), "add --output-type csv"),
            (json!({ "output_type": "csv", "field_names": null }), "add --fields a,b"),
            (
                json!({ "output_type": "csv", "field_names": ["a", "b"], "field_delimiter": ";" }),
                "add --field-delimiter",
            ),
        ] {
            let found = found(options);
            assert!(found.len() == 1 && found[0].contains(want), "{want}: {found:?}");
        }
        let template = json!({ "output_type": "csv", "record_template": "{{.a}},{{.b}}\n" });
        assert_eq!(found(template), Vec::<String>::new());
    }

    #[test]
    fn a_job_must_send_the_format_of_the_endpoint() {
        let fields = |names: &[&str]| OutputOptions {
            field_names: Some(names.iter().map(|name| (*name).to_owned()).collect()),
            ..OutputOptions::default()
        };
        let csv =
            |names: &[&str]| OutputOptions { output_type: Some(OutputType::Csv), ..fields(names) };
        let tabs = OutputOptions { field_delimiter: Some("\t".into()), ..csv(&["a", "b"]) };
        let prefix = OutputOptions { batch_prefix: Some("a,b\n".into()), ..csv(&["a", "b"]) };
        let template =
            OutputOptions { record_template: Some("{{.a}},{{.b}}\n".into()), ..csv(&["a", "b"]) };
        let comma = endpoint(Format::Csv(Delimiter::Comma), &["a", "b"]);
        let tab = endpoint(Format::Csv(Delimiter::Tab), &["a", "b"]);
        let header = endpoint(Format::Csv(Delimiter::Comma), &[]);
        let json = endpoint(Format::Json, &[]);
        let text = endpoint(Format::Text, &[]);
        for (endpoint, output, want) in [
            (&comma, &csv(&["a", "b"]), None),
            (&comma, &prefix, None),
            (&comma, &fields(&["a", "b"]), Some("add --output-type csv")),
            (&comma, &csv(&["b", "a"]), Some("add --fields a,b")),
            (&comma, &csv(&["a"]), Some("add --fields a,b")),
            (&comma, &tabs, Some("add --field-delimiter \",\"")),
            (&comma, &template, None),
            (&tab, &tabs, None),
            (&tab, &csv(&["a", "b"]), Some("add --field-delimiter \"\\t\"")),
            (&header, &csv(&["a", "b"]), Some("--batch-prefix 'a,b\\n'")),
            (&header, &prefix, None),
            (&json, &csv(&["a"]), Some("expects JSON")),
            (&json, &fields(&["a"]), None),
            (&json, &template, None),
            (&text, &csv(&["a"]), None),
        ] {
            let found = differences(endpoint, output, false);
            match want {
                Some(want) => {
                    assert!(found.len() == 1 && found[0].contains(want), "{want}: {found:?}");
                }
                None => assert_eq!(found, Vec::<String>::new()),
            }
        }
        let later = OutputOptions { field_names: None, ..csv(&[]) };
        assert_eq!(differences(&comma, &later, true), Vec::<String>::new());
    }
}
