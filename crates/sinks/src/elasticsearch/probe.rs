//! Checks a cluster without writing a record.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{
    Method, Request,
    header::{CONTENT_TYPE, HeaderValue},
};
use serde_json::{Value, json};
use spool::Origin;

use super::{Settings, answer::text, nodes};
use crate::{
    ProbeError,
    network::{HttpAnswer, HttpSender, HttpUrl},
};

/// The maximum length of an answer.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// The privileges that the sink needs for an index.
const PRIVILEGES: [&str; 2] = ["auto_configure", "create_doc"];

/// The answer of a node: status and body. The body is null if it is no JSON.
struct ProbeAnswer {
    status: u16,
    body: Value,
    /// The target, the status and the body, for messages.
    text: String,
}

/// The node that answers.
struct Node<'a> {
    sender: &'a HttpSender,
    url: &'a HttpUrl,
    timeout: Duration,
}

impl Node<'_> {
    async fn get(&self, path: &str) -> Result<ProbeAnswer, ProbeError> {
        self.ask(Method::GET, path, None).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<ProbeAnswer, ProbeError> {
        let request = nodes::at(self.url, path).map(|url| {
            let mut request = Request::new(method, url);
            *request.timeout_mut() = Some(self.timeout);
            if let Some(body) = body {
                let json = HeaderValue::from_static("application/json");
                request.headers_mut().insert(CONTENT_TYPE, json);
                *request.body_mut() = Some(body.to_string().into());
            }
            request
        });
        let answer = self.sender.send(self.sender.prepare(request)).await?;
        ProbeAnswer::read(answer).await
    }
}

impl ProbeAnswer {
    async fn read(mut answer: HttpAnswer) -> Result<Self, ProbeError> {
        let status = answer.status().as_u16();
        if status == 401 {
            return Err(answer.verdict().await.into());
        }
        let body = answer.body(MAX_ANSWER_BYTES).await?;
        let text = answer.failure(&String::from_utf8_lossy(&body));
        Ok(Self { status, body: serde_json::from_slice(&body).unwrap_or_default(), text })
    }
}

/// Checks that a node answers, and that the credentials, the index and the pipeline are right.
pub(super) async fn probe(
    settings: &Settings,
    datasets: Vec<String>,
) -> Result<Vec<String>, ProbeError> {
    let sender = settings.sender();
    let mut facts = Vec::new();
    let mut found = None;
    let mut failure = None;
    for url in &settings.nodes {
        let node = Node { sender: &sender, url, timeout: settings.network.timeout };
        match identify(&node).await {
            Ok(version) => {
                facts.push(format!("{url}: {version}"));
                found.get_or_insert(node);
            }
            Err(error) => {
                facts.push(format!("{url} is not available: {}", error.why));
                failure = Some(error);
            }
        }
    }
    let Some(node) = found else {
        return Err(failure.unwrap_or_else(|| ProbeError::new("the sink has no `url`", "set it")));
    };
    if let Some(pipeline) = &settings.pipeline {
        facts.extend(check_pipeline(&node, pipeline).await?);
    }
    for dataset in &datasets {
        let origin = Origin {
            endpoint: "endpoint".to_owned(),
            dataset: dataset.clone(),
            received: Timestamp::now(),
            sink: None,
        };
        let name = settings.pattern().name(&origin, origin.received);
        facts.extend(check_privileges(&node, &name).await?);
        facts.push(check_index(&node, &name, settings.data_stream.is_some()).await?);
    }
    Ok(facts)
}

/// The product and version of a node. Credentials that may only create documents may not read
/// them.
async fn identify(node: &Node<'_>) -> Result<String, ProbeError> {
    let answer = node.get("").await?;
    match (answer.status, text(&answer.body, "/version/number")) {
        (200, number) if !number.is_empty() => {
            let product = match text(&answer.body, "/version/distribution") {
                "opensearch" => "OpenSearch",
                _ => "Elasticsearch",
            };
            let cluster = text(&answer.body, "/cluster_name");
            Ok(format!("{product} {number}, cluster {cluster}"))
        }
        (403, _) => Ok("reachable; the credentials may not read its version".to_owned()),
        _ => Err(ProbeError::new(
            format!("neither Elasticsearch nor OpenSearch: {}", answer.text),
            "check `url`",
        )),
    }
}

async fn check_pipeline(node: &Node<'_>, name: &str) -> Result<Option<String>, ProbeError> {
    let answer = node.get(&format!("_ingest/pipeline/{name}")).await?;
    match answer.status {
        200 => Ok(Some(format!("the pipeline {name} exists"))),
        404 => Err(ProbeError::new(
            format!("there is no pipeline {name}: {}", answer.text),
            "create the pipeline, or correct `pipeline`",
        )),
        // The credentials may not read pipelines, which the sink does not need.
        _ => Ok(None),
    }
}

/// Whether the credentials suffice. `None` where the server has no such API: without security, and
/// in OpenSearch.
/// <https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-security-has-privileges>
async fn check_privileges(node: &Node<'_>, name: &str) -> Result<Option<String>, ProbeError> {
    let body = json!({ "index": [{ "names": [name], "privileges": PRIVILEGES }] });
    let answer = node.ask(Method::POST, "_security/user/_has_privileges", Some(body)).await?;
    if answer.status != 200 {
        return Ok(None);
    }
    let user = text(&answer.body, "/username");
    let privileges = answer.body.get("index").and_then(|index| index.get(name));
    let has = |privilege: &str| privileges.and_then(|privileges| privileges.get(privilege));
    let missing: Vec<_> = PRIVILEGES
        .into_iter()
        .filter(|privilege| has(privilege).and_then(Value::as_bool) == Some(false))
        .collect();
    if missing.is_empty() {
        return Ok(Some(format!("{user} may create documents in {name}")));
    }
    Err(ProbeError::new(
        format!("{user} does not have the privileges {} for {name}", missing.join(", ")),
        "add them to the role of the user or API key",
    ))
}

/// What a record of today would go to.
async fn check_index(
    node: &Node<'_>,
    name: &str,
    is_data_stream: bool,
) -> Result<String, ProbeError> {
    let known = node.get(&format!("_resolve/index/{name}")).await?;
    let has = |kind: &str| {
        let found = known.body.get(kind).and_then(Value::as_array);
        found.is_some_and(|found| !found.is_empty())
    };
    let (is_index, is_stream) = (has("indices") || has("aliases"), has("data_streams"));
    let kind = if is_data_stream { "data stream" } else { "index" };
    if is_data_stream && is_index {
        return Err(ProbeError::new(
            format!("{name} is an index, not a data stream"),
            "delete it, or write `index` instead of `data_stream`",
        ));
    }
    if is_stream && !is_data_stream {
        return Err(ProbeError::new(
            format!("{name} is a data stream, not an index"),
            "write `data_stream` instead of `index`",
        ));
    }
    if is_index || is_stream {
        return Ok(format!("the {kind} {name} exists"));
    }
    let path = format!("_index_template/_simulate_index/{name}");
    let template = node.ask(Method::POST, &path, None).await?;
    let has_template = {
        let found = template.body.get("template").and_then(Value::as_object);
        found.is_some_and(|found| !found.is_empty())
    };
    match (template.status, has_template) {
        (200, true) => Ok(format!("the first record creates {name} from an index template")),
        (200, false) if is_data_stream => Err(ProbeError::new(
            format!("no index template makes {name} a data stream"),
            "install one: see docs/sinks/elasticsearch.md",
        )),
        (200, false) => {
            Ok(format!("the first record creates {name}; no index template sets its field types"))
        }
        _ => Ok(format!("{name} cannot be examined: {}", template.text)),
    }
}
