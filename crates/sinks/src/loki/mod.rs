//! The `loki` sink: delivers to Grafana Loki, and to other servers with its push API.
//!
//! A chunk is one push request with one stream. Loki ignores an entry whose time, line and
//! structured metadata it has already, so sending a chunk again is harmless.

mod answer;
mod entries;
mod labels;
pub mod proto;
mod refusal;

use std::path::PathBuf;

use jiff::Timestamp;
use reqwest::{
    Method, Request, StatusCode, Url,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue},
};
use settings::{
    Context, Table, Value,
    reference::Takes,
    setting, settings,
    types::{Count, PositiveSpan, Size},
    words,
};
use spool::Origin;
use tls::ClientTls;

use self::{
    entries::{Entry, encode, entries},
    labels::{Labels, Metadata},
};
use super::{
    Probe, ProbeError, Sink, SinkContext,
    kinds::{Claims, Kind, SecretClaim, TlsClaim},
    network::{
        self, Compression, HttpRequest, HttpSender, NetworkSettings, SecretFile, SecretHeader,
        UrlTemplate, check_network, with_path,
    },
    origin_text::OriginText,
    probe::{PROBED_DATASET, PROBED_ENDPOINT},
    record_time::RecordTime,
    upload::{Chunk, Target, Uploader, Verdict},
};

/// The header with the tenant.
const TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");

/// How much of the answer to a probe is read.
const MAX_PROBE_BYTES: usize = 64 * 1024;

settings! {
    /// Grafana Loki, at least once; Loki ignores repeated records. See docs/sinks/loki.md.
    pub struct Settings in "sink.NAME.loki", checked by check {
        /// The base URL of Loki, `https://` or `http://`. `/loki/api/v1/push` is appended, unless
        /// the path ends with it. `{dataset}` and `{endpoint}` are filled in, in the path and the
        /// query.
        pub url: UrlTemplate as "https://loki.example.com",
        /// The labels of the streams, at most 15. `{dataset}` and `{endpoint}` are filled in.
        ///
        /// Fields of records cannot be labels: each value would be a stream of its own. Select
        /// them in queries with `| json`.
        pub labels: Labels = { job = "logpush", dataset = "{dataset}" },
        /// The tenant, for the header `X-Scope-OrgID`. `{dataset}` and `{endpoint}` are filled in.
        pub tenant: Option<Tenant> as "acme" else "no header",
        /// The user for basic authentication.
        pub user: Option<User> as "12345" else "none",
        /// A file whose first line is the password of `user`.
        pub password_file: Option<SecretFile> as "loki.txt" else "none",
        /// A file whose first line is a bearer token.
        ///
        /// The files of secrets are read again when Loki answers 401 or 403, or when a connection
        /// fails.
        pub token_file: Option<SecretFile> as "token.txt" else "none",
        /// The time of entries: of the record itself, or of the receipt of its batch.
        pub time: RecordTime = "event",
        /// Structured metadata of each entry. `{dataset}`, `{endpoint}`, `{batch}` (the digest of
        /// the batch) and `{position}` (of the record in the batch) are filled in.
        pub structured_metadata: Metadata as { batch = "{batch}" } else "none",
        /// The timeout of a request, from connecting to the end of the response.
        pub timeout: PositiveSpan = "60s",
        /// The maximum number of concurrent requests, up to 256. With 1, requests arrive in
        /// the order of the batches as long as none fails.
        pub in_flight: Count = 4,
        /// The encoding of requests: protobuf with Snappy, which needs the least CPU, or JSON with
        /// gzip or uncompressed.
        pub compression: Encoding = "snappy",
        /// The maximum size of a request. Larger batches are divided.
        pub batch: Batch,
        /// TLS for `https://` URLs.
        pub tls: ClientTls,
    }
}

words! {
    /// `compression`
    pub enum Encoding {
        /// Protobuf, compressed with Snappy.
        Snappy = "snappy",
        /// JSON, compressed with gzip.
        Gzip = "gzip",
        /// JSON.
        None = "none",
    }
}

settings! {
    /// The limits at which a batch is divided into requests.
    pub struct Batch derive(Copy, Eq) {
        /// The maximum size of a request: the bytes of its records as lines. A longer record is a
        /// request of its own. By default, Loki refuses requests of more than 4 MiB.
        pub max_bytes: Size<1024, { 256 << 20 }> = "1MiB",
        /// The maximum number of records in a request.
        pub max_records: Count = 10000,
    }
}

setting! {
    /// The name of a tenant.
    pub struct Tenant(OriginText): Takes::String("tenant"), read by tenant;
}

fn tenant(value: &Value<'_>, cx: &mut Context) -> Option<OriginText> {
    let text = value.string(cx)?.into_inner();
    // Those of Loki, and those of placeholders.
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "!-_.*'(){}".contains(c);
    let fault = if text.is_empty() || text.len() > 150 {
        "is empty or longer than 150 bytes"
    } else if !text.chars().all(is_allowed) || matches!(text.as_str(), "." | "..") {
        "is not a tenant of Loki"
    } else {
        match OriginText::parse(&text) {
            Ok(tenant) => return Some(tenant),
            Err(hint) => hint,
        }
    };
    cx.push(value.problem(format!("`{}` {fault}", value.name())));
    None
}

setting! {
    /// The name of a user.
    pub struct User(String): Takes::String("name"), read by user;
}

fn user(value: &Value<'_>, cx: &mut Context) -> Option<String> {
    let user = value.string(cx)?.into_inner();
    // RFC 7617, section 2.
    if user.is_empty() || user.contains(':') {
        let message = format!("`{}` is empty or contains a colon", value.name());
        cx.push(value.problem(message).hint("write the name of a user"));
    }
    Some(user)
}

impl Encoding {
    fn content_type(self) -> &'static str {
        match self {
            Self::Snappy => "application/x-protobuf",
            Self::Gzip | Self::None => "application/json",
        }
    }

    /// The value of `Content-Encoding`. The Snappy of protobuf is part of the format.
    fn content_encoding(self) -> Option<&'static str> {
        (self == Self::Gzip).then_some("gzip")
    }

    /// Compresses a body in JSON.
    fn compress(self, body: Vec<u8>) -> Result<Vec<u8>, String> {
        let compression = if self == Self::Gzip { Compression::Gzip } else { Compression::None };
        compression.compress(body.into()).map_err(|error| error.to_string())
    }
}

impl Settings {
    /// The keys of every sink that sends requests.
    fn network(&self) -> NetworkSettings {
        NetworkSettings {
            timeout: self.timeout,
            in_flight: self.in_flight,
            // The encoder compresses.
            compression: Compression::None,
            batch: network::Batch {
                max_bytes: self.batch.max_bytes,
                max_records: self.batch.max_records,
            },
            tls: self.tls.clone(),
        }
    }
}

impl Kind for Settings {
    fn target(&self) -> String {
        self.url.to_string()
    }

    fn claims(&self) -> Claims<'_> {
        let tls = TlsClaim { files: &self.tls, is_used: self.url.is_https() };
        let files = [("password_file", &self.password_file), ("token_file", &self.token_file)];
        let files = files.into_iter();
        Claims {
            tls: Some(tls),
            secrets: files
                .filter_map(|(key, file)| Some(SecretClaim { key, file: file.as_deref()? }))
                .collect(),
            descriptors: self.in_flight,
            ..Claims::default()
        }
    }

    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, String> {
        let options = self.network().upload_options();
        Ok(Box::new(Uploader::new(LogStore::new(self), &options, context)))
    }

    /// Sends a request without streams. Loki refuses it after it has checked URL, credentials and
    /// tenant; older versions accept it.
    fn probe(&self, datasets: &[String]) -> Option<Probe<'_>> {
        let dataset = datasets.first().map_or(PROBED_DATASET, String::as_str).to_owned();
        Some(Box::pin(async move { LogStore::new(self).probe(&dataset).await }))
    }
}

fn check(settings: &Settings, table: &Table<'_>, cx: &mut Context) {
    let network = settings.network();
    check_network(&network, table, cx);
    if table.contains("user") != table.contains("password_file") {
        let message = "`user` and `password_file` have an effect only together";
        cx.push_incomplete(table.problem(message).hint("set both, or use `token_file`"));
    }
    if table.contains("token_file") && table.contains("password_file") {
        let message = "`token_file` and `password_file` exclude each other";
        cx.push(table.problem_at("token_file", message).hint("remove one of them"));
    }
    if table.is_valid("url") {
        let keys = ["password_file", "token_file"];
        let secrets = keys.into_iter().find(|key| table.contains(key));
        network.check_url(&settings.url, secrets, table, cx);
    }
}

/// The Loki of one sink.
struct LogStore {
    settings: Settings,
    sender: HttpSender,
}

impl LogStore {
    fn new(settings: &Settings) -> Self {
        let basic = |file: &PathBuf| {
            SecretHeader::basic(settings.user.clone().unwrap_or_default(), file.clone())
        };
        let password = settings.password_file.as_ref().map(basic);
        let token = settings.token_file.clone().map(SecretHeader::bearer);
        let secrets: Vec<_> = password.into_iter().chain(token).collect();
        let sender = HttpSender::new(&settings.network(), &secrets);
        Self { settings: settings.clone(), sender }
    }

    fn request(&self, origin: &Origin, body: Vec<u8>) -> Result<Request, String> {
        let Settings { url, tenant, compression, .. } = &self.settings;
        let url = push_url(url.fill(&origin.dataset, &origin.endpoint)?);
        let mut request = Request::new(Method::POST, url);
        let added = request.headers_mut();
        added.insert(CONTENT_TYPE, HeaderValue::from_static(compression.content_type()));
        if let Some(encoding) = compression.content_encoding() {
            added.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        if let Some(tenant) = tenant {
            let tenant = HeaderValue::try_from(tenant.fill(origin));
            added.insert(TENANT, tenant.map_err(|error| error.to_string())?);
        }
        *request.body_mut() = Some(body.into());
        Ok(request)
    }

    async fn probe(&self, dataset: &str) -> Result<Vec<String>, ProbeError> {
        let origin = Origin {
            endpoint: PROBED_ENDPOINT.to_owned(),
            dataset: dataset.to_owned(),
            received: Timestamp::UNIX_EPOCH,
            sink: None,
        };
        let body = entries::empty(self.settings.compression);
        let request = body.and_then(|body| self.request(&origin, body));
        let url = request.as_ref().map(|request| request.url().to_string()).unwrap_or_default();
        let mut answer = self.sender.send(self.sender.prepare(request)).await?;
        if answer.status() == StatusCode::UNPROCESSABLE_ENTITY {
            let body = answer.body(MAX_PROBE_BYTES).await?;
            let message = String::from_utf8_lossy(&body);
            if message.contains("at least one valid stream is required") {
                return Ok(vec![format!("{url} accepts streams")]);
            }
            return Err(answer.verdict_with(&message).into());
        }
        match answer::verdict(answer, &[]).await {
            Verdict::Delivered => Ok(vec![format!("{url} accepts streams")]),
            verdict => Err(verdict.into()),
        }
    }
}

impl Target for LogStore {
    /// The request and its entries.
    type Request = (HttpRequest, Vec<Entry>);

    fn encode(&self, chunk: &Chunk) -> Self::Request {
        let entries = entries(chunk, self.settings.time);
        let body = encode(&self.settings, chunk, &entries);
        let request = body.and_then(|body| self.request(&chunk.batch().header.origin, body));
        (self.sender.prepare(request), entries)
    }

    async fn send(&self, (request, entries): Self::Request) -> Verdict {
        match self.sender.send(request).await {
            Ok(answer) => answer::verdict(answer, &entries).await,
            Err(verdict) => verdict,
        }
    }
}

/// Appends the path of the push API to a base URL, unless the URL has it.
fn push_url(base: Url) -> Url {
    with_path(base, "/loki/api/v1/push")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_the_push_api_is_appended_to_a_base_url() {
        for (base, expected) in [
            ("http://a.example:3100", "http://a.example:3100/loki/api/v1/push"),
            ("https://a.example/logs/", "https://a.example/logs/loki/api/v1/push"),
            ("https://a.example/loki/api/v1/push", "https://a.example/loki/api/v1/push"),
            ("https://a.example/?x=1", "https://a.example/loki/api/v1/push?x=1"),
        ] {
            assert_eq!(push_url(base.parse().unwrap()).as_str(), expected, "{base}");
        }
    }
}
