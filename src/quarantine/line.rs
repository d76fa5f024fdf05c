//! A line of a quarantine file: one record that was rejected, or refused by a target, and where it came
//! from.

use std::borrow::Cow;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

/// The reason of all records that targets refused, where reasons are a closed list.
pub const REFUSED: &str = "refused";

/// One record that was rejected, or refused by a target.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Line<'a> {
    /// Why, as [`crate::decode::RejectReason::label`] says it; of a record with a `sink`, the words of its
    /// target.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    /// Name of the sink whose target refuses the record: no other sink lacks it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<Cow<'a, str>>,
    /// Name of the endpoint.
    #[serde(borrow)]
    pub endpoint: Cow<'a, str>,
    /// Name of the dataset.
    #[serde(borrow)]
    pub dataset: Cow<'a, str>,
    /// Sequence of the batch.
    pub batch: u64,
    /// When the batch was received, as RFC 3339 writes it.
    #[serde(borrow)]
    pub received: Cow<'a, str>,
    /// Place among the batch's records, from 1; of a record with a `sink`, among those that the sink got.
    pub position: u64,
    /// Its length in bytes, in the batch.
    pub length: u64,
    /// The bytes, if they are UTF-8.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Cow<'a, str>>,
    /// The bytes in hexadecimal, if they are not.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub record_hex: Option<Cow<'a, str>>,
    /// The file in `bodies/` that holds the whole of a record that is cut here.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Cow<'a, str>>,
}

impl Line<'_> {
    /// The reason, from a closed list.
    pub fn reason_label(&self) -> &str {
        if self.sink.is_some() { REFUSED } else { &self.reason }
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

/// The bytes that hexadecimal digits stand for.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let line = Line {
            reason: "not_json".into(),
            sink: None,
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
    fn hexadecimal_is_written_and_read() {
        assert_eq!(hex(&[0, 255, 27]), "00ff1b");
        assert_eq!(unhex("00ff1B").unwrap(), [0, 255, 27]);
        assert_eq!(unhex("").unwrap(), b"");
        for wrong in ["0", "0g", "+1", "0\u{e9}"] {
            assert_eq!(unhex(wrong), None, "{wrong}");
        }
    }
}
