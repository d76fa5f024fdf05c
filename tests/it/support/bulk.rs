//! A strict stand-in for the bulk API of Elasticsearch, for answers that the real servers in the
//! tests never give. It makes the answers of a [`Collector`](super::collector::Collector).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::collector::{Received, Reply};

/// The stored documents: index and `_id`, and the text of each.
#[derive(Clone, Default)]
pub(crate) struct BulkIndex(Arc<Mutex<BTreeMap<(String, String), String>>>);

/// Why a document is not stored: status, type and reason.
pub(crate) type ItemError = (u16, &'static str, String);

impl BulkIndex {
    /// Stores the documents of a request, except those for which `error` returns an error.
    pub(crate) fn answer(
        &self,
        request: &Received,
        mut error: impl FnMut(&str) -> Option<ItemError>,
    ) -> Reply {
        assert_eq!(request.method, "POST");
        assert_eq!(request.headers["content-type"], "application/x-ndjson");
        let (path, query) = request.path.split_once('?').unwrap();
        assert!(path.ends_with("/_bulk") && query.starts_with("filter_path=items.*.status,"));
        let text = std::str::from_utf8(&request.body).unwrap();
        assert!(text.ends_with('\n'), "the last line has no end");
        let mut lines = text.lines();
        let mut items = Vec::new();
        let mut documents = self.0.lock().unwrap();
        while let Some(action) = lines.next() {
            let key = key(action, items.len());
            let document = lines.next().expect("a document after each action");
            let value: Value = serde_json::from_str(document).expect("a document is JSON");
            assert!(value["@timestamp"].is_string(), "{document}");
            items.push(match error(document) {
                Some((status, kind, reason)) => failed(status, kind, &reason),
                None if documents.contains_key(&key) => {
                    failed(409, "version_conflict_engine_exception", "document already exists")
                }
                None => {
                    documents.insert(key, document.to_owned());
                    json!({ "create": { "status": 201 } })
                }
            });
        }
        (200, Vec::new(), json!({ "items": items }).to_string())
    }

    /// The texts of the documents.
    pub(crate) fn documents(&self) -> Vec<String> {
        self.0.lock().unwrap().values().cloned().collect()
    }
}

/// The index and `_id` of an action. Without `_id`, the server makes one.
fn key(action: &str, number: usize) -> (String, String) {
    let action: Value = serde_json::from_str(action).unwrap();
    let create = action["create"].as_object().expect("the only action is `create`");
    assert!(create.keys().all(|key| key == "_index" || key == "_id"), "{action}");
    let index = create["_index"].as_str().unwrap().to_owned();
    let id = create.get("_id").map(|id| id.as_str().unwrap().to_owned());
    (index, id.unwrap_or_else(|| format!("made-{number}")))
}

fn failed(status: u16, kind: &str, reason: &str) -> Value {
    json!({ "create": { "status": status, "error": { "type": kind, "reason": reason } } })
}
