//! Texts with placeholders for the origin of a batch, for labels and attributes.

use spool::Origin;

/// A text in which `{dataset}` and `{endpoint}` are filled in. Not a value of a record, so the
/// number of different texts is small.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OriginText(String);

impl OriginText {
    /// Parses a text.
    ///
    /// # Errors
    /// The text contains a brace that does not belong to a placeholder.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let literal = fill(text, "", "");
        if literal.contains(['{', '}']) {
            return Err("use {dataset} and {endpoint} only");
        }
        Ok(Self(text.to_owned()))
    }

    /// Fills in the names.
    pub fn fill(&self, origin: &Origin) -> String {
        fill(&self.0, &origin.dataset, &origin.endpoint)
    }
}

/// Fills in the names of a dataset and an endpoint, which contain no braces.
pub(crate) fn fill(text: &str, dataset: &str, endpoint: &str) -> String {
    text.replace("{dataset}", dataset).replace("{endpoint}", endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upload::batch;

    #[test]
    fn names_are_filled_in() {
        let origin = batch(1).header.origin;
        for (text, expected) in [
            ("logs", Some("logs")),
            ("{dataset}", Some("http_requests")),
            ("a-{endpoint}/{dataset}", Some("a-push/http_requests")),
            ("{ClientIP}", None),
            ("{dataset", None),
            ("a}", None),
        ] {
            let filled = OriginText::parse(text).map(|text| text.fill(&origin));
            assert_eq!(filled.ok().as_deref(), expected, "{text}");
        }
    }
}
