//! The `elasticsearch` sink: delivers to Elasticsearch 7 and later, and to OpenSearch.
//!
//! Each record is created as a document with a deterministic `_id`. A request that is sent again
//! meets the documents that it has created before, so the sink delivers exactly once within an
//! index.

mod answer;
mod document;
mod index;
mod nodes;
mod probe;

use std::{borrow::Cow, time::Instant};

use reqwest::{
    Method, Request, Url,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue},
};
use settings::{
    Context, Table,
    reference::Takes,
    setting, settings,
    types::{Flag, text},
};

pub use self::{document::DocumentId, index::NamePattern};
use self::{
    document::{DocumentIdSetting, Encoder},
    index::{DataStreamPattern, IndexPattern},
    nodes::{NodeUrls, Nodes},
};
use super::{
    Probe, Sink, SinkContext,
    kinds::{Claims, Kind, SecretClaim, TlsClaim},
    network::{
        Compression, HttpRequest, HttpSender, HttpUrl, NetworkSettings, SecretFile, SecretHeader,
    },
    record_time::{EventWindow, RecordTime},
    upload::{Chunk, Target, Uploader, Verdict},
};

settings! {
    /// Elasticsearch (version 7 or later) or OpenSearch. Each record is a document of an index,
    /// exactly once, or of a data stream. See docs/sinks/elasticsearch.md for permissions, the
    /// index template and data streams.
    pub struct Settings in "sink.NAME.elasticsearch", checked by check {
        /// The URL of the cluster, `https://` or `http://`, or a list with the URLs of several
        /// nodes. With several nodes, requests are distributed among them; a node that fails gets
        /// no request for 30 seconds, unless all fail.
        pub nodes "url": NodeUrls as "https://es.example.com:9200",
        /// The index of a record. `{dataset}`, `{endpoint}` and a time in UTC (`%Y`, `%m`, `%d`
        /// and so on) are filled in. `{{`, `}}` and `%%` stand for a brace and a percent sign.
        /// The name is in lowercase.
        ///
        /// A write alias is possible, too; then a retry after a rollover can create a document
        /// again.
        pub index: IndexPattern = "logpush-{dataset}-%Y.%m.%d",
        /// The data stream of a record, instead of `index`. `{dataset}` and `{endpoint}` are
        /// filled in. The server must have an index template with `data_stream` for it.
        ///
        /// A retry after a rollover of the data stream can create a document again.
        pub data_stream: Option<DataStreamPattern> as "logs-cloudflare.{dataset}-default"
            else "records go to `index`",
        /// The time of a record, for `index` and `@timestamp`: the time of the record (`"event"`),
        /// from the time field of its dataset, or the time of receipt of the batch (`"received"`).
        /// A record without a usable time has its time of receipt.
        pub time: RecordTime = "event",
        /// With `time = "event"`: which records are filed by their own time. The others are
        /// filed by their time of receipt.
        pub event_window: EventWindow,
        /// Adds the member `@timestamp` to a record that has none. Data streams require it, and
        /// the tools for both servers expect it.
        pub add_timestamp: Flag = true,
        /// The `_id` of a document: `"batch"` (the digest of the batch, the position of the record
        /// and its digest), the name of a top-level field whose values are unique, or `"none"`.
        ///
        /// With a field, records with the same value in one index are one document. A record
        /// without a usable value, a string or number of up to 512 bytes, gets the `_id` of
        /// `"batch"`. With `"none"`, the server makes the `_id`, and a retry can create a document
        /// again.
        pub id: DocumentIdSetting = "batch",
        /// The ingest pipeline for the documents.
        pub pipeline: Option<Name> as "cloudflare" else "the default of the index",
        /// A file whose first line is an API key in its encoded form.
        ///
        /// Files with secrets are read again when the server answers 401 or 403, or when a
        /// connection fails.
        pub api_key_file: Option<SecretFile> as "es.txt" else "no API key",
        /// The user, for basic authentication. With `password_file`.
        pub user: Option<Name> as "logpushd" else "no user",
        /// A file whose first line is the password. With `user`.
        pub password_file: Option<SecretFile> as "password.txt" else "no password",
        /// The keys of every sink that sends requests.
        pub network "": NetworkSettings,
    }
}

setting! {
    /// A name.
    pub struct Name(String): Takes::String("name"), read by text;
}

impl Kind for Settings {
    fn target(&self) -> String {
        let nodes: Vec<_> = self.nodes.iter().map(ToString::to_string).collect();
        format!("{} of {}", self.pattern(), nodes.join(", "))
    }

    fn claims(&self) -> Claims<'_> {
        let is_used = self.nodes.iter().any(HttpUrl::is_https);
        Claims {
            tls: Some(TlsClaim { files: &self.network.tls, is_used }),
            secrets: self.secret_files(),
            descriptors: self.network.in_flight.saturating_mul(self.nodes.len()),
            ..Claims::default()
        }
    }

    fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>, String> {
        let options = self.network.upload_options();
        Ok(Box::new(Uploader::new(Cluster::new(self)?, &options, context)))
    }

    fn probe(&self, datasets: &[String]) -> Option<Probe<'_>> {
        Some(Box::pin(probe::probe(self, datasets.to_vec())))
    }
}

impl Settings {
    /// The name of the index or data stream.
    fn pattern(&self) -> &NamePattern {
        self.data_stream.as_ref().unwrap_or(&self.index)
    }

    fn secret_files(&self) -> Vec<SecretClaim<'_>> {
        [("api_key_file", &self.api_key_file), ("password_file", &self.password_file)]
            .into_iter()
            .filter_map(|(key, file)| Some(SecretClaim { key, file: file.as_deref()? }))
            .collect()
    }

    /// The header with the credentials, if there are any.
    fn credentials(&self) -> Option<SecretHeader> {
        if let Some(file) = &self.api_key_file {
            let file = file.clone();
            return Some(SecretHeader::prefixed("api_key_file", AUTHORIZATION, "ApiKey ", file));
        }
        let file = self.password_file.clone()?;
        Some(SecretHeader::basic(self.user.clone().unwrap_or_default(), file))
    }

    fn sender(&self) -> HttpSender {
        let credentials: Vec<_> = self.credentials().into_iter().collect();
        HttpSender::new(&self.network, &credentials)
    }
}

fn check(settings: &Settings, table: &Table<'_>, cx: &mut Context) {
    settings.event_window.check_use(settings.time, table, cx);
    if table.contains("index") && table.contains("data_stream") {
        let message = "`index` and `data_stream` exclude each other";
        cx.push(table.problem_at("index", message).hint("remove one of them"));
    }
    if settings.data_stream.is_some() && !settings.add_timestamp {
        let message = "a data stream refuses records without the member `@timestamp`";
        let hint = "remove `add_timestamp`, unless all records or the pipeline have it";
        cx.warn(table.problem_at("add_timestamp", message).hint(hint));
    }
    if settings.network.compression == Compression::Zstd {
        let message = "Elasticsearch and OpenSearch accept no bodies in zstd";
        let hint = "set compression = \"gzip\" or \"none\"";
        cx.push(table.problem_at("compression", message).hint(hint));
    }
    if table.contains("user") != table.contains("password_file") {
        let message = "`user` and `password_file` have an effect only together";
        cx.push_incomplete(table.problem(message).hint("set both, or use `api_key_file`"));
    }
    if table.contains("api_key_file") && table.contains("password_file") {
        let message = "`api_key_file` and `password_file` exclude each other";
        cx.push(table.problem_at("api_key_file", message).hint("remove one of them"));
    }
    // RFC 7617, section 2.
    if settings.user.as_ref().is_some_and(|user| user.contains(':')) {
        cx.push(table.problem_at("user", "the name of a user cannot contain a colon"));
    }
    if table.is_valid("url") {
        let secrets = settings.secret_files().first().map(|claim| claim.key);
        for node in &settings.nodes {
            settings.network.check_url(node, secrets, table, cx);
        }
    }
}

/// The cluster of one sink.
struct Cluster {
    encoder: Encoder,
    compression: Compression,
    /// The URLs of the bulk API, one for each node.
    urls: Vec<Url>,
    nodes: Nodes,
    sender: HttpSender,
}

/// A bulk request, which any node accepts.
struct BulkRequest {
    request: HttpRequest,
    /// The number of its records.
    records: usize,
    /// The size of its records.
    bytes: usize,
}

impl Cluster {
    fn new(settings: &Settings) -> Result<Self, String> {
        let url = |node| {
            let mut url = nodes::at(node, "_bulk")?;
            url.set_query(Some(&format!("filter_path={}", answer::FILTER)));
            let pipeline = settings.pipeline.iter().map(|name| ("pipeline", name));
            url.query_pairs_mut().extend_pairs(pipeline);
            Ok(url)
        };
        let urls = settings.nodes.iter().map(url).collect::<Result<Vec<_>, String>>()?;
        Ok(Self {
            encoder: Encoder::new(settings),
            compression: settings.network.compression,
            nodes: Nodes::new(urls.len()),
            urls,
            sender: settings.sender(),
        })
    }

    fn request(&self, chunk: &Chunk) -> Result<Request, String> {
        let url = self.urls.first().ok_or("the sink has no `url`")?;
        let mut request = Request::new(Method::POST, url.clone());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        if let Some(encoding) = self.compression.encoding() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        let body = self.compression.compress(Cow::Owned(self.encoder.body(chunk)));
        *request.body_mut() = Some(body.map_err(|error| error.to_string())?.into());
        Ok(request)
    }
}

impl Target for Cluster {
    type Request = BulkRequest;

    fn encode(&self, chunk: &Chunk) -> BulkRequest {
        let request = self.sender.prepare(self.request(chunk));
        BulkRequest { request, records: chunk.records(), bytes: chunk.bytes().len() }
    }

    /// Tries one node after another until one answers. Only a node that is unavailable, or whose
    /// proxy finds it so, gives way to the next.
    async fn send(&self, BulkRequest { request, records, bytes }: BulkRequest) -> Verdict {
        let mut failure = Verdict::Retry { after: None, why: "the sink has no `url`".to_owned() };
        for node in self.nodes.order(Instant::now()) {
            let Some(url) = self.urls.get(node) else { continue };
            let attempt = self.nodes.attempt(node);
            failure = match self.sender.send(request.to(url.clone())).await {
                Ok(answer) if matches!(answer.status().as_u16(), 502 | 503) => {
                    answer.verdict().await
                }
                Ok(answer) => {
                    attempt.answered();
                    return answer::verdict(answer, records, bytes).await;
                }
                Err(failure @ Verdict::Retry { .. }) => failure,
                Err(verdict) => {
                    attempt.answered();
                    return verdict;
                }
            };
        }
        failure
    }
}
