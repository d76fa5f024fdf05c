//! Recognizes Cloudflare's destination check by its shape.
//!
//! Cloudflare documents `{"content":"tests"}`, every observer reports `{"content":"test"}`, one receiver
//! expects the bare word, one README has an additional `filename` (developers.cloudflare.com/logs/logpush,
//! HTTP destinations; menta2k/siem 8ae90c1; the OpenTelemetry cloudflarereceiver). All of these are
//! accepted. A body that is only similar is a record: a stray line in a file does no harm, but a lost
//! record does.

use std::collections::BTreeMap;

use super::opening::BYTE_ORDER_MARK;

/// The maximum size of a check. The longest known shape has 45 bytes.
pub(super) const MAX_BYTES: usize = 1024;

/// The maximum size of `content` in a check.
const MAX_CONTENT_BYTES: usize = 64;

/// Whether an inflated body is a destination check.
pub(super) fn is_destination_check(body: &[u8]) -> bool {
    if body.len() > MAX_BYTES {
        return false;
    }
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body).trim_ascii();
    if body == b"test" || body == b"tests" {
        return true;
    }
    let Ok(mut fields) = serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(body) else {
        return false;
    };
    let Some(serde_json::Value::String(content)) = fields.remove("content") else { return false };
    let file_name = fields.remove("filename");
    fields.is_empty()
        && content.len() <= MAX_CONTENT_BYTES
        && content.starts_with("test")
        && file_name.is_none_or(|name| name.is_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_shape_is_a_check() {
        let shapes = include_str!("../../../../tests/data/destination_checks.json");
        let shapes: Vec<String> = serde_json::from_str(shapes).unwrap();
        assert!(shapes.len() >= 9);
        for body in shapes {
            assert!(is_destination_check(body.as_bytes()), "{body:?}");
        }
    }

    #[test]
    fn a_record_is_not_a_check() {
        let long = format!(r#"{{"content":"test{}"}}"#, "x".repeat(100));
        let padded = format!(r#"{{"content":"test"}}{}"#, " ".repeat(MAX_BYTES));
        for body in [
            "",
            "testing",
            "{}",
            r#"{"content":"hello"}"#,
            r#"{"content":5}"#,
            r#"{"content":null}"#,
            r#"{"content":["test"]}"#,
            r#"{"content":"test","RayID":"3a6050bcbe121a87"}"#,
            r#"{"content":"test","filename":3}"#,
            r#"{"filename":"test.txt"}"#,
            r#"[{"content":"test"}]"#,
            "{\"content\":\"test\"}\n{\"content\":\"test\"}\n",
            long.as_str(),
            padded.as_str(),
        ] {
            assert!(!is_destination_check(body.as_bytes()), "{body:?}");
        }
    }
}
