//! `[spool]`, `[limits]` and `[quarantine]`: directories and limits.

use std::path::Path as FilePath;

use settings::{
    Context, Diagnostic, Table, format_bytes, settings,
    types::{Count, Path, PositiveSpan, Size, Span},
};

settings! {
    /// The durable queue. A batch is on disk here from the 200 to Cloudflare until every sink
    /// has it.
    pub struct Spool in "spool" {
        /// The state directory: the batches, the checkpoints of the sinks, and the
        /// deduplication log. It is created if missing.
        ///
        /// It must be on a local filesystem and on a disk that honors fsync. Only one daemon
        /// can use it at a time.
        pub dir: Path = "/var/lib/logpushd",
        /// The maximum size of all batches, as received (gzipped). When it is reached, new
        /// batches are refused with 503, and Cloudflare retries them for some hours.
        ///
        /// It should hold the batches of the longest outage of a sink that must not lose
        /// records. In any case, 256 MiB of the disk (a twentieth of a small disk) stay free.
        pub max_bytes: Size = "10GiB",
        /// How long to remember batches. A batch that arrives again within this time, with the
        /// same inflated bytes, is answered 200 and not delivered again. `"0s"` disables this.
        ///
        /// At most 200,000 batches are remembered. Lower it only if senders send the same
        /// bytes twice on purpose. See docs/deduplication.md.
        pub dedup_window: Span = "24h",
    }
}

settings! {
    /// Limits for each request, and for all requests together. Cloudflare retries a refused
    /// batch with the same bytes and disables the job after 24 hours, so a limit that is too
    /// low stops the job.
    pub struct Limits in "limits" derive(Copy), checked by check_limits {
        /// The maximum size of a body as sent (gzipped). A larger one is refused with 413.
        ///
        /// At most `limits.max_in_flight_bytes`. Keep it above a quarter of the job's
        /// `max_upload_bytes`, which counts inflated bytes.
        pub max_body_bytes: Size = "256MiB",
        /// The maximum size of an inflated body. A larger one is refused with 413.
        ///
        /// Bodies are inflated in chunks, so this limit is not a limit of memory. Keep it above
        /// the job's `max_upload_bytes`, which is at most 1 GB. With CSV and text, it also
        /// limits the JSON records made of the body, which repeat the names of the fields.
        pub max_inflated_bytes: Size = "2GiB",
        /// The maximum size of a record, at most `limits.max_inflated_bytes`. A longer record
        /// goes to the quarantine, and the rest of its batch is accepted.
        ///
        /// An upload with such a record can use about twice this size in memory.
        pub max_record_bytes: Size<1024, { 1 << 30 }> = "8MiB",
        /// The maximum size of the bodies of all requests in progress, as sent; at least
        /// `limits.max_body_bytes`. Further requests get 503, as do those beyond 512 bodies.
        ///
        /// Bodies are on disk, not in memory. Raise it if many jobs push at the same time and
        /// the log shows `too many uploads at once`.
        pub max_in_flight_bytes: Size = "256MiB",
        /// The maximum number of open connections. The next 64 get 503; more wait in the
        /// kernel.
        ///
        /// Each connection uses a file descriptor. Raise `LimitNOFILE` in the systemd unit with
        /// it.
        pub max_connections: Count = 1024,
        /// The maximum number of open connections from one address, or from one IPv6 /64
        /// network. A further connection replaces one that has not sent a valid secret. If all
        /// have, it is closed.
        ///
        /// Do not set it too low: Cloudflare uses few addresses, and behind a proxy all senders
        /// share one address.
        pub max_connections_per_address: Count = 256,
    }
}

settings! {
    /// The storage of rejected records: those that are too long, or are not JSON objects in
    /// valid UTF-8. Each is stored with the reason.
    ///
    /// Their batches are answered 200, since Cloudflare would retry the same bytes for hours
    /// otherwise. `logpushd quarantine list` lists them, and `logpushd quarantine replay` sends
    /// them again. See docs/quarantine.md.
    pub struct Quarantine in "quarantine" {
        /// The directory of rejected records and unreadable bodies. It is created if missing.
        pub dir: Path as "/var/lib/logpushd/quarantine" else "`quarantine` in `spool.dir`",
        /// The maximum size of the quarantine, checked every minute. The oldest files are
        /// deleted first, and logged.
        ///
        /// Raise it if losing a record is worse than a full disk.
        pub max_bytes: Size = "1GiB",
        /// How long to store a rejected record: long enough to notice it, fix the cause, and
        /// replay it.
        pub max_age: PositiveSpan = "30d",
    }
}

impl Quarantine {
    /// Sets the default directory if the file does not set one.
    pub(super) fn with_default_dir(self, spool_dir: &FilePath) -> Self {
        let is_named = !self.dir.as_os_str().is_empty();
        let dir = if is_named { self.dir } else { spool_dir.join("quarantine") };
        Self { dir, ..self }
    }
}

fn check_limits(limits: &Limits, table: &Table<'_>, cx: &mut Context) {
    let pairs = [
        (
            ("max_record_bytes", limits.max_record_bytes),
            ("max_inflated_bytes", limits.max_inflated_bytes),
            ["max_record_bytes", "max_inflated_bytes"],
        ),
        (
            ("max_body_bytes", limits.max_body_bytes),
            ("max_in_flight_bytes", limits.max_in_flight_bytes),
            ["max_in_flight_bytes", "max_body_bytes"],
        ),
    ];
    for (small, large, keys) in pairs {
        // The file sets at least one of the two keys: the defaults are valid together.
        if small.1 > large.1
            && let Some(key) = keys.into_iter().find(|key| table.contains(key))
        {
            cx.push_incomplete(exceeds(table, key, small, large));
        }
    }
}

/// Returns the problem at `key`. The message has both values, since one can be a default.
fn exceeds(table: &Table<'_>, key: &str, small: (&str, u64), large: (&str, u64)) -> Diagnostic {
    let message = format!(
        "`{}` ({}) is more than `{}` ({})",
        table.full_name(small.0),
        format_bytes(small.1),
        table.full_name(large.0),
        format_bytes(large.1)
    );
    table.problem_at(key, message).hint(format!("lower `{}` or raise `{}`", small.0, large.0))
}
