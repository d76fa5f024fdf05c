//! Names of databases and tables, with placeholders.

use std::fmt;

use settings::{Context, Value, reference::Takes, setting};

use crate::origin_text::fill;

/// The placeholders, each with the characters of its value as a regular expression.
const PLACEHOLDERS: [(&str, &str); 2] =
    [("{dataset}", "[a-z0-9_]{1,64}"), ("{endpoint}", "[A-Za-z0-9_-]{1,64}")];

/// The name of a database or a table in which `{dataset}` and `{endpoint}` are filled in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IdentifierTemplate(String);

setting! {
    /// The name of a database or a table. `{dataset}` and `{endpoint}` are filled in.
    pub struct Identifier(IdentifierTemplate): Takes::String("name template"), read by identifier;
}

impl IdentifierTemplate {
    /// Fills in the names of a dataset and an endpoint.
    pub(super) fn fill(&self, dataset: &str, endpoint: &str) -> String {
        fill(&self.0, dataset, endpoint)
    }

    /// Whether it contains `{endpoint}`.
    pub(super) fn has_endpoint(&self) -> bool {
        self.0.contains("{endpoint}")
    }

    /// Whether it contains `{dataset}`.
    pub(super) fn has_dataset(&self) -> bool {
        self.0.contains("{dataset}")
    }

    /// A regular expression (RE2) that matches the names that the template can result in.
    pub(super) fn pattern(&self) -> String {
        let mut pattern = String::from("^");
        let mut rest = self.0.as_str();
        while let Some(c) = rest.chars().next() {
            let placeholder = PLACEHOLDERS.iter().find(|(name, _)| rest.starts_with(name));
            let length = if let Some((name, values)) = placeholder {
                pattern.push_str(values);
                name.len()
            } else {
                if c.is_ascii_punctuation() {
                    pattern.push('\\');
                }
                pattern.push(c);
                c.len_utf8()
            };
            rest = rest.get(length..).unwrap_or_default();
        }
        pattern.push('$');
        pattern
    }

    /// Parses and validates a template.
    ///
    /// # Errors
    /// The fault, as a predicate of the template.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let literal = fill(text, "", "");
        if text.is_empty() {
            Err("is empty")
        } else if literal.contains(['{', '}']) {
            Err("contains an unknown placeholder: use {dataset} or {endpoint}")
        } else if text.contains(char::is_control) {
            Err("contains a control character")
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

impl fmt::Display for IdentifierTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn identifier(value: &Value<'_>, cx: &mut Context) -> Option<IdentifierTemplate> {
    let text = value.string(cx)?.into_inner();
    match IdentifierTemplate::parse(&text) {
        Ok(template) => Some(template),
        Err(fault) => {
            let hint = format!("write a name such as {}", value.example());
            cx.push(value.problem(format!("`{}` {fault}", value.name())).hint(hint));
            None
        }
    }
}

/// Quotes an identifier for a query.
pub(super) fn quoted(identifier: &str) -> String {
    format!("`{}`", identifier.replace('\\', "\\\\").replace('`', "\\`"))
}

/// Quotes a string for a query.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in() {
        let template = IdentifierTemplate::parse("a_{dataset}.{endpoint}").unwrap();
        assert_eq!(template.fill("http_requests", "Main-1"), "a_http_requests.Main-1");
        assert!(template.has_dataset() && template.has_endpoint());
        let pattern = r"^a\_[a-z0-9_]{1,64}\.[A-Za-z0-9_-]{1,64}$";
        assert_eq!(template.pattern(), pattern);
    }

    #[test]
    fn invalid_names_are_refused() {
        for (text, expected) in [
            ("", "is empty"),
            ("{zone}", "unknown placeholder"),
            ("a}", "unknown placeholder"),
            ("a\n", "control"),
        ] {
            let fault = IdentifierTemplate::parse(text).unwrap_err();
            assert!(fault.contains(expected), "{text}: {fault}");
        }
    }

    #[test]
    fn quotes_and_backslashes_are_escaped() {
        assert_eq!(quoted(r"a`b\c"), r"`a\`b\\c`");
        assert_eq!(literal(r"it's \d"), r"'it\'s \\d'");
    }
}
