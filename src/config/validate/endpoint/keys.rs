//! The keys of `[endpoint.NAME]`.

use records::decode::Delimiter;
use settings::{
    Context, Value,
    reference::Takes,
    setting, settings,
    types::{Flag, Input, List, Names, text},
    words,
};

use crate::config::{
    Protocol, SINK_HEADER,
    validate::{
        names::{ColumnNames, DatasetName, DatasetNames, SinkNames},
        network::Network,
    },
};

settings! {
    /// Where a Logpush job posts; at least one. NAME is yours, 1 to 64 of `A-Z`, `a-z`, `0-9`,
    /// `_` and `-`; it stands in metrics, in the log and in the names of waiting batches. Each
    /// endpoint needs a `secret_file`, `auth = "none"`, or `client_ca_file` in
    /// `[server.tls]`.
    pub(in crate::config) struct Keys in "endpoint.NAME" {
        /// The path that is posted to. `{dataset}` stands for the name of the dataset: 1
        /// to 64 of `a-z`, `0-9` and `_`. The request itself does not say which dataset it
        /// carries, so each job gets a path of its own. A query behind it is ignored. No
        /// two endpoints may take the same path; one without `{dataset}` goes before one
        /// with it. With `protocol = "splunk_hec"` it is what stands before `/raw` and
        /// `/event`.
        pub(in crate::config) path: Option<UrlPath> as "/logpush/{dataset}"
            else "the file is refused, or with `protocol = \"splunk_hec\"` it is `\"/services/collector\"`",
        /// Beside a path without `{dataset}`, and only there: the dataset that it is for.
        /// It names the files and the series of metrics.
        pub(in crate::config) dataset: Option<DatasetName> as "http_requests" else "the path has `{dataset}`",
        /// With `{dataset}` in `path`: the datasets that may be written through this
        /// endpoint. Any other gets 404, once the secret is verified. Without the list, an
        /// endpoint takes every dataset that Cloudflare has and the first 256 other names
        /// of a run of the daemon, since each may become a directory; more get 413.
        pub(super) datasets: Names<DatasetNames> as ["http_requests", "firewall_events"]
            else "all of Cloudflare, and 256 others",
        /// What is spoken: Logpush to an HTTP destination, or Splunk's HTTP Event
        /// Collector, which a job with a `splunk://` destination speaks. For the latter
        /// `path` is the prefix and `"/services/collector"` by default, `dataset` is
        /// `"splunk_hec"` by default, and the lines of `secret_file` are tokens. See
        /// docs/splunk-hec.md.
        pub(super) protocol: Protocol = "logpush",
        /// A file in which every non-empty line is a live secret, so that a new one can be
        /// added before the old one goes. A line `name: value` names its secret (1 to 64 of
        /// `A-Z`, `a-z`, `0-9`, `_`, `.` and `-`, then a colon and a space): the log shows
        /// the name when the secret is first used, and
        /// `logpushd_secret_last_used_timestamp_seconds` when it was last used. The sender
        /// shows the value; the whole line is accepted as well. Make a secret with
        /// `openssl rand -hex 32`, readable by the daemon's user alone. A file without one
        /// is an error.
        pub(super) secret_file: Option<Input> as "secrets.txt" else "see `auth`",
        /// The HTTP header that carries the secret: the job's destination ends with
        /// `?header_X-Logpush-Secret=SECRET` then. Case does not matter. Only with
        /// `secret_file`.
        pub(super) secret_header: HeaderName = "X-Logpush-Secret",
        /// `"none"` lets anyone post who reaches the address: for tests on loopback, or
        /// behind a proxy that checks the sender. Not beside `secret_file`.
        pub(super) auth: Option<NoAuth> as "none"
            else "a secret or a client certificate is demanded",
        /// Source addresses that may post; others are answered 403. A second door, not the
        /// first: Cloudflare's addresses serve all of its customers. Behind a proxy, it is
        /// the proxy's address that counts.
        pub(super) allow_from: List<Network> as ["192.0.2.0/24", "2001:db8::/32"]
            else "any address may post",
        /// The sinks that get what is posted here.
        pub(super) sinks: Names<SinkNames> as ["archive"] else "all sinks",
        /// The form of the records: JSON objects (a line each, in an array, or in an
        /// object around one), rows, or lines of anything. Rows and lines become JSON
        /// objects. See docs/formats.md.
        pub(super) format: Form = "json",
        /// What stands between the cells of a row; only with `format = "csv"`. The same
        /// as the job's `field_delimiter`.
        pub(super) delimiter: DelimiterWord = ",",
        /// The names of the columns; only with `format = "csv"`. Logpush writes no row of
        /// names by itself: list the job's `field_names`, in their order. A first row that
        /// repeats them is skipped. They may come to 64 KiB.
        pub(super) columns: Names<ColumnNames> as ["ClientIP", "EdgeStartTimestamp", "RayID"]
            else "`header = true` is needed",
        /// Whether the first row of each body names the columns; only with
        /// `format = "csv"`, and instead of `columns`. Set it only if each body has such
        /// a row, as one that a job's `batch_prefix` writes: else a record is taken for it.
        pub(super) header: Flag = false,
    }
}

words! {
    /// The form of the records.
    pub(in crate::config) enum Form {
        /// Objects.
        Json = "json",
        /// Rows of cells.
        Csv = "csv",
        /// Lines of anything.
        Text = "text",
    }
}

setting! {
    /// The path of a URL. What it may hold depends on the protocol.
    pub(in crate::config) struct UrlPath(String): Takes::String("path of a URL"), read by text;
}

setting! {
    /// The name of a header, in lower case.
    pub(in crate::config) struct HeaderName(String): Takes::String("name of a header"),
        read by header_name;
}

setting! {
    /// The word for a way to do without a secret.
    pub(in crate::config) struct NoAuth(()): Takes::OneOf(&["none"]), read by no_auth;
}

setting! {
    /// What stands between cells.
    pub(in crate::config) struct DelimiterWord(Delimiter): Takes::OneOf(&DELIMITERS),
        read by delimiter;
}

/// In the order of [`Delimiter::ALL`].
const DELIMITERS: [&str; 4] = [",", ";", "\t", "|"];

fn delimiter(value: &Value<'_>, cx: &mut Context) -> Option<Delimiter> {
    let words: Vec<_> = DELIMITERS.into_iter().zip(Delimiter::ALL).collect();
    value.choice(&words, cx)
}

fn no_auth(value: &Value<'_>, cx: &mut Context) -> Option<()> {
    let none = value.string(cx)?.into_inner();
    if none != "none" {
        let message = format!("`{}` is not a value of `auth`", none.escape_debug());
        let hint = "write \"none\" to let anyone post, else leave it out and name a `secret_file`";
        cx.push(value.problem(message).hint(hint));
        return None;
    }
    Some(())
}

fn header_name(value: &Value<'_>, cx: &mut Context) -> Option<String> {
    let text = value.string(cx)?.into_inner();
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let example = value.example();
    let (message, hint) = if text.is_empty() || !text.bytes().all(is_token) {
        let hint = format!("write the name alone, as {example}; the secret is in `secret_file`");
        (format!("`{}` is not the name of an HTTP header", text.escape_debug()), hint)
    } else if text.eq_ignore_ascii_case(SINK_HEADER) {
        let message = "`secret_header` cannot be X-Logpushd-Sink, which names a sink";
        (message.to_owned(), format!("use the default, {example}"))
    } else {
        return Some(text.to_ascii_lowercase());
    };
    cx.push(value.problem(message).hint(hint));
    None
}
