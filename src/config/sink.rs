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
    /// A sink is where records go; at least one is required. NAME in `[sink.NAME.KIND]` is
    /// your choice, as for an endpoint; KIND is one of those below.
    ///
    /// Each sink takes batches at its own pace, and delays no other sink until the spool is
    /// full. These keys are for every kind. See docs/choosing.md.
    pub(super) struct Keys in "sink.NAME.KIND", checked by super::validate::choice::check {
        /// What happens when the spool is full and this sink has a backlog: `"block"` refuses
        /// new batches with 503 until the sink has caught up; `"drop"` discards the oldest
        /// batches that only sinks with `"drop"` still need, and that none has started.
        ///
        /// Discarded batches are logged, and their records are counted in
        /// `logpushd_sink_dropped_records_total`. Use `"drop"` for a sink that may rather lose
        /// records than stop the others.
        pub(super) when_full: WhenFull = "block",
        /// Only batches of these datasets.
        ///
        /// Other batches are not even read for this sink.
        pub(super) datasets: Names<DatasetNames> as ["http_requests", "firewall_events"]
            else "all datasets",
        /// Only batches of these endpoints.
        pub(super) endpoints: Names<EndpointNames> as ["main"]
            else "all endpoints that deliver to this sink",
        /// Only records that meet all of these conditions. The condition on a field is a
        /// value, a list of values, or a table with the operators `ge`, `gt`, `le`, `lt`,
        /// `not` and `exists`. A dot in a quoted name leads into an object.
        ///
        /// A string never equals a number. What never leaves Cloudflare costs least: filter in
        /// the job if no other sink needs the rest.
        pub(super) conditions "where": Conditions
            as { EdgeResponseStatus = { ge = 500 }, Action = ["block", "log"] }
            else "all records",
        /// Only these fields. A dot leads into an object. Not allowed with `drop_fields`.
        pub(super) keep_fields: Names<FieldNames> as ["RayID", "ClientIP"] else "all fields",
        /// All fields except these. A dot leads into an object. Not allowed with
        /// `keep_fields`.
        pub(super) drop_fields: Names<FieldNames> as ["RequestHeaders.cookie"] else "all fields",
        /// New names for top-level fields.
        ///
        /// `where`, `keep_fields` and `drop_fields` use the original names.
        pub(super) rename: NewNames as { ClientIP = "src_ip" } else "fields keep their names",
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
    /// The full name of a key of its table, as in `sink.NAME.KIND.key`.
    pub fn full_name(&self, key: &str) -> String {
        format!("sink.{}.{}.{key}", self.name, self.kind.name())
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
