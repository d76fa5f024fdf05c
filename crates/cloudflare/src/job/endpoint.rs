//! Compares a job with the endpoint that it sends to: what the one writes the other must read.

use std::path::Path;

use command::fatal::Fatal;
use records::decode::Format;
use serde_json::{Map, Value};

use crate::api::output::{OutputOptions, OutputType};

/// What a job has to know of an endpoint of a daemon.
pub struct Endpoint {
    /// As the configuration names it.
    pub name: String,
    /// What a job has as its destination, the secret included.
    pub destination_conf: String,
    /// What its bodies are.
    pub format: Format,
    /// The names of the columns, if the bodies are CSV without a row of names.
    pub columns: Vec<String>,
}

/// Which endpoint is asked for, by `--endpoint` and the options for it.
#[derive(Clone, Copy, Debug)]
pub struct EndpointQuery<'a> {
    /// The configuration, `-` for standard input.
    pub config: &'a Path,
    /// As the configuration names it.
    pub name: &'a str,
    /// The dataset of the job.
    pub dataset: &'a str,
    /// By which name Cloudflare finds the daemon, if it is said: `NAME[:PORT]`.
    pub host: Option<&'a str>,
}

/// Looks up an endpoint in a configuration. Fails if no endpoint has that name and takes that dataset.
pub type FindEndpoint = dyn Fn(&EndpointQuery<'_>) -> Result<Endpoint, Fatal>;

/// What [`differences`] looks at in the `output_options` of a job, as the API has them.
pub(super) fn output_of(options: &Map<String, Value>) -> OutputOptions {
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

/// How the output of a job differs from what `endpoint` reads. With `fields_follow` the names of the fields are
/// not known yet.
pub(super) fn differences(
    endpoint: &Endpoint,
    output: &OutputOptions,
    fields_follow: bool,
) -> Vec<String> {
    let name = &endpoint.name;
    let is_csv = output.output_type == Some(OutputType::Csv);
    match endpoint.format {
        // A template makes of a row whatever it says.
        Format::Json | Format::Concatenated if is_csv && output.record_template.is_none() => {
            vec![format!(
                "endpoint `{name}` reads JSON, and --output-type csv sends rows: leave it out, or set `format = \"csv\"` there"
            )]
        }
        Format::Csv(delimiter) if output.record_template.is_none() => {
            csv(endpoint, char::from(delimiter.byte()), output, fields_follow)
        }
        Format::Json | Format::Concatenated | Format::Csv(_) | Format::Text => Vec::new(),
    }
}

fn csv(
    endpoint: &Endpoint,
    delimiter: char,
    output: &OutputOptions,
    fields_follow: bool,
) -> Vec<String> {
    let Endpoint { name, columns, .. } = endpoint;
    if output.output_type != Some(OutputType::Csv) {
        return vec![format!("endpoint `{name}` reads CSV: add --output-type csv")];
    }
    let mut differences = Vec::new();
    let sent = output.field_delimiter.as_deref().unwrap_or(",");
    if sent != delimiter.to_string() {
        differences.push(format!(
            "the job separates cells by {sent:?}, and endpoint `{name}` by {delimiter:?}: add --field-delimiter {:?}",
            delimiter.to_string()
        ));
    }
    let fields = output.field_names.as_deref().unwrap_or_default();
    if columns.is_empty() {
        if output.batch_prefix.as_deref().unwrap_or_default().trim().is_empty() {
            let row = fields.join(&delimiter.to_string().escape_default().to_string());
            differences.push(format!(
                "endpoint `{name}` takes the first row of each body for the names of the columns (`header = true`), and Logpush sends none: set `columns` there, or add --batch-prefix '{row}\\n'"
            ));
        }
    } else if !fields_follow && fields != columns {
        let wanted = columns.join(",");
        differences.push(format!(
            "the fields of the job are not the `columns` of endpoint `{name}`, in their order: add --fields {wanted}, or change `columns`"
        ));
    }
    differences
}

#[cfg(test)]
mod tests {
    use records::decode::Delimiter;
    use serde_json::json;

    use super::*;

    fn endpoint(format: Format, columns: &[&str]) -> Endpoint {
        Endpoint {
            name: "rows".into(),
            destination_conf: String::new(),
            format,
            columns: columns.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn what_the_api_has_is_compared_like_what_is_asked_for() {
        let comma = endpoint(Format::Csv(Delimiter::Comma), &["a", "b"]);
        let found = |options: Value| {
            let Value::Object(options) = options else { panic!("{options}") };
            differences(&comma, &output_of(&options), false)
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
    fn a_job_must_send_what_the_endpoint_reads() {
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
            (&json, &csv(&["a"]), Some("reads JSON")),
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
