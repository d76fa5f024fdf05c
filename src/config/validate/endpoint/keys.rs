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
    /// An endpoint is a path to which Logpush jobs post; at least one is required. NAME in
    /// `[endpoint.NAME]` is your choice, 1 to 64 of `A-Z`, `a-z`, `0-9`, `_` and `-`. It
    /// appears in metrics, in the log and in the file names of batches.
    ///
    /// Each endpoint needs a `secret_file`, `auth = "none"`, or `client_ca_file` in
    /// `[server.tls]`.
    pub(in crate::config) struct Keys in "endpoint.NAME" {
        /// The URL path that jobs post to. `{dataset}` stands for the name of a dataset (1 to
        /// 64 of `a-z`, `0-9` and `_`), as in `/logpush/http_requests`.
        ///
        /// Only the path identifies the dataset of a request, so each job needs its own path.
        /// The query string is ignored. No two endpoints may have the same
        /// path; a path without `{dataset}` takes precedence over one with it. With
        /// `protocol = "splunk_hec"`, this is the part before `/raw` and `/event`.
        pub(in crate::config) path: Option<UrlPath> as "/logpush/{dataset}"
            else "an error; with `protocol = \"splunk_hec\"`, `\"/services/collector\"`",
        /// The dataset, if `path` does not contain `{dataset}`; not allowed otherwise.
        ///
        /// It appears in file names and metrics.
        pub(in crate::config) dataset: Option<DatasetName> as "http_requests" else "`path` must contain `{dataset}`",
        /// The datasets to accept, if `path` contains `{dataset}`.
        ///
        /// Any other dataset gets 404, after the secret is verified. Without this list, an
        /// endpoint accepts every dataset of Cloudflare, and up to 256 other names per run of
        /// the daemon, since each may become a directory. Further names get 413.
        pub(super) datasets: Names<DatasetNames> as ["http_requests", "firewall_events"]
            else "all datasets of Cloudflare, and up to 256 other names",
        /// The protocol of the sender: `"logpush"` for jobs with an HTTP destination,
        /// `"splunk_hec"` for jobs with a `splunk://` destination and other senders of Splunk's
        /// HTTP Event Collector. See docs/splunk-hec.md.
        ///
        /// With `"splunk_hec"`, `path` is a prefix and `"/services/collector"` by default,
        /// `dataset` is `"splunk_hec"` by default, the lines of `secret_file` are tokens, and
        /// `secret_header` is not allowed.
        pub(super) protocol: Protocol = "logpush",
        /// A file with secrets, one per line. All of them are valid, so that you can add a new
        /// secret before you remove the old one. Create the file with `openssl rand -hex 32 >
        /// secrets.txt`, readable only by the daemon's user.
        ///
        /// A line `name: value` names its secret (1 to 64 of `A-Z`, `a-z`, `0-9`, `_`, `.` and
        /// `-`, then a colon and a space). The log has the name when the secret is first used,
        /// and `logpushd_secret_last_used_timestamp_seconds` has the time of its last use. The
        /// sender sends the value; the whole line is accepted too. A file without a secret is
        /// an error.
        pub(super) secret_file: Option<Input> as "secrets.txt" else "see `auth`",
        /// The HTTP header with the secret. The job's destination then ends with
        /// `?header_X-Logpush-Secret=SECRET`. Case does not matter. Only with `secret_file`.
        pub(super) secret_header: HeaderName = "X-Logpush-Secret",
        /// `"none"` disables authentication: anyone who can reach the address may post. Not
        /// allowed with `secret_file`.
        ///
        /// Use it only for tests on loopback, or behind a proxy that authenticates senders.
        pub(super) auth: Option<NoAuth> as "none"
            else "a secret or a client certificate is required",
        /// The source addresses that may post; all others get 403.
        ///
        /// This is defense in depth, not authentication: Cloudflare's addresses serve all of
        /// its customers. Behind a proxy, the proxy's address counts, unless the proxy is
        /// listed in `server.proxy_protocol_from`.
        pub(super) allow_from: List<Network> as ["192.0.2.0/24", "2001:db8::/32"]
            else "any address",
        /// The sinks that receive the records of this endpoint.
        pub(super) sinks: Names<SinkNames> as ["archive"] else "all sinks",
        /// The format of the records: `"json"` for JSON objects (one per line, in an array, or
        /// wrapped in an object), `"csv"` for rows of CSV, `"text"` for lines of text. See
        /// docs/formats.md.
        ///
        /// logpushd converts rows and lines to JSON objects.
        pub(super) format: FormatWord = "json",
        /// The character between the fields of a row, as in the job's `field_delimiter`. Only
        /// with `format = "csv"`.
        pub(super) delimiter: DelimiterWord = ",",
        /// The names of the columns: the job's `field_names`, in the same order. Only with
        /// `format = "csv"`.
        ///
        /// Logpush sends no header row by itself. A first row that repeats the names is
        /// skipped. The names may take up to 64 KiB.
        pub(super) columns: Names<ColumnNames> as ["ClientIP", "EdgeStartTimestamp", "RayID"]
            else "with CSV, `header = true` is required",
        /// Whether the first row of each body contains the names of the columns. Only with
        /// `format = "csv"`, and instead of `columns`.
        ///
        /// Set it only if every body has such a row, for example from the job's
        /// `batch_prefix`. Otherwise, a record is used as the header row.
        pub(super) header: Flag = false,
    }
}

words! {
    /// `endpoint.NAME.format`
    pub(in crate::config) enum FormatWord {
        /// JSON objects.
        Json = "json",
        /// Rows of CSV.
        Csv = "csv",
        /// Lines of text.
        Text = "text",
    }
}

setting! {
    /// The path of a URL. The valid characters depend on the protocol.
    pub(in crate::config) struct UrlPath(String): Takes::String("path of a URL"), read by text;
}

setting! {
    /// The name of a header, in lower case.
    pub(in crate::config) struct HeaderName(String): Takes::String("name of a header"),
        read by header_name;
}

setting! {
    /// The only value of `auth`.
    pub(in crate::config) struct NoAuth(()): Takes::OneOf(&["none"]), read by no_auth;
}

setting! {
    /// The character between the fields of a row.
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
        let message = format!("`{}` is not a valid value of `auth`", none.escape_debug());
        let hint = "write \"none\" to let anyone post, or remove `auth` and set `secret_file`";
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
        let hint =
            format!("write only the name, such as {example}; the secret is in `secret_file`");
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
