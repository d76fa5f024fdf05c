//! `[endpoint.NAME]`: reads and checks the endpoints.

mod keys;

use std::path::Path;

use records::decode::{Format, MAX_NAMES_BYTES};
use settings::{Context, Diagnostic, Settings as _, Spanned, Table, suggestion};

use self::keys::FormatWord;
pub(in crate::config) use self::keys::Keys;
use super::{
    hec,
    names::{check_name, plain},
    overlap,
};
use crate::config::{Auth, Endpoint, PathPattern, Protocol, files::read_secrets};

const PLACEHOLDER: &str = "{dataset}";

/// Reads the endpoints. With `demands_client_cert`, the server requires a client certificate, so
/// endpoints need no secret.
pub(super) fn endpoints(
    root: &mut Table<'_>,
    sink_names: &[String],
    demands_client_cert: bool,
    cx: &mut Context,
) -> Vec<Endpoint> {
    let none = Diagnostic::general("no endpoint")
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

/// How often the configuration names the columns of CSV.
#[derive(Clone, Copy)]
enum ColumnNaming {
    Once,
    Twice,
    Missing,
}

/// Returns the format of the records, and checks the keys that depend on it.
fn format(keys: &Keys, table: &Table<'_>, cx: &mut Context) -> Format {
    let csv_only = ["delimiter", "columns", "header"]
        .into_iter()
        .find(|key| table.contains(key) && table.is_valid(key));
    if keys.format == FormatWord::Csv {
        let (no_columns, no_header) = (table.is_missing("columns"), table.is_missing("header"));
        let has_header = table.contains("header") && table.is_valid("header");
        let names = match (has_header.then_some(keys.header), no_columns) {
            // A misspelled key or a value of another type is reported elsewhere.
            (None, _) if !no_header => ColumnNaming::Once,
            (Some(true), false) => ColumnNaming::Twice,
            (Some(true), true) | (_, false) => ColumnNaming::Once,
            (_, true) => ColumnNaming::Missing,
        };
        check_names(table, names, cx);
    } else if let Some(key) = csv_only {
        let problem = table.problem_at(key, format!("`{}` is only for CSV", table.full_name(key)));
        cx.push_incomplete(problem.hint("add `format = \"csv\"`, or remove the key"));
    }
    let format = match keys.format {
        FormatWord::Json => Format::Json,
        FormatWord::Csv => Format::Csv(keys.delimiter),
        FormatWord::Text => Format::Text,
    };
    if format.header_row(&plain(&keys.columns)).len() > MAX_NAMES_BYTES {
        let message =
            format!("the names in `{}` have more than 64 KiB", table.full_name("columns"));
        let hint = "every record repeats them: list only the `field_names` of the job";
        cx.push_incomplete(table.problem(message).hint(hint));
    }
    format
}

/// Checks that exactly one key names the columns. Logpush sends no header row. If the decoder took
/// the first record for one, that record would be lost, and its values would be the keys of all
/// others.
fn check_names(table: &Table<'_>, names: ColumnNaming, cx: &mut Context) {
    let (message, hint) = match names {
        ColumnNaming::Once => return,
        ColumnNaming::Twice => (
            format!(
                "both `{}` and `{}` name the columns",
                table.full_name("columns"),
                table.full_name("header")
            ),
            "remove `header`: a first row that equals `columns` is skipped anyway",
        ),
        ColumnNaming::Missing => (
            format!("CSV needs `{}`: nothing names the columns", table.full_name("columns")),
            "add `columns = [\"ClientIP\", \"EdgeStartTimestamp\"]` with the job's `field_names` \
             in their order; or `header = true` if each body begins with a header row (the job's \
             `batch_prefix`)",
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
    if table.is_missing("path") {
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
            let hint = "remove `dataset`, or remove `{dataset}` from `path`";
            cx.push_incomplete(table.problem_at("dataset", message).hint(hint));
            return None;
        }
        (None, None) => {
            if table.is_missing("dataset") {
                let message = format!("the dataset of `{text}` is unknown");
                let hint = "write `{dataset}` into the path, or add `dataset = \"http_requests\"`";
                cx.push_incomplete(Diagnostic::at(span, message).hint(hint));
            }
            return None;
        }
    };
    Some(Spanned::new(span, pattern))
}

/// Returns what is wrong with a path, and what to do.
pub(super) fn path_fault(path: &str) -> Option<(String, &'static str)> {
    let shown = path.escape_debug();
    let literal = path.replacen(PLACEHOLDER, "", 1);
    if !path.starts_with('/') {
        return Some((format!("the path `{shown}` does not begin with `/`"), "add `/` in front"));
    }
    if literal.contains(PLACEHOLDER) {
        return Some((format!("`{shown}` contains `{{dataset}}` twice"), "remove one"));
    }
    if literal.contains(['{', '}']) {
        let hint = "use braces only in `{dataset}`, the only placeholder";
        return Some((format!("`{shown}` contains a brace outside of `{{dataset}}`"), hint));
    }
    let stray = literal.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#'))?;
    let hint = if matches!(stray, '?' | '#') {
        "write only the path: query parameters of requests are ignored"
    } else {
        "use printable ASCII; senders percent-encode other characters, such as `%20`"
    };
    Some((format!("`{}` is not allowed in a path", stray.escape_debug()), hint))
}

/// Checks that `datasets` is only used with a path that contains the dataset.
fn check_datasets(datasets: &[Spanned<String>], path: &PathPattern, cx: &mut Context) {
    if let (Some(first), false) = (datasets.first(), matches!(path, PathPattern::Dataset { .. })) {
        let message = format!("`datasets` has no effect: `{path}` is for one dataset");
        let hint = "remove it, or write `{dataset}` into the path instead of the key `dataset`";
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
            format!("endpoint `{name}` accepts some of the same paths, such as `{example}`")
        };
        let hint = "choose paths that no other endpoint accepts";
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
    let has_no_secret = table.is_missing("secret_file");
    if table.contains("secret_header") && table.is_valid("secret_header") {
        check_header(keys.protocol, table, cx);
    }
    if let Some(file) = &keys.secret_file {
        check_secrets(file, keys, table, cx);
    }
    if has_no_secret && table.is_missing("auth") && !demands_client_cert {
        cx.push_incomplete(
            table.problem(format!("endpoint `{}` has no authentication", name.get_ref())).hint(
                "add `secret_file = \"secrets.txt\"`, or `auth = \"none\"` to let anyone post",
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
            "`auth = \"none\"` cannot be combined with `secret_file`".to_owned(),
            "remove `auth` to require a secret, or `secret_file` to require none".to_owned(),
        ),
        Err(error) => {
            let missing = format!("create it with: openssl rand -hex 32 > {}", file.display());
            (error.message(), error.hint(&missing, cx))
        }
    };
    cx.push(table.problem_at("secret_file", message).hint(hint));
}

/// Reports `secret_header` without a secret, or for Splunk HEC, which uses another header.
fn check_header(protocol: Protocol, table: &Table<'_>, cx: &mut Context) {
    if protocol == Protocol::SplunkHec {
        let message = "`secret_header` has no effect with `splunk_hec`: the token is in \
                       `Authorization: Splunk TOKEN`";
        let hint = "remove it; the lines of `secret_file` are the tokens";
        cx.push(table.problem_at("secret_header", message).hint(hint));
    } else if table.is_missing("secret_file") {
        let message = "`secret_header` has no effect without `secret_file`";
        let hint = "add `secret_file = \"secrets.txt\"`, or remove `secret_header`";
        cx.push_incomplete(table.problem_at("secret_header", message).hint(hint));
    }
}

/// Returns the names of the listed sinks, or of all. Reports sinks that do not exist.
fn sinks(listed: &[Spanned<String>], names: &[String], cx: &mut Context) -> Vec<String> {
    if listed.is_empty() {
        return names.to_vec();
    }
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    for sink in listed.iter().filter(|sink| !names.contains(sink.get_ref())) {
        let name = sink.get_ref();
        let message = format!("no sink `{}`", name.escape_debug());
        let hint = if known.is_empty() {
            "add it as a table [sink.NAME.file]".to_owned()
        } else {
            suggestion(name, &known, "the sinks are")
        };
        cx.push_incomplete(Diagnostic::at(sink.span(), message).hint(hint));
    }
    plain(listed)
}
