//! Fields that are added to records.

use std::fmt::Write as _;

use jiff::Timestamp;

/// A field that is added to every record. It replaces a field with the same name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AddedField {
    /// Its name. A dot has no meaning.
    pub name: String,
    /// Its value.
    pub value: AddedValue,
}

/// The value of an added field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AddedValue {
    /// A string.
    Text(TextTemplate),
    /// A number, as in JSON.
    Number(String),
    /// `true` or `false`.
    Bool(bool),
}

/// A text with placeholders for properties of a batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TextTemplate(Vec<TextPart>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum TextPart {
    Literal(String),
    Dataset,
    Endpoint,
    Received,
    Batch,
    Digest,
}

/// The batch of a record.
#[derive(Clone, Copy, Debug)]
pub struct BatchInfo<'a> {
    /// `{dataset}`
    pub dataset: &'a str,
    /// `{endpoint}`
    pub endpoint: &'a str,
    /// `{received}`: when the batch arrived.
    pub received: Timestamp,
    /// `{batch}`: the number of the batch in the spool.
    pub sequence: u64,
    /// `{digest}`: the first half of the BLAKE3 digest of the decompressed body.
    pub digest: u128,
}

impl TextTemplate {
    /// Parses a template. `{{` and `}}` stand for a brace.
    ///
    /// # Errors
    /// The first fault.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, found) = rest.split_at(at);
            literal.push_str(before);
            rest = if let Some(after) = found.strip_prefix("{{") {
                literal.push('{');
                after
            } else if let Some(after) = found.strip_prefix("}}") {
                literal.push('}');
                after
            } else if let Some((name, after)) =
                found.strip_prefix('{').and_then(|found| found.split_once('}'))
            {
                if !literal.is_empty() {
                    parts.push(TextPart::Literal(std::mem::take(&mut literal)));
                }
                parts.push(placeholder(name)?);
                after
            } else if found.starts_with('{') {
                return Err("`{` is not closed: write `{{` for a brace".to_owned());
            } else {
                return Err("`}` has no `{` before it: write `}}` for a brace".to_owned());
            };
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(TextPart::Literal(literal));
        }
        Ok(Self(parts))
    }

    fn render(&self, of: &BatchInfo<'_>) -> String {
        let mut text = String::new();
        for part in &self.0 {
            // Cannot fail: the text is in memory.
            match part {
                TextPart::Literal(literal) => write!(text, "{literal}"),
                TextPart::Dataset => write!(text, "{}", of.dataset),
                TextPart::Endpoint => write!(text, "{}", of.endpoint),
                TextPart::Received => write!(text, "{}", of.received),
                TextPart::Batch => write!(text, "{}", of.sequence),
                TextPart::Digest => write!(text, "{:032x}", of.digest),
            }
            .ok();
        }
        text
    }
}

fn placeholder(name: &str) -> Result<TextPart, String> {
    Ok(match name {
        "dataset" => TextPart::Dataset,
        "endpoint" => TextPart::Endpoint,
        "received" => TextPart::Received,
        "batch" => TextPart::Batch,
        "digest" => TextPart::Digest,
        _ => {
            let name = name.escape_debug();
            return Err(format!(
                "`{{{name}}}` is unknown: use {{dataset}}, {{endpoint}}, {{received}}, {{batch}} or \
                 {{digest}}, or write `{{{{` for a brace"
            ));
        }
    })
}

/// Returns the members that are added to the records of a batch, as in JSON.
pub(super) fn render(added: &[AddedField], of: &BatchInfo<'_>) -> String {
    let member = |AddedField { name, value }: &AddedField| {
        let name = serde_json::Value::from(name.as_str());
        match value {
            AddedValue::Text(text) => {
                format!("{name}:{}", serde_json::Value::from(text.render(of)))
            }
            AddedValue::Number(number) => format!("{name}:{number}"),
            AddedValue::Bool(flag) => format!("{name}:{flag}"),
        }
    };
    added.iter().map(member).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str) -> Result<String, String> {
        let of = BatchInfo {
            dataset: "dns_logs",
            endpoint: "main",
            received: Timestamp::from_microsecond(1_763_755_200_123_456).unwrap(),
            sequence: 42,
            digest: 0xab,
        };
        TextTemplate::parse(text).map(|template| template.render(&of))
    }

    #[test]
    fn placeholders_are_filled_in() {
        for (text, expected) in [
            ("", ""),
            ("prod", "prod"),
            ("{dataset}", "dns_logs"),
            ("{endpoint}/{dataset}#{batch}", "main/dns_logs#42"),
            ("{received}", "2025-11-21T20:00:00.123456Z"),
            ("{digest}", "000000000000000000000000000000ab"),
            ("{{dataset}} {{{batch}}} \u{e9}", "{dataset} {42} \u{e9}"),
        ] {
            assert_eq!(rendered(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("{dataset", "is not closed"),
            ("dataset}", "has no `{` before it"),
            ("{}", "`{}` is unknown"),
            (
                "{Dataset}",
                "`{Dataset}` is unknown: use {dataset}, {endpoint}, {received}, {batch} or {digest}, or write `{{` for",
            ),
            ("{a{batch}", "`{a{batch}` is unknown"),
        ] {
            let fault = rendered(text).unwrap_err();
            assert!(fault.contains(expected), "{text}: {fault}");
        }
    }
}
