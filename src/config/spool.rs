//! `[spool]`, `[limits]` and `[quarantine]`: what is kept, and how much of it.

use std::path::Path as FilePath;

use settings::{
    Context, Diagnostic, Table, format_bytes, settings,
    types::{Count, Path, PositiveSpan, Size, Span},
};

settings! {
    /// The durable queue: a batch is here, on disk, from the 200 to Cloudflare until every
    /// sink has it.
    pub struct Spool in "spool" {
        /// The state folder: waiting batches, how far each sink is, which batches are
        /// known. It is made if missing. It needs a local filesystem on a disk that
        /// honors fsync, and one daemon alone uses it.
        pub dir: Path = "/var/lib/logpushd",
        /// What may wait, as sent (gzipped). Beyond it batches are refused with 503,
        /// and Cloudflare sends them again for some hours. Make it as large as what
        /// Cloudflare sends in the longest outage of a sink that is to cost nothing.
        /// Whatever it says, 256 MiB of the disk (or a twentieth of a small one) stay
        /// free.
        pub max_bytes: Size = "10GiB",
        /// A batch that arrives again within this time, byte for byte the same once
        /// inflated, is answered 200 and not delivered again. `"0s"` switches that
        /// off. 200,000 batches are remembered at most. Lower it only if senders mean
        /// to send the same bytes twice.
        pub dedup_window: Span = "24h",
    }
}

settings! {
    /// What one request, and all of them together, may cost. A refused batch is sent again
    /// with the same bytes until the job is disabled after 24 hours, so a limit that is
    /// too low stops the job.
    pub struct Limits in "limits" derive(Copy), checked by check_limits {
        /// One request's body as sent, gzipped. A larger one is refused with 413. Not
        /// above `limits.max_in_flight_bytes`. Keep it above a quarter of the job's
        /// `max_upload_bytes`, which counts inflated bytes.
        pub max_body_bytes: Size = "256MiB",
        /// The same body inflated; beyond it 413. It is inflated piece by piece, so
        /// this is not memory. Above the job's `max_upload_bytes`, which may be 1 GB
        /// at most. It holds as well for all records that are made of a body of CSV or
        /// text, in which names are repeated.
        pub max_inflated_bytes: Size = "2GiB",
        /// One record, not above `limits.max_inflated_bytes`. A
        /// longer one goes to the quarantine, the others of its batch are accepted. An
        /// upload may cost about twice this in memory while it has such a record.
        pub max_record_bytes: Size<1024, { 1 << 30 }> = "8MiB",
        /// The bodies of all requests under way, as sent; not below
        /// `limits.max_body_bytes`. Beyond it, or beyond 512 bodies, 503. They are on
        /// disk, not in memory. Raise it if many jobs push at the same time and the
        /// log says `too many uploads at once`.
        pub max_in_flight_bytes: Size = "256MiB",
        /// Open connections. 64 beyond it are answered 503, others wait in the kernel.
        /// Each takes a file descriptor: raise `LimitNOFILE` with it.
        pub max_connections: Count = 1024,
        /// Open connections of one address, or of one /64 of IPv6. A new connection
        /// beyond it takes the place of one that has not shown a right secret; if all
        /// have, it is closed. Cloudflare uses few addresses, and behind a proxy all
        /// senders share one: keep it generous.
        pub max_connections_per_address: Count = 256,
    }
}

settings! {
    /// Where records go that are no valid JSON object in UTF-8 or are too long, beside the
    /// reason. They are answered 200: Cloudflare would send the same bytes again for
    /// hours. `logpushd quarantine list` says what is there, `logpushd quarantine replay`
    /// sends it again.
    pub struct Quarantine in "quarantine" {
        /// The folder; it is made if missing.
        pub dir: Path as "/var/lib/logpushd/quarantine" else "`quarantine` in `spool.dir`",
        /// What may lie there. Looked after every minute: the oldest files go first,
        /// and the log names each. Where losing a record is worse than a full disk,
        /// raise it.
        pub max_bytes: Size = "1GiB",
        /// How long something lies there. Long enough for somebody to
        /// notice, to mend the cause, and to replay.
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
        table.full(small.0),
        format_bytes(small.1),
        table.full(large.0),
        format_bytes(large.1)
    );
    table.problem_at(place, message).hint(format!("lower `{}` or raise `{}`", small.0, large.0))
}
