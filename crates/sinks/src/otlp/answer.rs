//! Interprets the answer of an OTLP server.

use prost::Message as _;
use reqwest::header::CONTENT_TYPE;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::proto::{ExportLogsPartialSuccess, ExportLogsServiceResponse, Status};
use crate::{network::HttpAnswer, upload::Verdict};

/// How much of the body of an answer is read: what the specification recommends to clients.
const MAX_BODY_BYTES: usize = 4 << 20;

/// What to do if the answer does not come from an OTLP server.
const CHECK_URL: &str = "check the sink's `url`: it has to lead to a server for OTLP over HTTP";

/// Interprets the answer to a request with `records` records.
///
/// By the specification, an accepted request must not be sent again, even if the server rejected
/// some of its records; it reports only their number. All of them are known only if it rejected all.
pub(super) async fn verdict(mut answer: HttpAnswer, records: usize) -> Verdict {
    let body = answer.body(MAX_BODY_BYTES).await;
    if !answer.status().is_success() {
        // The status decides. An incomplete body is no error.
        let mut verdict = answer.verdict_with(&message(&body.unwrap_or_default()));
        if let Verdict::Alert { action, .. } = &mut verdict
            && matches!(answer.status().as_u16(), 404 | 405)
        {
            CHECK_URL.clone_into(action);
        }
        return verdict;
    }
    let body = match body {
        Ok(body) => body,
        Err(verdict) => return verdict,
    };
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    match read(kind.unwrap_or_default(), &body) {
        Accepted::All => Verdict::Delivered,
        Accepted::Except { rejected, message } => {
            let why =
                answer.failure(&format!("{rejected} of {records} records rejected: {message}"));
            if rejected < u64::try_from(records).unwrap_or(u64::MAX) {
                return Verdict::Discarded { records: rejected, why };
            }
            let refused = (0..records).map(|index| (index, why.clone())).collect();
            Verdict::Partial { refused, retry: Vec::new(), after: None, why, action: None }
        }
        Accepted::Unknown => Verdict::Alert {
            why: answer.failure("the body is not that of OTLP"),
            action: CHECK_URL.to_owned(),
        },
    }
}

/// What the body of an answer to an accepted request reports.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Accepted {
    All,
    /// The server rejected some of the records.
    Except {
        rejected: u64,
        message: String,
    },
    /// Another kind of server has answered.
    Unknown,
}

/// Reads the body of an answer to an accepted request. `kind` is its `Content-Type`.
///
/// The body must have the type of the request, but not all servers obey that: some answer in JSON,
/// and some with a few words.
fn read(kind: &str, body: &[u8]) -> Accepted {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = kind == "application/json";
    let is_protobuf = matches!(kind.as_str(), "application/x-protobuf" | "application/protobuf");
    if kind == "text/html" {
        return Accepted::Unknown;
    }
    if is_json {
        return read_json(body);
    }
    match ExportLogsServiceResponse::decode(body) {
        Ok(response) => response.partial_success.map_or(Accepted::All, Accepted::from),
        Err(_) if is_protobuf => Accepted::Unknown,
        Err(_) => Accepted::All,
    }
}

impl From<ExportLogsPartialSuccess> for Accepted {
    /// Without rejected records, the message is a warning.
    fn from(partial: ExportLogsPartialSuccess) -> Self {
        match u64::try_from(partial.rejected_log_records) {
            Ok(rejected @ 1..) => Self::Except { rejected, message: partial.error_message },
            _ => Self::All,
        }
    }
}

/// [`ExportLogsServiceResponse`] in the JSON form of protobuf.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonResponse<'a> {
    #[serde(borrow)]
    partial_success: Option<JsonPartialSuccess<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonPartialSuccess<'a> {
    /// A number, usually as text.
    #[serde(borrow)]
    rejected_log_records: Option<&'a RawValue>,
    error_message: Option<String>,
}

fn read_json(body: &[u8]) -> Accepted {
    let Ok(response) = serde_json::from_slice::<JsonResponse<'_>>(body) else {
        // Any other JSON, such as a text instead of the message.
        let is_json =
            body.trim_ascii().is_empty() || serde_json::from_slice::<IgnoredAny>(body).is_ok();
        return if is_json { Accepted::All } else { Accepted::Unknown };
    };
    let Some(partial) = response.partial_success else { return Accepted::All };
    let number = partial.rejected_log_records.map(|number| number.get().trim_matches('"'));
    let rejected_log_records = number.and_then(|number| number.parse().ok()).unwrap_or(0);
    let error_message = partial.error_message.unwrap_or_default();
    ExportLogsPartialSuccess { rejected_log_records, error_message }.into()
}

/// The message of an answer that reports an error: a [`Status`], or text from anything between the
/// sink and the server.
fn message(body: &[u8]) -> String {
    let is_text = |text: &&str| !text.contains(|c: char| c.is_control() && !c.is_whitespace());
    if let Some(text) = std::str::from_utf8(body).ok().filter(is_text) {
        return text.to_owned();
    }
    let status = Status::decode(body).map(|status| status.message);
    status.unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn except(rejected: u64, message: &str) -> Accepted {
        Accepted::Except { rejected, message: message.to_owned() }
    }

    fn response(rejected: i64, message: &str) -> Vec<u8> {
        let error_message = message.to_owned();
        let partial = ExportLogsPartialSuccess { rejected_log_records: rejected, error_message };
        ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec()
    }

    #[test]
    fn a_body_of_protobuf_reports_what_was_rejected() {
        let protobuf = "application/x-protobuf";
        assert_eq!(read(protobuf, b""), Accepted::All);
        assert_eq!(read(protobuf, &response(0, "")), Accepted::All);
        assert_eq!(read(protobuf, &response(0, "slow down")), Accepted::All);
        assert_eq!(read(protobuf, &response(-1, "")), Accepted::All);
        assert_eq!(read(protobuf, &response(3, "too old")), except(3, "too old"));
        assert_eq!(read("application/X-Protobuf; a=b", &response(3, "x")), except(3, "x"));
        assert_eq!(read("", &response(3, "too old")), except(3, "too old"));
        assert_eq!(read(protobuf, b"<html>"), Accepted::Unknown);
    }

    #[test]
    fn a_body_of_json_reports_what_was_rejected() {
        let json = |body: &str| read("application/json; charset=utf-8", body.as_bytes());
        for body in [
            "",
            "{}",
            r#"{"partialSuccess":{}}"#,
            r#"{"partialSuccess":null}"#,
            r#"{"partialSuccess":{"rejectedLogRecords":"0","errorMessage":"slow"}}"#,
            r#"{"status":"ok"}"#,
            r#""ok""#,
        ] {
            assert_eq!(json(body), Accepted::All, "{body}");
        }
        for number in ["\"2\"", "2"] {
            let body = format!(
                r#"{{"partialSuccess":{{"rejectedLogRecords":{number},"errorMessage":"old"}}}}"#
            );
            assert_eq!(json(&body), except(2, "old"));
        }
        assert_eq!(json("<html>"), Accepted::Unknown);
    }

    #[test]
    fn a_web_page_is_no_answer_of_otlp() {
        assert_eq!(read("text/html; charset=utf-8", b"<html>"), Accepted::Unknown);
        assert_eq!(read("text/plain", b"ok"), Accepted::All);
    }

    #[test]
    fn the_message_of_an_error_is_found() {
        let status = Status { message: "no index".to_owned() }.encode_to_vec();
        assert_eq!(message(&status), "no index");
        assert_eq!(message(b"{\"message\":\"no\"}\n"), "{\"message\":\"no\"}\n");
        assert_eq!(message(b""), "");
        assert_eq!(message(b"\xff\x00"), "\u{fffd}\0");
    }
}
