//! `[sink.NAME.KIND]`: what every kind of sink has.

use std::path::{Path, PathBuf};

use settings::{settings, types::Names, words};

use super::validate::{
    choice::{Conditions, NewNames},
    names::{DatasetNames, EndpointNames, FieldNames},
};
use crate::{
    select::Choice,
    sink::{SinkKind, paths::SinkFiles},
};

/// `[sink.NAME.KIND]`
#[derive(Clone, Debug, PartialEq)]
pub struct SinkConfig {
    /// NAME: `[A-Za-z0-9_-]{1,64}`.
    pub name: String,
    /// KIND and its own keys.
    pub kind: SinkKind,
    /// What happens when the spool is full and this sink is behind.
    pub when_full: WhenFull,
    /// Which batches and records it takes.
    pub choice: Choice,
}

settings! {
    /// Where records go; at least one. NAME is yours, as for an endpoint; KIND is one of
    /// those below. Each sink takes batches at its own pace, and holds up nobody else
    /// until the spool is full. These keys are for every kind. See docs/choosing.md.
    pub(super) struct Keys in "sink.NAME.KIND", checked by super::validate::choice::check {
        /// When the spool is full and this sink is behind: `"block"` refuses new
        /// batches with 503 until it has caught up; `"drop"` drops the oldest
        /// batches that only such sinks lack and that none has begun, logs it, and
        /// counts them in `logpushd_sink_dropped_records_total`. For a sink that may
        /// rather lose records than stop the others.
        pub(super) when_full: WhenFull = "block",
        /// Only batches of these datasets. Others are not even read for this sink.
        pub(super) datasets: Names<DatasetNames> as ["http_requests", "firewall_events"]
            else "all datasets",
        /// Only batches of these endpoints.
        pub(super) endpoints: Names<EndpointNames> as ["main"]
            else "all endpoints that have this sink among their `sinks`",
        /// Only records for which all of this holds. A field stands for one value or a
        /// list of them, or has the operators `ge`, `gt`, `le`, `lt`, `not` and
        /// `exists`; a dot in quotes leads into an object. A string never equals a
        /// number. What never leaves Cloudflare costs least: filter in the job where
        /// no other sink wants the rest.
        pub(super) conditions "where": Conditions
            as { EdgeResponseStatus = { ge = 500 }, Action = ["block", "log"] }
            else "all records",
        /// These fields alone; a dot leads to a part of a field. Not beside
        /// `drop_fields`.
        pub(super) keep_fields: Names<FieldNames> as ["RayID", "ClientIP"] else "all fields",
        /// All fields but these. Not beside `keep_fields`.
        pub(super) drop_fields: Names<FieldNames> as ["RequestHeaders.cookie"] else "all fields",
        /// Other names for whole fields. `where`, `keep_fields` and `drop_fields` mean
        /// the old ones.
        pub(super) rename: NewNames as { ClientIP = "src_ip" } else "names as they came",
    }
}

words! {
    /// `when_full`
    pub enum WhenFull {
        /// New batches are refused with 503 until the sink has caught up.
        Block = "block",
        /// The oldest batches that only such sinks lack are dropped.
        Drop = "drop",
    }
}

impl SinkConfig {
    /// The name of its table of TLS files, as in `sink.NAME.KIND.tls`.
    pub fn tls_table(&self) -> String {
        format!("sink.{}.{}.tls", self.name, self.kind.name())
    }

    /// The files that it can write, if it writes any. `endpoints` are the names of all endpoints, `resolve` says
    /// where a directory really is.
    ///
    /// # Errors
    /// The path is not one that passed validation.
    pub fn files(
        &self,
        endpoints: &[String],
        resolve: &dyn Fn(&Path) -> PathBuf,
    ) -> Result<Option<SinkFiles>, String> {
        let chosen = &self.choice.endpoints;
        let endpoints = if chosen.is_empty() { endpoints } else { chosen };
        let files = self.kind.claims().files;
        files
            .map(|paths| SinkFiles::of(paths, &self.choice.datasets, endpoints, resolve))
            .transpose()
    }
}
