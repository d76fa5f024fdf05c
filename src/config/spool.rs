//! `[spool]`, `[limits]` and `[quarantine]`: what is kept, and how much of it.

use std::path::Path as FilePath;

use settings::{
    Context, Diagnostic, Table, format_bytes, settings,
    types::{Count, Path, PositiveSpan, Size, Span},
};

settings! {
    /// The durable queue: a batch is on disk here from the 200 to Cloudflare until every sink
    /// has it.
    pub struct Spool in "spool" {
        /// The state directory: the batches, the checkpoints of the sinks, and the
        /// deduplication log. It is created if missing.
        ///
        /// It must be on a local filesystem whose disk honors fsync. Only one daemon can use
        /// it.
        pub dir: Path = "/var/lib/logpushd",
        /// The maximum size of the batches, as received (gzipped). When it is reached, new
        /// batches are refused with 503, and Cloudflare retries them for some hours.
        ///
        /// Make it as large as what Cloudflare sends during the longest outage of a sink that
        /// must not lose records. In any case, 256 MiB of the disk (a twentieth of a small
        /// disk) stay free.
        pub max_bytes: Size = "10GiB",
        /// A batch that arrives again within this time, with the same inflated bytes, is
        /// answered 200 and not delivered again. `"0s"` disables this.
        ///
        /// At most 200,000 batches are remembered. Lower it only if senders send the same
        /// bytes twice on purpose.
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
        /// The maximum size of an inflated body; a larger one is refused with 413. Bodies are
        /// inflated in chunks, so this is not memory.
        ///
        /// Keep it above the job's `max_upload_bytes`, which is at most 1 GB. The limit also
        /// applies to the JSON records that a body of CSV or text becomes, which repeat the
        /// names of the fields.
        pub max_inflated_bytes: Size = "2GiB",
        /// The maximum size of a record, at most `limits.max_inflated_bytes`. A longer record
        /// goes to the quarantine; the rest of its batch is accepted.
        ///
        /// An upload with such a record can use about twice this size in memory.
        pub max_record_bytes: Size<1024, { 1 << 30 }> = "8MiB",
        /// The maximum size of the bodies of all requests in progress, as sent; at least
        /// `limits.max_body_bytes`. Requests beyond it, or beyond 512 bodies, get 503.
        ///
        /// Bodies are on disk, not in memory. Raise it if many jobs push at the same time and
        /// the log shows `too many uploads at once`.
        pub max_in_flight_bytes: Size = "256MiB",
        /// The maximum number of open connections. The next 64 get 503; others wait in the
        /// kernel.
        ///
        /// Each connection takes a file descriptor: raise `LimitNOFILE` with it.
        pub max_connections: Count = 1024,
        /// The maximum number of open connections from one address, or from one IPv6 /64. A
        /// further connection replaces one that has not sent a valid secret; if all have, it
        /// is closed.
        ///
        /// Cloudflare uses few addresses, and behind a proxy all senders share one: keep it
        /// generous.
        pub max_connections_per_address: Count = 256,
    }
}

settings! {
    /// Records that are not JSON objects in valid UTF-8, or that are too long, are kept here
    /// with the reason. They are answered 200; otherwise Cloudflare would send the same bytes
    /// for hours. `logpushd quarantine list` shows them, and `logpushd quarantine replay`
    /// sends them again.
    pub struct Quarantine in "quarantine" {
        /// The directory. It is created if missing.
        pub dir: Path as "/var/lib/logpushd/quarantine" else "`quarantine` in `spool.dir`",
        /// The maximum size of the quarantine, checked every minute. The oldest files are
        /// removed first, and the log names each.
        ///
        /// Raise it if losing a record is worse than a full disk.
        pub max_bytes: Size = "1GiB",
        /// How long to keep a rejected record: long enough to notice it, fix the cause, and
        /// replay it.
        pub max_age: PositiveSpan = "30d",
    }
}

impl Quarantine {
    /// With the folder that it has if the file names none.
    pub(super) fn beside(self, spool_dir: &FilePath) -> Self {
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
    for (small, large, places) in pairs {
        // The place is whichever of the two the file names; the defaults fit each other.
        if small.1 > large.1
            && let Some(place) = places.into_iter().find(|key| table.contains(key))
        {
            cx.push_incomplete(exceeds(table, place, small, large));
        }
    }
}

/// Both values are said, because the other one may be a default that stands nowhere in the file.
fn exceeds(table: &Table<'_>, place: &str, small: (&str, u64), large: (&str, u64)) -> Diagnostic {
    let message = format!(
        "`{}` ({}) is more than `{}` ({})",
        table.full_name(small.0),
        format_bytes(small.1),
        table.full_name(large.0),
        format_bytes(large.1)
    );
    table.problem_at(place, message).hint(format!("lower `{}` or raise `{}`", small.0, large.0))
}
