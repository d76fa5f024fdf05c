//! `[endpoint.NAME]`: where batches may be posted, and by whom.

use std::path::Path;

use records::decode::{Delimiter, Format, MAX_NAMES_BYTES};
use settings::{
    Context, Diagnostic, Settings as _, Spanned, Table, Value,
    reference::Takes,
    setting, settings, suggestion,
    types::{Flag, Input, List, Names},
    words,
};

use super::{
    hec,
    names::{ColumnNames, DatasetName, DatasetNames, SinkNames, check_name, plain},
    network::Network,
    overlap,
};
use crate::config::{Auth, Endpoint, PathPattern, Protocol, SINK_HEADER, files::read_secrets};

const PLACEHOLDER: &str = "{dataset}";

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
        pub(super) path: Option<UrlPath> as "/logpush/{dataset}"
            else "the file is refused, or with `protocol = \"splunk_hec\"` it is `\"/services/collector\"`",
        /// Beside a path without `{dataset}`, and only there: the dataset that it is for.
        /// It names the files and the series of metrics.
        pub(super) dataset: Option<DatasetName> as "http_requests" else "the path has `{dataset}`",
        /// With `{dataset}` in `path`: the datasets that may be written through this
        /// endpoint. Any other gets 404, once the secret is verified. Without the list, an
        /// endpoint takes every dataset that Cloudflare has and the first 256 other names
        /// of a run of the daemon, since each may become a directory; more get 413.
        datasets: Names<DatasetNames> as ["http_requests", "firewall_events"]
            else "all of Cloudflare, and 256 others",
        /// What is spoken: Logpush to an HTTP destination, or Splunk's HTTP Event
        /// Collector, which a job with a `splunk://` destination speaks. For the latter
        /// `path` is the prefix and `"/services/collector"` by default, `dataset` is
        /// `"splunk_hec"` by default, and the lines of `secret_file` are tokens. See
        /// docs/splunk-hec.md.
        protocol: Protocol = "logpush",
        /// A file in which every non-empty line is a live secret, so that a new one can be
        /// added before the old one goes. A line `name: value` names its secret (1 to 64 of
        /// `A-Z`, `a-z`, `0-9`, `_`, `.` and `-`, then a colon and a space): the log shows
        /// the name when the secret is first used, and
        /// `logpushd_secret_last_used_timestamp_seconds` when it was last used. The sender
        /// shows the value; the whole line is accepted as well. Make a secret with
        /// `openssl rand -hex 32`, readable by the daemon's user alone. A file without one
        /// is an error.
        secret_file: Option<Input> as "secrets.txt" else "see `auth`",
        /// The HTTP header that carries the secret: the job's destination ends with
        /// `?header_X-Logpush-Secret=SECRET` then. Case does not matter. Only with
        /// `secret_file`.
        secret_header: HeaderName = "X-Logpush-Secret",
        /// `"none"` lets anyone post who reaches the address: for tests on loopback, or
        /// behind a proxy that checks the sender. Not beside `secret_file`.
        auth: Option<NoAuth> as "none" else "a secret or a client certificate is demanded",
        /// Source addresses that may post; others are answered 403. A second door, not the
        /// first: Cloudflare's addresses serve all of its customers. Behind a proxy, it is
        /// the proxy's address that counts.
        allow_from: List<Network> as ["192.0.2.0/24", "2001:db8::/32"] else "any address may post",
        /// The sinks that get what is posted here.
        sinks: Names<SinkNames> as ["archive"] else "all sinks",
        /// The form of the records: JSON objects (a line each, in an array, or in an
        /// object around one), rows, or lines of anything. Rows and lines become JSON
        /// objects. See docs/formats.md.
        format: Form = "json",
        /// What stands between the cells of a row; only with `format = "csv"`. The same
        /// as the job's `field_delimiter`.
        delimiter: DelimiterWord = ",",
        /// The names of the columns; only with `format = "csv"`. Logpush writes no row of
        /// names by itself: list the job's `field_names`, in their order. A first row that
        /// repeats them is skipped. They may come to 64 KiB.
        columns: Names<ColumnNames> as ["ClientIP", "EdgeStartTimestamp", "RayID"]
            else "`header = true` is needed",
        /// Whether the first row of each body names the columns; only with
        /// `format = "csv"`, and instead of `columns`. Set it only if each body has such
        /// a row, as one that a job's `batch_prefix` writes: else a record is taken for it.
        header: Flag = false,
    }
}

words! {
    /// The form of the records.
    enum Form {
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

fn text(value: &Value<'_>, cx: &mut Context) -> Option<String> {
    value.string(cx).map(Spanned::into_inner)
}

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

/// The endpoints. `demands_client_cert` is a way to prove oneself that stands outside of them.
pub(super) fn endpoints(
    root: &mut Table<'_>,
    sink_names: &[String],
    demands_client_cert: bool,
    cx: &mut Context,
) -> Vec<Endpoint> {
    let none = Diagnostic::general("there is no endpoint")
        .hint("add a table [endpoint.NAME] with `path = \"/logpush/{dataset}\"` and `secret_file`");
    let tables = root.named_tables("endpoint", "[endpoint.NAME]", none, cx);
    let mut endpoints = Vec::new();
    let mut paths: Vec<(String, PathPattern)> = Vec::new();
    for (name, mut table) in tables {
        check_name(&name, cx);
        let endpoint = Keys::read(&mut table, cx).and_then(|keys| {
            endpoint(&name, &keys, &table, (sink_names, demands_client_cert), &mut paths, cx)
        });
        endpoints.extend(endpoint);
        table.finish(cx);
    }
    endpoints
}

fn endpoint(
    name: &Spanned<String>,
    keys: &Keys,
    table: &Table<'_>,
    (sink_names, demands_client_cert): (&[String], bool),
    paths: &mut Vec<(String, PathPattern)>,
    cx: &mut Context,
) -> Option<Endpoint> {
    let format = format(keys, table, cx);
    let path = match keys.protocol {
        Protocol::Logpush => path(name, keys, table, cx),
        Protocol::SplunkHec => hec::path(name, keys, table, cx),
    };
    let auth = auth(name, keys, table, demands_client_cert, cx);
    let sinks = sinks(&keys.sinks, sink_names, cx);
    let path = path?;
    check_overlap(&path, paths, cx);
    let path = path.into_inner();
    check_datasets(&keys.datasets, &path, cx);
    let name = name.get_ref().clone();
    paths.push((name.clone(), path.clone()));
    Some(Endpoint {
        name,
        protocol: keys.protocol,
        path,
        format,
        columns: plain(&keys.columns),
        auth: auth?,
        allow_from: keys.allow_from.clone(),
        datasets: plain(&keys.datasets),
        sinks,
    })
}

/// How often the columns of CSV are named.
#[derive(Clone, Copy)]
enum NamesOf {
    Once,
    Twice,
    Missing,
}

/// The form of the records. What else is said about it must fit.
fn format(keys: &Keys, table: &Table<'_>, cx: &mut Context) -> Format {
    let csv_only = ["delimiter", "columns", "header"]
        .into_iter()
        .find(|key| table.contains(key) && table.is_sound(key));
    if keys.format == Form::Csv {
        let (lacks_columns, lacks_header) = (table.lacks("columns"), table.lacks("header"));
        let has_header = table.contains("header") && table.is_sound("header");
        let names = match (has_header.then_some(keys.header), lacks_columns) {
            // A misspelled key, or a value of another type, is a problem of its own.
            (None, _) if !lacks_header => NamesOf::Once,
            (Some(true), false) => NamesOf::Twice,
            (Some(true), true) | (_, false) => NamesOf::Once,
            (_, true) => NamesOf::Missing,
        };
        check_names(table, names, cx);
    } else if let Some(key) = csv_only {
        let problem = table.problem_at(key, format!("`{}` is only for CSV", table.full(key)));
        cx.push_incomplete(problem.hint("add `format = \"csv\"`, or leave it out"));
    }
    let format = match keys.format {
        Form::Json => Format::Json,
        Form::Csv => Format::Csv(keys.delimiter),
        Form::Text => Format::Text,
    };
    if format.header_row(&plain(&keys.columns)).len() > MAX_NAMES_BYTES {
        let message = format!("the names in `{}` come to more than 64 KiB", table.full("columns"));
        let hint = "every record repeats them: name the `field_names` of the job, and no more";
        cx.push_incomplete(table.problem(message).hint(hint));
    }
    format
}

/// Rows mean nothing without the names of their columns, and Logpush sends no row that holds them. To take the
/// first record for one loses it, and gives all others its values as keys.
fn check_names(table: &Table<'_>, names: NamesOf, cx: &mut Context) {
    let (message, hint) = match names {
        NamesOf::Once => return,
        NamesOf::Twice => (
            format!(
                "both `{}` and `{}` name the columns",
                table.full("columns"),
                table.full("header")
            ),
            "leave `header` out: a first row that equals `columns` is skipped anyway",
        ),
        NamesOf::Missing => (
            format!("CSV needs `{}`: nothing names the columns", table.full("columns")),
            "add `columns = [\"ClientIP\", \"EdgeStartTimestamp\"]` with the job's `field_names` in their order; or `header = true` if a row of names begins each body (the job's `batch_prefix`)",
        ),
    };
    cx.push_incomplete(table.problem(message).hint(hint));
}

fn path(
    name: &Spanned<String>,
    keys: &Keys,
    table: &Table<'_>,
    cx: &mut Context,
) -> Option<Spanned<PathPattern>> {
    if table.lacks("path") {
        let problem = table.problem(format!("endpoint `{}` has no `path`", name.get_ref()));
        cx.push_incomplete(problem.hint("add `path = \"/logpush/{dataset}\"`"));
    }
    let text = keys.path.as_deref()?;
    let span = table.span_of("path")?;
    if let Some((message, hint)) = path_fault(text) {
        cx.push(Diagnostic::at(span, message).hint(hint));
        return None;
    }
    let pattern = match (text.split_once(PLACEHOLDER), &keys.dataset) {
        (Some((prefix, suffix)), None) => {
            PathPattern::Dataset { prefix: prefix.to_owned(), suffix: suffix.to_owned() }
        }
        (None, Some(dataset)) => {
            PathPattern::Fixed { path: text.to_owned(), dataset: dataset.clone() }
        }
        (Some(_), Some(_)) => {
            let message = format!("the dataset is already in `{text}`");
            let hint = "leave `dataset` out, or take `{dataset}` out of `path`";
            cx.push_incomplete(table.problem_at("dataset", message).hint(hint));
            return None;
        }
        (None, None) => {
            if table.lacks("dataset") {
                let message = format!("`{text}` does not say which dataset it is for");
                let hint = "write `{dataset}` into the path, or add `dataset = \"http_requests\"`";
                cx.push_incomplete(Diagnostic::at(span, message).hint(hint));
            }
            return None;
        }
    };
    Some(Spanned::new(span, pattern))
}

/// What is wrong with a path, and what to do.
pub(super) fn path_fault(path: &str) -> Option<(String, &'static str)> {
    let shown = path.escape_debug();
    let literal = path.replacen(PLACEHOLDER, "", 1);
    if !path.starts_with('/') {
        return Some((format!("the path `{shown}` does not begin with `/`"), "put `/` in front"));
    }
    if literal.contains(PLACEHOLDER) {
        return Some((format!("`{shown}` holds `{{dataset}}` twice"), "leave one out"));
    }
    if literal.contains(['{', '}']) {
        let hint = "only `{dataset}` is filled in; a brace cannot stand in a path";
        return Some((format!("`{shown}` holds a brace that is not of `{{dataset}}`"), hint));
    }
    let stray = literal.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#'))?;
    let hint = if matches!(stray, '?' | '#') {
        "write only the path: query parameters may be there in a request and are ignored"
    } else {
        "use printable ASCII; a sender writes the rest percent-encoded, as `%20`"
    };
    Some((format!("`{}` cannot stand in a path", stray.escape_debug()), hint))
}

/// `datasets` means something only where the sender names the dataset.
fn check_datasets(datasets: &[Spanned<String>], path: &PathPattern, cx: &mut Context) {
    if let (Some(first), false) = (datasets.first(), matches!(path, PathPattern::Dataset { .. })) {
        let message = format!("`datasets` does nothing: `{path}` is for one dataset");
        let hint = "leave it out, or write `{dataset}` into the path in place of `dataset`";
        cx.push_incomplete(Diagnostic::at(first.span(), message).hint(hint));
    }
}

fn check_overlap(path: &Spanned<PathPattern>, others: &[(String, PathPattern)], cx: &mut Context) {
    for (name, other) in others {
        let Some(example) = overlap::common_path(path.get_ref(), other) else { continue };
        let is_equal = match (path.get_ref(), other) {
            (PathPattern::Fixed { .. }, _) => true,
            (pattern, other) => pattern == other,
        };
        let message = if is_equal {
            format!("endpoint `{name}` has the same path")
        } else {
            format!("endpoint `{name}` takes some of the same paths, for one `{example}`")
        };
        let hint = "give each endpoint paths of its own";
        cx.push(Diagnostic::at(path.span(), message).hint(hint));
        return;
    }
}

fn auth(
    name: &Spanned<String>,
    keys: &Keys,
    table: &Table<'_>,
    demands_client_cert: bool,
    cx: &mut Context,
) -> Option<Auth> {
    let lacks_secret = table.lacks("secret_file");
    if table.contains("secret_header") && table.is_sound("secret_header") {
        check_header(keys.protocol, table, cx);
    }
    if let Some(file) = &keys.secret_file {
        check_secrets(file, keys, table, cx);
    }
    if lacks_secret && table.lacks("auth") && !demands_client_cert {
        cx.push_incomplete(
            table.problem(format!("endpoint `{}` has no authentication", name.get_ref())).hint(
                "add `secret_file = \"secrets.txt\"`, or say `auth = \"none\"` to let anyone post",
            ),
        );
        return None;
    }
    Some(match (keys.secret_file.clone(), keys.protocol) {
        (Some(file), Protocol::SplunkHec) => Auth::Token { file },
        (Some(file), Protocol::Logpush) => {
            Auth::Secret { header: keys.secret_header.clone(), file }
        }
        (None, _) => Auth::None,
    })
}

fn check_secrets(file: &Path, keys: &Keys, table: &Table<'_>, cx: &mut Context) {
    let readable = if cx.reads_files() { read_secrets(file).map(drop) } else { Ok(()) };
    let (message, hint) = match readable {
        Ok(()) if keys.auth.is_none() => return,
        Ok(()) => (
            "`auth = \"none\"` and `secret_file` contradict each other".to_owned(),
            "leave `auth` out to demand the secret, `secret_file` to demand nothing".to_owned(),
        ),
        Err(error) => {
            let shown = file.display();
            let missing = format!("make one with: openssl rand -hex 32 > {shown}");
            let message = format!("cannot use the secrets of `{shown}`: {error}");
            (message, cx.advice(file, &error, &missing))
        }
    };
    cx.push(table.problem_at("secret_file", message).hint(hint));
}

/// A header without a secret, or beside a token, which has a place of its own.
fn check_header(protocol: Protocol, table: &Table<'_>, cx: &mut Context) {
    if protocol == Protocol::SplunkHec {
        let message = "`secret_header` does nothing with `splunk_hec`: the token comes as `Authorization: Splunk TOKEN`";
        let hint = "leave it out; the lines of `secret_file` are the tokens";
        cx.push(table.problem_at("secret_header", message).hint(hint));
    } else if table.lacks("secret_file") {
        let message = "`secret_header` does nothing without `secret_file`";
        let hint = "add `secret_file = \"secrets.txt\"`, or leave `secret_header` out";
        cx.push_incomplete(table.problem_at("secret_header", message).hint(hint));
    }
}

/// The names of the sinks, all if none is listed. Each must be there.
fn sinks(listed: &[Spanned<String>], names: &[String], cx: &mut Context) -> Vec<String> {
    if listed.is_empty() {
        return names.to_vec();
    }
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    for sink in listed.iter().filter(|sink| !names.contains(sink.get_ref())) {
        let name = sink.get_ref();
        let message = format!("there is no sink `{}`", name.escape_debug());
        let hint = if known.is_empty() {
            "add it as a table [sink.NAME.file]".to_owned()
        } else {
            suggestion(name, &known, "the sinks are")
        };
        cx.push_incomplete(Diagnostic::at(sink.span(), message).hint(hint));
    }
    plain(listed)
}
