//! The keys of every sink that sends requests over a network.

use settings::{
    Context, Table, settings,
    types::{Count, PositiveSpan, Size},
};
use tls::ClientTls;

use super::Compression;
use crate::upload::{Limits, UploadOptions};

/// Each request in flight has a chunk in memory.
const MAX_IN_FLIGHT: usize = 256;

settings! {
    /// How requests are sent.
    pub struct NetworkSettings, checked by check {
        /// The timeout of a request, from connecting to the end of the response.
        pub timeout: PositiveSpan = "60s",
        /// The maximum number of concurrent requests, up to 256. With 1, requests arrive in
        /// the order of the batches as long as none fails.
        pub in_flight: Count = 4,
        /// How to compress the bodies of requests.
        pub compression: Compression = "gzip",
        /// The most that a request contains, whichever comes first.
        pub batch: Batch,
        /// For `https://`.
        pub tls: ClientTls,
    }
}

settings! {
    /// Where a batch is divided into requests.
    pub struct Batch derive(Copy, Eq) {
        /// The maximum size of a request: the bytes of its records as lines, before
        /// compression. A longer record is a request of its own.
        pub max_bytes: Size<1024, { 256 << 20 }> = "4MiB",
        /// The maximum number of records in a request.
        pub max_records: Count = 10000,
    }
}

impl NetworkSettings {
    /// How an uploader sends.
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
}

fn check(settings: &NetworkSettings, table: &Table<'_>, cx: &mut Context) {
    if settings.in_flight > MAX_IN_FLIGHT {
        let name = table.full_name("in_flight");
        let message = format!("`{name}` must be at most {MAX_IN_FLIGHT}");
        cx.push(table.problem_at("in_flight", message));
    }
}
