//! The names and values of labels, and of structured metadata.

use std::fmt::Write as _;

use settings::{Context, Diagnostic, Value, reference::Takes, setting};
use spool::Origin;

use crate::origin_text::{OriginText, fill};

/// Loki's default for `max_label_names_per_series`.
const MAX_LABELS: usize = 15;

/// Loki's default for `max_label_value_length`.
const MAX_VALUE_BYTES: usize = 2048;

setting! {
    /// The labels of streams.
    pub struct Labels(Vec<(String, OriginText)>):
        Takes::Names("labels and values"), read by labels;
}

setting! {
    /// Names and values of structured metadata.
    pub struct Metadata(Vec<(String, MetadataText)>):
        Takes::Names("names and values"), read by metadata;
}

/// A text in which `{batch}` and `{position}` are filled in as well.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MetadataText(String);

fn labels(value: &Value<'_>, cx: &mut Context) -> Option<Vec<(String, OriginText)>> {
    let labels = read(value, cx, |text| {
        let hint = "use {dataset} and {endpoint} only: each value is a stream of its own, so fields \
                    of records cannot be labels; select them in queries with `| json`";
        OriginText::parse(text).map_err(|_| hint)
    })?;
    if labels.is_empty() {
        let message = format!("`{}` is empty: a stream needs a label", value.name());
        cx.push(value.problem(message).hint("write at least one, such as { job = \"logpush\" }"));
    }
    if labels.len() > MAX_LABELS {
        let message = format!("`{}` has more than {MAX_LABELS} labels", value.name());
        cx.push(value.problem(message).hint("Loki refuses streams with more of them by default"));
    }
    Some(labels)
}

fn metadata(value: &Value<'_>, cx: &mut Context) -> Option<Vec<(String, MetadataText)>> {
    read(value, cx, MetadataText::parse)
}

fn read<T>(
    value: &Value<'_>,
    cx: &mut Context,
    parse: impl Fn(&str) -> Result<T, &'static str>,
) -> Option<Vec<(String, T)>> {
    let mut read = Vec::new();
    for (name, value) in value.pairs(cx)? {
        let shown = name.get_ref().escape_debug();
        if !is_name(name.get_ref()) {
            let message = format!("`{shown}` is not the name of a label");
            let hint = "use letters, digits and underscores, without two underscores or a digit at \
                        the beginning";
            cx.push(Diagnostic::at(name.span(), message).hint(hint));
            continue;
        }
        let text = value.get_ref();
        if text.is_empty() || text.len() > MAX_VALUE_BYTES || text.contains(char::is_control) {
            let message = format!(
                "the value of `{shown}` is empty, longer than {MAX_VALUE_BYTES} bytes, or has a \
                 control character"
            );
            cx.push(Diagnostic::at(value.span(), message));
            continue;
        }
        match parse(text) {
            Ok(text) => read.push((name.into_inner(), text)),
            Err(hint) => {
                let message = format!("the value of `{shown}` contains an unknown placeholder");
                cx.push(Diagnostic::at(value.span(), message).hint(hint));
            }
        }
    }
    Some(read)
}

/// Whether `name` can be the name of a label. Names with two underscores are Loki's own.
fn is_name(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(is_letter)
        && !name.starts_with("__")
        && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

/// The labels of a stream in the form of a selector.
pub(super) fn selector(labels: &[(String, OriginText)], origin: &Origin) -> String {
    let mut selector = String::from("{");
    for (name, text) in labels {
        let separator = if selector.len() > 1 { ", " } else { "" };
        let value = text.fill(origin).replace('\\', "\\\\").replace('"', "\\\"");
        // Cannot fail: the target is a string.
        write!(selector, "{separator}{name}=\"{value}\"").ok();
    }
    selector.push('}');
    selector
}

impl MetadataText {
    /// Parses a text.
    ///
    /// # Errors
    /// The text contains a brace that does not belong to a placeholder.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let literal = text.replace("{batch}", "").replace("{position}", "");
        let hint = "use {dataset}, {endpoint}, {batch} and {position} only";
        OriginText::parse(&literal).map_err(|_| hint)?;
        Ok(Self(text.to_owned()))
    }

    /// Fills in the names, the digest of the batch, and the position of a record.
    pub(super) fn fill(&self, origin: &Origin, digest: u128, position: u64) -> String {
        let text = fill(&self.0, &origin.dataset, &origin.endpoint);
        let text = text.replace("{batch}", &format!("{digest:032x}"));
        text.replace("{position}", &position.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upload::batch;

    #[test]
    fn names_of_labels_are_checked() {
        for (name, expected) in [
            ("job", true),
            ("_a9", true),
            ("Dataset", true),
            ("__stream_shard__", false),
            ("9a", false),
            ("a-b", false),
            ("a.b", false),
            ("é", false),
            ("", false),
        ] {
            assert_eq!(is_name(name), expected, "{name}");
        }
    }

    #[test]
    fn a_selector_is_escaped() {
        let label = |name: &str, text| (name.to_owned(), OriginText::parse(text).unwrap());
        let labels = [label("job", "a\"b\\c"), label("dataset", "{dataset}-{endpoint}")];
        let origin = batch(1).header.origin;
        let expected = r#"{job="a\"b\\c", dataset="http_requests-push"}"#;
        assert_eq!(selector(&labels, &origin), expected);
    }

    #[test]
    fn metadata_is_filled_in() {
        let origin = batch(1).header.origin;
        let text = MetadataText("{dataset} {batch}-{position}".to_owned());
        let expected = format!("http_requests {}a-7", "0".repeat(31));
        assert_eq!(text.fill(&origin, 10, 7), expected);
    }
}
