//! The line format of quarantine files: a record that was rejected, or refused by a target, and its
//! origin.

use std::borrow::Cow;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

/// The reason of refused records where reasons are a closed list.
pub const REFUSED: &str = "refused";

/// A record that was rejected, or refused by a target.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Line<'a> {
    /// The reason: [`crate::decode::RejectReason::label`], or the words of the target of `sink`.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    /// Name of the sink whose target refused the record. The record was delivered to all other
    /// sinks.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<Cow<'a, str>>,
    /// Fingerprint of the selection of that sink, if it changes records: the record has been through
    /// it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<Cow<'a, str>>,
    /// Name of the endpoint.
    #[serde(borrow)]
    pub endpoint: Cow<'a, str>,
    /// Name of the dataset.
    #[serde(borrow)]
    pub dataset: Cow<'a, str>,
    /// Sequence of the batch.
    pub batch: u64,
    /// When the batch was received, in the format of RFC 3339.
    #[serde(borrow)]
    pub received: Cow<'a, str>,
    /// Position in the batch, from 1. With a `sink`, only the records for that sink count.
    pub position: u64,
    /// Length of the whole record in bytes.
    pub length: u64,
    /// The record, if it is UTF-8.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Cow<'a, str>>,
    /// The record in hexadecimal, if it is not UTF-8.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub record_hex: Option<Cow<'a, str>>,
    /// The file in `bodies/` that contains the whole record, if it is truncated here.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Cow<'a, str>>,
}

impl Line<'_> {
    /// Returns the reason from a closed list.
    pub fn reason_label(&self) -> &str {
        if self.sink.is_some() { REFUSED } else { &self.reason }
    }
}

/// Returns a fingerprint of a selection as in a line.
pub fn selection_text(fingerprint: u32) -> String {
    format!("{fingerprint:08x}")
}

/// Encodes bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// Decodes hexadecimal digits.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let line = Line {
            reason: "not_json".into(),
            sink: None,
            selection: None,
            endpoint: "push".into(),
            dataset: "http_requests".into(),
            batch: 7,
            received: "2025-11-21T20:00:00.123456Z".into(),
            position: 3,
            length: 5,
            record: Some("{\"a\n\u{e9}".into()),
            record_hex: None,
            body: None,
        };
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(
            text,
            "{\"reason\":\"not_json\",\"endpoint\":\"push\",\"dataset\":\"http_requests\",\"batch\":7,\
             \"received\":\"2025-11-21T20:00:00.123456Z\",\"position\":3,\"length\":5,\
             \"record\":\"{\\\"a\\n\u{e9}\"}"
        );
        assert_eq!(serde_json::from_str::<Line<'_>>(&text).unwrap(), line);
    }

    #[test]
    fn hexadecimal_is_encoded_and_decoded() {
        assert_eq!(hex(&[0, 255, 27]), "00ff1b");
        assert_eq!(unhex("00ff1B").unwrap(), [0, 255, 27]);
        assert_eq!(unhex("").unwrap(), b"");
        for wrong in ["0", "0g", "+1", "0\u{e9}"] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }
}
