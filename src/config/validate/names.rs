//! Names: of endpoints, sinks, datasets and fields.

use records::is_dataset;
use settings::{Context, Diagnostic, Spanned, Value, reference::Takes, setting, types::text};

setting! {
    /// The name of a dataset.
    pub struct DatasetName(String): Takes::String("name of a dataset"), read by dataset;
}

setting! {
    /// One of several datasets.
    pub struct DatasetNames(String): Takes::String("names of datasets"), read by dataset;
}

setting! {
    /// One of several endpoints. Whether they exist is checked later.
    pub struct EndpointNames(String): Takes::String("names of endpoints"), read by text;
}

setting! {
    /// One of several sinks. Whether they exist is checked later.
    pub struct SinkNames(String): Takes::String("names of sinks"), read by text;
}

setting! {
    /// One of several fields, or members of fields.
    pub struct FieldNames(String): Takes::String("names of fields"), read by text;
}

setting! {
    /// One of several columns.
    pub struct ColumnNames(String): Takes::String("names of columns"), read by text;
}

fn dataset(value: &Value<'_>, cx: &mut Context) -> Option<String> {
    let text = value.string(cx)?.into_inner();
    if !is_dataset(text.as_bytes()) {
        let message = format!("`{}` is not a dataset name", text.escape_debug());
        let hint = "use 1 to 64 of a-z, 0-9 and `_`, such as \"http_requests\"";
        cx.push(value.problem(message).hint(hint));
        return None;
    }
    Some(text)
}

/// Checks NAME of `[endpoint.NAME]` and `[sink.NAME.KIND]`.
pub(super) fn check_name(name: &Spanned<String>, cx: &mut Context) {
    let text = name.get_ref();
    let is_valid = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !is_valid {
        cx.push(
            Diagnostic::at(name.span(), format!("`{}` is not a valid name", text.escape_debug()))
                .hint("use 1 to 64 of A-Z, a-z, 0-9, `_` and `-`"),
        );
    }
}

/// Returns names without their positions.
pub(super) fn plain(names: &[Spanned<String>]) -> Vec<String> {
    names.iter().map(|name| name.get_ref().clone()).collect()
}
