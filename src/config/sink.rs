//! `[sink.NAME.KIND]`: the keys of every kind of sink.

use std::path::{Path, PathBuf};

use settings::{settings, types::Names, words};

use super::validate::{
    added_fields::AddedFields,
    choice::{Conditions, NewNames},
    mask::{FieldMasks, HashKeyFile},
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
    /// What happens when the spool is full and this sink has a backlog.
    pub when_full: WhenFull,
    /// The batches, records and fields that the sink gets.
    pub choice: Choice,
    /// The file with the key of masks with `"hash"`, if there is one.
    pub mask_key_file: Option<PathBuf>,
}

settings! {
    /// A sink is an output for records; at least one is required. NAME in `[sink.NAME.KIND]`
    /// is your choice, as for an endpoint; KIND is one of those below.
    ///
    /// Each sink delivers at its own pace, and delays no other sink until the spool is full.
    /// These keys are for every kind. See docs/choosing.md.
    pub(super) struct Keys in "sink.NAME.KIND", checked by super::validate::choice::check {
        /// What happens when the spool is full and this sink has a backlog: `"block"` refuses
        /// new batches with 503 until the sink has caught up; `"drop"` discards the oldest
        /// batches that only sinks with `"drop"` still need, and that none has started.
        ///
        /// Discarded batches are logged, and `logpushd_sink_dropped_records_total` counts their
        /// records. Use `"drop"` for a sink that may lose records but must not block the
        /// others.
        pub(super) when_full: WhenFull = "block",
        /// Deliver only batches of these datasets.
        ///
        /// The sink does not read other batches, so this costs nothing.
        pub(super) datasets: Names<DatasetNames> as ["http_requests", "firewall_events"]
            else "all datasets",
        /// Deliver only batches of these endpoints.
        pub(super) endpoints: Names<EndpointNames> as ["main"]
            else "all endpoints that deliver to this sink",
        /// Deliver only records that meet all of these conditions. A condition is a value, a
        /// list of values, or a table with the operators `ge`, `gt`, `le`, `lt`, `not` and
        /// `exists`. A quoted name with a dot, such as `"a.b"`, selects a member of an object.
        ///
        /// A string never equals a number. If no sink needs the other records, filter in the
        /// Logpush job instead, which saves traffic and space in the spool.
        pub(super) conditions "where": Conditions
            as { EdgeResponseStatus = { ge = 500 }, Action = ["block", "log"] }
            else "all records",
        /// Deliver only these fields. A name with a dot selects a member of an object. Not
        /// allowed with `drop_fields`.
        pub(super) keep_fields: Names<FieldNames> as ["RayID", "ClientIP"] else "all fields",
        /// Deliver all fields except these. A name with a dot selects a member of an object.
        /// Not allowed with `keep_fields`.
        pub(super) drop_fields: Names<FieldNames> as ["RequestHeaders.cookie"] else "all fields",
        /// New names for top-level fields.
        ///
        /// `where`, `mask`, `keep_fields` and `drop_fields` use the original names.
        pub(super) rename: NewNames as { ClientIP = "src_ip" } else "fields keep their names",
        /// Mask the values of these fields: `"truncate"` an IP address to its network (/24 or
        /// /48), `"hash"` a value with a key, or `"redact"` it. A name with a dot selects a member
        /// of an object.
        ///
        /// A value that cannot be masked in this way is removed. `where` tests the original value.
        pub(super) mask: FieldMasks
            as { ClientIP = "truncate", Cookies = "redact" }
            else "no field is masked",
        /// A file whose first line is the key of masks with `"hash"`: HMAC-SHA-256 of the value,
        /// in hexadecimal.
        ///
        /// Everyone who has the key can find the address of a hash by trying all addresses.
        /// A reload reads the file again; with another key, the same value has another hash.
        pub(super) mask_key_file: Option<HashKeyFile> as "mask.key" else "no field can be hashed",
        /// Add fields with constant values, or with strings in which `{dataset}`, `{endpoint}`,
        /// `{received}`, `{batch}` and `{digest}` are filled in.
        ///
        /// `{received}` is when the batch arrived, in RFC 3339; `{batch}` is its number, as in the
        /// log; `{digest}` identifies its contents. `{{` and `}}` stand for braces. An added field
        /// replaces a field that has its name.
        pub(super) add_fields: AddedFields
            as { dataset = "{dataset}", received = "{received}", environment = "production" }
            else "no field is added",
    }
}

words! {
    /// `when_full`
    pub enum WhenFull {
        /// Refuses new batches with 503 until the sink has caught up.
        Block = "block",
        /// Discards the oldest batches that only such sinks still need.
        Drop = "drop",
    }
}

impl SinkConfig {
    /// The full name of a key of its table, as in `sink.NAME.KIND.key`.
    pub fn full_name(&self, key: &str) -> String {
        format!("sink.{}.{}.{key}", self.name, self.kind.name())
    }

    /// Returns the files that the sink can write, or `None` if it writes no files. `endpoints` are
    /// the names of all endpoints. `resolve` follows the links of a directory.
    ///
    /// # Errors
    /// The path is invalid.
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
