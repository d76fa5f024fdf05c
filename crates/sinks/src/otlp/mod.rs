//! The `otlp` sink: delivers to any server that accepts logs of OpenTelemetry over HTTP.
//!
//! The protocol is OTLP/HTTP with protobuf, version 1:
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp>.

mod answer;
mod encode;
pub mod proto;
mod value;

use reqwest::{
    Method, Request, Url,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue},
};
use settings::{Context, Diagnostic, Table, Value, reference::Takes, setting, settings, words};

use super::{
    Probe, Sink, SinkContext,
    kinds::{Claims, Kind, TlsClaim},
    network::{
        Headers, HttpRequest, HttpSender, NetworkSettings, SecretHeader, SecretHeaders,
        UrlTemplate, check_headers, with_path,
    },
    origin_text::OriginText,
    probe::{PROBED_DATASET, PROBED_ENDPOINT},
    upload::{Chunk, Target, Uploader, Verdict},
};

settings! {
    /// OpenTelemetry: a Collector, or any other server for logs by OTLP over HTTP, at least once.
    /// Each record is a log record with its own time. See docs/sinks/otlp.md.
    pub struct Settings in "sink.NAME.otlp", checked by check {
        /// The base URL of the server, `https://` or `http://`; usually the value of
        /// `OTEL_EXPORTER_OTLP_ENDPOINT`. `/v1/logs` is appended, unless the path ends with it.
        /// `{dataset}` and `{endpoint}` are filled in, in the path and the query.
        pub url: UrlTemplate as "https://otel.example.com:4318",
        /// Headers to add to each request.
        pub headers: Headers as { X-Scope-OrgID = "acme" } else "none",
        /// Headers with secret values. Each names a file, whose first line is the value.
        ///
        /// The files are read again when the server answers 401 or 403, or when a connection fails.
        pub secret_headers: SecretHeaders as { Authorization = "token.txt" } else "none",
        /// The body of a log record: a map of the members, or the record as text.
        pub body: BodyForm = "map",
        /// Attributes of the resource. `{dataset}` and `{endpoint}` are filled in. `service.name` is
        /// `cloudflare` unless you set it.
        pub resource: Attributes as { "deployment.environment.name" = "production" }
            else "only `service.name`",
        /// The keys of every sink that sends requests.
        pub network "": NetworkSettings,
    }
}

words! {
    /// `body`
    pub enum BodyForm {
        /// A map of the members of the record.
        Map = "map",
        /// The record as a JSON text.
        String = "string",
    }
}

setting! {
    /// Names of attributes and their values.
    pub struct Attributes(Vec<(String, OriginText)>):
        Takes::Names("attributes and values"), read by attributes;
}

fn attributes(value: &Value<'_>, cx: &mut Context) -> Option<Vec<(String, OriginText)>> {
    let mut attributes = Vec::new();
    for (name, value) in value.pairs(cx)? {
        if name.get_ref().is_empty() {
            let message = "an attribute without a name";
            cx.push(Diagnostic::at(name.span(), message).hint("write a name such as service.name"));
            continue;
        }
        match OriginText::parse(value.get_ref()) {
            Ok(text) => attributes.push((name.into_inner(), text)),
            Err(hint) => {
                let message = format!(
                    "the value of `{}` contains an unknown placeholder",
                    name.get_ref().escape_debug()
                );
                cx.push(Diagnostic::at(value.span(), message).hint(hint));
            }
        }
    }
    Some(attributes)
}

impl Kind for Settings {
    fn target(&self) -> String {
        self.url.to_string()
    }

    fn claims(&self) -> Claims<'_> {
        let tls = TlsClaim { files: &self.network.tls, is_used: self.url.is_https() };
        Claims {
            tls: Some(tls),
            secrets: self.secret_headers.iter().map(SecretHeader::claim).collect(),
            descriptors: self.network.in_flight,
            ..Claims::default()
        }
    }

    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, String> {
        let options = self.network.upload_options();
        Ok(Box::new(Uploader::new(LogServer::new(self), &options, context)))
    }

    /// Sends a request without records, to which a server has to answer as to any other.
    fn probe(&self, datasets: &[String]) -> Option<Probe<'_>> {
        let dataset = datasets.first().map_or(PROBED_DATASET, String::as_str).to_owned();
        let server = LogServer::new(self);
        Some(Box::pin(async move {
            let url = server.url(&dataset, PROBED_ENDPOINT);
            let fact = url.as_ref().map(|url| format!("{url} accepts logs")).unwrap_or_default();
            let request = url.and_then(|url| server.request(url, Vec::new()));
            let request = server.sender.prepare(request);
            match server.send((request, 0)).await {
                Verdict::Delivered => Ok(vec![fact]),
                verdict => Err(verdict.into()),
            }
        }))
    }
}

fn check(settings: &Settings, table: &Table<'_>, cx: &mut Context) {
    check_headers(&settings.headers, &settings.secret_headers, table, cx);
    if settings.headers.iter().any(|(name, _)| *name == CONTENT_TYPE) {
        let message = "the header `content-type` is set by the sink itself";
        cx.push(table.problem_at("headers", message).hint("remove it"));
    }
    if table.is_valid("url") {
        let secrets = (!settings.secret_headers.is_empty()).then_some("secret_headers");
        settings.network.check_url(&settings.url, secrets, table, cx);
    }
}

/// The server of one sink.
struct LogServer {
    settings: Settings,
    sender: HttpSender,
}

impl LogServer {
    fn new(settings: &Settings) -> Self {
        let sender = HttpSender::new(&settings.network, &settings.secret_headers);
        Self { settings: settings.clone(), sender }
    }

    fn url(&self, dataset: &str, endpoint: &str) -> Result<Url, String> {
        self.settings.url.fill(dataset, endpoint).map(logs_url)
    }

    fn request(&self, url: Url, body: Vec<u8>) -> Result<Request, String> {
        let Settings { headers, network, .. } = &self.settings;
        let mut request = Request::new(Method::POST, url);
        let added = request.headers_mut();
        added.extend(headers.iter().cloned());
        added.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if let Some(encoding) = network.compression.encoding() {
            added.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        let body = network.compression.compress(body.into());
        *request.body_mut() = Some(body.map_err(|error| error.to_string())?.into());
        Ok(request)
    }
}

impl Target for LogServer {
    /// The request, and the number of its records.
    type Request = (HttpRequest, usize);

    fn encode(&self, chunk: &Chunk) -> Self::Request {
        let origin = &chunk.batch().header.origin;
        let url = self.url(&origin.dataset, &origin.endpoint);
        let request = url.and_then(|url| self.request(url, encode::encode(&self.settings, chunk)));
        (self.sender.prepare(request), chunk.records())
    }

    async fn send(&self, (request, records): Self::Request) -> Verdict {
        match self.sender.send(request).await {
            Ok(answer) => answer::verdict(answer, records).await,
            Err(verdict) => verdict,
        }
    }
}

/// Appends the path for logs to a base URL, as `OTEL_EXPORTER_OTLP_ENDPOINT` is used. A URL that
/// has this path already is unchanged, as `OTEL_EXPORTER_OTLP_LOGS_ENDPOINT`.
fn logs_url(base: Url) -> Url {
    with_path(base, "/v1/logs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_for_logs_is_appended_to_a_base_url() {
        for (base, expected) in [
            ("http://a.example:4318", "http://a.example:4318/v1/logs"),
            ("http://a.example:4318/", "http://a.example:4318/v1/logs"),
            ("https://a.example/otlp", "https://a.example/otlp/v1/logs"),
            ("https://a.example/my%20base/?x=1", "https://a.example/my%20base/v1/logs?x=1"),
            ("https://a.example/v1/logs", "https://a.example/v1/logs"),
            ("https://a.example/in/v1/logs?x=1", "https://a.example/in/v1/logs?x=1"),
        ] {
            assert_eq!(logs_url(base.parse().unwrap()).as_str(), expected, "{base}");
        }
    }
}
