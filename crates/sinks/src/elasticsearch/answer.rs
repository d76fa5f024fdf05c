//! Interprets the answer to a bulk request.
//!
//! <https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk>: one item for each
//! action, in the order of the actions. OpenSearch answers in the same way.

use serde::Deserialize;
use serde_json::Value;

use crate::{network::HttpAnswer, upload::Verdict};

/// The parts of the answer that the sink asks for. The status is in each item, so no item is left
/// out.
pub(super) const FILTER: &str = "items.*.status,items.*.error.type,items.*.error.reason,\
                                 items.*.error.caused_by.reason";

/// The maximum length of an answer to a request without documents.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// The maximum length of an item, besides what it quotes of the document.
const MAX_ITEM_BYTES: usize = 2 * 1024;

/// How often an item may quote the document: in the reason, and in the cause.
const MAX_QUOTES: usize = 3;

#[derive(Debug, Deserialize)]
struct BulkAnswer {
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    // Some servers name the operation that they derive from the action.
    #[serde(alias = "index")]
    create: ItemResult,
}

#[derive(Debug, Deserialize)]
struct ItemResult {
    status: u16,
    #[serde(default)]
    error: Value,
}

/// The meaning of an item for its record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ItemVerdict {
    /// The document is stored, now or by an earlier request.
    Delivered,
    /// The document is refused permanently.
    Refused,
    /// The document may be stored later.
    Retry,
    /// The same, after an operator has acted.
    Alert(&'static str),
}

/// Interprets the answer to a bulk request of `records` documents with `bytes` bytes.
pub(super) async fn verdict(mut answer: HttpAnswer, records: usize, bytes: usize) -> Verdict {
    match answer.status().as_u16() {
        200..=299 => {
            let items = records.saturating_mul(MAX_ITEM_BYTES);
            let quotes = bytes.saturating_mul(MAX_QUOTES);
            let limit = MAX_ANSWER_BYTES.saturating_add(items).saturating_add(quotes);
            match answer.beginning(limit).await {
                Ok((body, true)) => of_items(&body, records, &|message| answer.failure(message)),
                // Fewer documents have a shorter answer, and those that are stored are found.
                Ok((_, false)) => Verdict::TooLarge {
                    why: answer.failure(&format!("the response has more than {limit} bytes")),
                },
                Err(verdict) => verdict,
            }
        }
        400 => {
            let body = answer.body(MAX_ANSWER_BYTES).await.unwrap_or_default();
            of_bad_request(&body, &|message| answer.failure(message))
        }
        404 | 405 | 410 => match answer.verdict().await {
            Verdict::Alert { why, .. } => Verdict::Alert { why, action: CHECK_URL.to_owned() },
            other => other,
        },
        _ => answer.verdict().await,
    }
}

const CHECK_URL: &str = "check that `url` leads to Elasticsearch or OpenSearch";

/// Interprets a positive answer. `failure` describes a failure.
fn of_items(body: &[u8], records: usize, failure: &dyn Fn(&str) -> String) -> Verdict {
    let alert = |fault: String| Verdict::Alert { why: failure(&fault), action: CHECK_URL.into() };
    let items = match serde_json::from_slice::<BulkAnswer>(body) {
        Ok(BulkAnswer { items }) => items,
        Err(error) => return alert(format!("not the answer to a bulk request: {error}")),
    };
    if items.len() != records {
        return alert(format!("results for {} of {records} documents", items.len()));
    }
    let (mut refused, mut retry) = (Vec::new(), Vec::new());
    let (mut first, mut action) = (None, None);
    for (index, Item { create }) in items.into_iter().enumerate() {
        match create.verdict() {
            ItemVerdict::Delivered => {}
            ItemVerdict::Refused => refused.push((index, failure(&create.message()))),
            ItemVerdict::Retry => {
                first.get_or_insert_with(|| create.message());
                retry.push(index);
            }
            ItemVerdict::Alert(what) => {
                // A failure that only an operator can fix is reported rather than another one.
                if action.is_none() {
                    first = Some(create.message());
                    action = Some(what.to_owned());
                }
                retry.push(index);
            }
        }
    }
    if refused.is_empty() && retry.is_empty() {
        return Verdict::Delivered;
    }
    let why = match first {
        Some(first) => {
            let count = retry.len();
            failure(&format!("{count} of {records} documents are not stored yet: {first}"))
        }
        None => String::new(),
    };
    Verdict::Partial { refused, retry, after: None, why, action }
}

/// Interprets a 400 for the whole request, of which nothing is stored.
fn of_bad_request(body: &[u8], failure: &dyn Fn(&str) -> String) -> Verdict {
    let message = String::from_utf8_lossy(body);
    let why = failure(&message);
    let answer = serde_json::from_slice::<Value>(body).unwrap_or_default();
    // A document or an action that the server does not accept makes it refuse all of them.
    if text(&answer, "/error/type") == "action_request_validation_exception" {
        return Verdict::Refused { why };
    }
    let action = "check `url`, `pipeline` and the version of the server".to_owned();
    Verdict::Alert { why, action }
}

impl ItemResult {
    fn verdict(&self) -> ItemVerdict {
        let kind = self.kind();
        match self.status {
            200..=299 => ItemVerdict::Delivered,
            // `create` finds a document with this `_id`.
            409 if kind.is_empty() || kind == "version_conflict_engine_exception" => {
                ItemVerdict::Delivered
            }
            _ if is_about_document(kind) => ItemVerdict::Refused,
            400 => self.bad_request(),
            // A flood-stage block is 429, and was 403 before version 7.8.
            _ if kind == "cluster_block_exception" => ItemVerdict::Alert(
                "unblock the index; a full disk of the server blocks all indices: free space",
            ),
            401 | 403 => ItemVerdict::Alert("allow the sink's user or API key to create documents"),
            404 => ItemVerdict::Alert(
                "create the index, or allow the server to create it (action.auto_create_index)",
            ),
            408 | 409 | 429 | 500..=599 => ItemVerdict::Retry,
            _ => ItemVerdict::Alert("check the sink's settings and the server"),
        }
    }

    /// Most documents with status 400 are at fault themselves. These are not.
    fn bad_request(&self) -> ItemVerdict {
        let reason = self.reason();
        match self.kind() {
            // Another request has just created the index.
            "resource_already_exists_exception" => ItemVerdict::Retry,
            "invalid_index_name_exception" => ItemVerdict::Alert("correct `index`"),
            "index_closed_exception" => ItemVerdict::Alert("open the index"),
            // For example, the cluster has its maximum number of shards.
            "validation_exception" | "unsupported_operation_exception" => {
                ItemVerdict::Alert("change the settings of the cluster")
            }
            "illegal_argument_exception" if reason.starts_with("pipeline with id [") => {
                ItemVerdict::Alert("create the pipeline, or correct `pipeline`")
            }
            "illegal_argument_exception" if reason.starts_with("no write index is defined") => {
                ItemVerdict::Alert("define the write index of the alias")
            }
            _ => ItemVerdict::Refused,
        }
    }

    fn kind(&self) -> &str {
        text(&self.error, "/type")
    }

    fn reason(&self) -> &str {
        text(&self.error, "/reason")
    }

    /// The status, and what the server writes about it.
    fn message(&self) -> String {
        let mut message = format!("{} {}: {}", self.status, self.kind(), self.reason());
        let cause = text(&self.error, "/caused_by/reason");
        if !cause.is_empty() && cause != self.reason() {
            message.push_str(" (");
            message.push_str(cause);
            message.push(')');
        }
        message
    }
}

/// The text at a JSON pointer, or an empty text.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Whether an error is about the document, whatever its status: a pipeline that fails for a
/// document can answer 500, and would do so forever.
fn is_about_document(kind: &str) -> bool {
    matches!(kind, "fail_processor_exception" | "ingest_processor_exception" | "script_exception")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn failure(message: &str) -> String {
        format!("es answered: {message}")
    }

    fn interpret(items: &[Value], records: usize) -> Verdict {
        let body = json!({ "items": items }).to_string();
        of_items(body.as_bytes(), records, &failure)
    }

    fn stored(status: u16) -> Value {
        json!({ "create": { "status": status } })
    }

    fn failed(status: u16, kind: &str, reason: &str) -> Value {
        json!({ "create": { "status": status, "error": { "type": kind, "reason": reason } } })
    }

    #[test]
    fn created_and_existing_documents_are_delivered() {
        let exists = failed(409, "version_conflict_engine_exception", "document already exists");
        assert_eq!(interpret(&[stored(201), exists, stored(200)], 3), Verdict::Delivered);
    }

    #[test]
    fn each_item_has_its_own_verdict() {
        let malformed = json!({ "create": { "status": 400, "error": {
            "type": "mapper_parsing_exception", "reason": "failed to parse field [n]",
            "caused_by": { "reason": "For input string: \"x\"" },
        } } });
        let full = failed(429, "es_rejected_execution_exception", "queue is full");
        let away = failed(503, "unavailable_shards_exception", "primary shard is not active");
        let verdict = interpret(&[full, stored(201), malformed, away], 4);
        let why = "es answered: 2 of 4 documents are not stored yet: \
                   429 es_rejected_execution_exception: queue is full";
        let refusal = "es answered: 400 mapper_parsing_exception: failed to parse field [n] \
                       (For input string: \"x\")";
        let expected = Verdict::Partial {
            refused: vec![(2, refusal.to_owned())],
            retry: vec![0, 3],
            after: None,
            why: why.to_owned(),
            action: None,
        };
        assert_eq!(verdict, expected);
    }

    #[test]
    fn each_error_has_its_meaning() {
        let named = |status, kind, reason| match interpret(&[failed(status, kind, reason)], 1) {
            Verdict::Delivered => "delivered",
            Verdict::Partial { refused, .. } if !refused.is_empty() => "refused",
            Verdict::Partial { action: Some(_), .. } => "alert",
            Verdict::Partial { action: None, .. } => "retry",
            other => panic!("{other:?}"),
        };
        let argument = "illegal_argument_exception";
        for (status, kind, reason, expected) in [
            (409, "version_conflict_engine_exception", "", "delivered"),
            (409, "", "", "delivered"),
            (409, "some_conflict_exception", "", "retry"),
            (400, "mapper_parsing_exception", "", "refused"),
            (400, "document_parsing_exception", "", "refused"),
            (400, "strict_dynamic_mapping_exception", "", "refused"),
            (400, argument, "Limit of total fields [1000] has been exceeded", "refused"),
            (400, "unheard_of_exception", "", "refused"),
            (500, "fail_processor_exception", "", "refused"),
            (400, argument, "pipeline with id [p] does not exist", "alert"),
            (400, argument, "no write index is defined for alias [a]", "alert"),
            (400, "invalid_index_name_exception", "", "alert"),
            (400, "index_closed_exception", "", "alert"),
            (400, "validation_exception", "this action would add [2] shards", "alert"),
            (400, "resource_already_exists_exception", "", "retry"),
            (401, "security_exception", "", "alert"),
            (403, "security_exception", "", "alert"),
            (403, "cluster_block_exception", "", "alert"),
            (429, "cluster_block_exception", "TOO_MANY_REQUESTS/12/disk usage", "alert"),
            (404, "index_not_found_exception", "", "alert"),
            (429, "es_rejected_execution_exception", "", "retry"),
            (429, "circuit_breaking_exception", "", "retry"),
            (500, "timeout_exception", "", "retry"),
            (503, "unavailable_shards_exception", "", "retry"),
            (418, "", "", "alert"),
        ] {
            assert_eq!(named(status, kind, reason), expected, "{status} {kind}");
        }
    }

    #[test]
    fn an_alert_is_reported_rather_than_an_overload() {
        let full = failed(429, "es_rejected_execution_exception", "queue is full");
        let absent = failed(404, "index_not_found_exception", "no such index [a]");
        let verdict = interpret(&[full.clone(), absent, full], 3);
        let Verdict::Partial { retry, why, action: Some(_), .. } = verdict else {
            panic!("{verdict:?}")
        };
        assert_eq!(retry, [0, 1, 2]);
        assert!(why.ends_with("404 index_not_found_exception: no such index [a]"), "{why}");
    }

    #[test]
    fn an_answer_without_a_result_for_each_document_delivers_nothing() {
        let cases: [(&[u8], _); 6] = [
            (br#"{"errors":false,"items":[{"create":{"status":201}}]}"#, "for 1 of 2 documents"),
            (br#"{"errors":false,"items":[]}"#, "for 0 of 2 documents"),
            (br#"{"errors":false}"#, "missing field `items`"),
            (br#"{"items":[{"create":{}},{"create":{}}]}"#, "missing field `status`"),
            (b"<html>Log in</html>", "expected value"),
            (b"", "EOF while parsing"),
        ];
        for (body, expected) in cases {
            let verdict = of_items(body, 2, &failure);
            let Verdict::Alert { why, .. } = verdict else { panic!("{verdict:?}") };
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn a_refused_request_is_divided_only_for_a_document() {
        let invalid = br#"{"error":{"type":"action_request_validation_exception"},"status":400}"#;
        assert!(matches!(of_bad_request(invalid, &failure), Verdict::Refused { .. }));
        for body in [&br#"{"error":"no handler found for uri [/_bulk]"}"#[..], b"Bad Request"] {
            assert!(matches!(of_bad_request(body, &failure), Verdict::Alert { .. }));
        }
    }
}
