//! The keys of every sink that sends requests over a network.

use http_client::{Proxies, ProxyError};
use settings::{
    Context, Table, format_bytes, settings,
    types::{Count, PositiveSpan, Size},
};
use tls::ClientTls;

use super::{Compression, HttpUrl};
use crate::upload::{Limits, UploadOptions};

/// A limit for memory: each request in flight keeps a chunk.
const MAX_IN_FLIGHT: usize = 256;

/// The maximum size of the chunks in memory without a warning.
const MAX_MEMORY: u64 = 1 << 30;

settings! {
    /// The keys of every sink that sends requests.
    pub struct NetworkSettings, checked by check {
        /// The timeout of a request, from connecting to the end of the response.
        pub timeout: PositiveSpan = "60s",
        /// The maximum number of concurrent requests, up to 256. With 1, requests arrive in
        /// the order of the batches as long as none fails.
        pub in_flight: Count = 4,
        /// How to compress the bodies of requests.
        pub compression: Compression = "gzip",
        /// The maximum size of a request. Larger batches are divided.
        pub batch: Batch,
        /// TLS for `https://` URLs.
        pub tls: ClientTls,
    }
}

settings! {
    /// The limits at which a batch is divided into requests.
    pub struct Batch derive(Copy, Eq) {
        /// The maximum size of a request: the bytes of its records as lines, before
        /// compression. A longer record is a request of its own.
        pub max_bytes: Size<1024, { 256 << 20 }> = "4MiB",
        /// The maximum number of records in a request.
        pub max_records: Count = 10000,
    }
}

impl NetworkSettings {
    /// The options of the uploader.
    pub fn upload_options(&self) -> UploadOptions {
        UploadOptions {
            limits: Limits {
                max_bytes: usize::try_from(self.batch.max_bytes).unwrap_or(usize::MAX),
                max_records: self.batch.max_records,
            },
            in_flight: self.in_flight,
            timeout: self.timeout,
        }
    }

    /// Reports a `tls` table that the URL does not use, secrets that are sent unencrypted, and a proxy of
    /// the environment that cannot be used.
    /// `secrets` is the key that sets them, if there are any.
    pub fn check_url(
        &self,
        url: &HttpUrl,
        secrets: Option<&str>,
        table: &Table<'_>,
        cx: &mut Context,
    ) {
        if self.tls != ClientTls::default() && !url.is_https() {
            // The operator probably believes that the connection is encrypted.
            let message =
                format!("`{}` has no effect: the URL begins with http://", table.full_name("tls"));
            let hint = "write the URL with https://, or remove the table";
            cx.push(table.problem_at("tls", message).hint(hint));
        }
        if cx.reads_files()
            && let Err(error) = Proxies::from_env()
        {
            cx.push(table.problem_at("url", error.to_string()).hint(ProxyError::HINT));
        }
        if let Some(key) = secrets.filter(|_| url.is_clear_text()) {
            let message =
                format!("the secrets of `{}` cross the network unencrypted", table.full_name(key));
            cx.warn(table.problem_at("url", message).hint("write the URL with https://"));
        }
    }
}

/// Reports too many requests in flight, and chunks that need much memory.
pub(crate) fn check(settings: &NetworkSettings, table: &Table<'_>, cx: &mut Context) {
    if settings.in_flight > MAX_IN_FLIGHT {
        let name = table.full_name("in_flight");
        let message = format!("`{name}` must be at most {MAX_IN_FLIGHT}");
        cx.push(table.problem_at("in_flight", message));
        return;
    }
    let memory = settings.batch.max_bytes.saturating_mul(settings.in_flight as u64);
    if memory > MAX_MEMORY {
        let message = format!(
            "this sink can hold {} of records in memory: {} requests in flight with up to {} each",
            format_bytes(memory),
            settings.in_flight,
            format_bytes(settings.batch.max_bytes)
        );
        let key = if table.contains("in_flight") { "in_flight" } else { "batch" };
        let hint = "lower `in_flight` or `batch.max_bytes`";
        cx.warn(table.problem_at(key, message).hint(hint));
    }
}
