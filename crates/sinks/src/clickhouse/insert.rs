//! Encodes chunks as inserts.

use std::sync::Arc;

use reqwest::{
    Method, Request,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue},
};

use super::{
    Settings, USER, answer,
    schema::{Schema, TableCheck},
};
use crate::{
    network::HttpRequest,
    upload::{Chunk, Target, Verdict},
};

/// Settings of ClickHouse that do not depend on the chunk. The URL, the user's profile and newer
/// servers can have other defaults.
///
/// All of them exist since ClickHouse 22.8: a server answers an unknown setting with an error.
const QUERY_SETTINGS: [(&str, &str); 13] = [
    // The answer to an asynchronous insert can come before its block is stored, and its token does
    // not cover the block.
    ("async_insert", "0"),
    ("insert_deduplicate", "1"),
    // A retried block goes to materialized views even if the table already has it: the views may
    // not have it yet. Their tables recognize it by the same token.
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    // A distributed table otherwise answers before a shard has the block.
    ("insert_distributed_sync", "1"),
    // The status is that of the finished insert, not of its beginning.
    ("wait_end_of_query", "1"),
    ("send_progress_in_http_headers", "0"),
    // One chunk is one block, which is stored as a whole, under one token. With parallel parsing or
    // a limit in bytes, it would be several blocks.
    ("input_format_parallel_parsing", "0"),
    ("min_insert_block_size_bytes", "0"),
    // A chunk with records of many days must not fail at each attempt.
    ("max_partitions_per_insert_block", "0"),
    // Other values discard faulty records silently.
    ("input_format_allow_errors_num", "0"),
    ("input_format_allow_errors_ratio", "0"),
    ("input_format_import_nested_json", "1"),
    // RFC 3339 for DateTime and DateTime64.
    ("date_time_input_format", "best_effort"),
];

/// The server of one sink, as a target.
pub(super) struct Inserter(Arc<Schema>);

/// An insert, and the check of its table, which runs beside the first insert into the table.
pub(super) struct InsertRequest {
    insert: HttpRequest,
    check: Option<TableCheck>,
}

impl Inserter {
    pub(super) fn new(schema: Arc<Schema>) -> Self {
        Self(schema)
    }
}

impl Target for Inserter {
    type Request = InsertRequest;

    fn encode(&self, chunk: &Chunk) -> InsertRequest {
        let schema = &self.0;
        InsertRequest {
            check: schema.first_check(chunk),
            insert: schema.sender.prepare(request(&schema.settings, chunk)),
        }
    }

    async fn send(&self, InsertRequest { insert, check }: InsertRequest) -> Verdict {
        let schema = &self.0;
        if let Some(check) = check {
            // A check that fails is repeated with a later insert, so it may end with the runtime.
            tokio::spawn(Arc::clone(schema).run(check));
        }
        match schema.sender.send(insert).await {
            Ok(answer) => answer::verdict(answer, schema.settings.skip_unknown_fields).await,
            Err(verdict) => verdict,
        }
    }
}

fn request(settings: &Settings, chunk: &Chunk) -> Result<Request, String> {
    let origin = &chunk.batch().header.origin;
    let table = settings.table_of(&origin.dataset, &origin.endpoint);
    let mut url = settings.url.fill("", "")?;
    let records = chunk.records().to_string();
    // Of a repeated parameter, the last one counts: these replace those in the URL.
    url.query_pairs_mut()
        .append_pair("query", &format!("INSERT INTO {table} FORMAT JSONEachRow"))
        .append_pair("insert_deduplication_token", &chunk.id().to_string())
        .append_pair("max_insert_block_size", &records)
        .append_pair("min_insert_block_size_rows", &records)
        .extend_pairs(QUERY_SETTINGS)
        .append_pair(
            "input_format_skip_unknown_fields",
            if settings.skip_unknown_fields { "1" } else { "0" },
        );
    let mut request = Request::new(Method::POST, url);
    let headers = request.headers_mut();
    headers.insert(USER, user(settings)?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    let compression = settings.network.compression;
    if let Some(encoding) = compression.encoding() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    let body = compression.compress(chunk.bytes().into()).map_err(|error| error.to_string())?;
    *request.body_mut() = Some(body.into());
    Ok(request)
}

/// The value of the header with the user name.
pub(super) fn user(settings: &Settings) -> Result<HeaderValue, String> {
    HeaderValue::from_str(&settings.user).map_err(|error| error.to_string())
}
