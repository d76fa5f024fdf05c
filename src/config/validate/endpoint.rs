//! `[endpoint.NAME]`: where batches may be posted, and by whom.

use toml::Spanned;

use super::{advice, check_dataset, check_name, choice, hec, network::networks, overlap};
use crate::config::{
    Auth, Endpoint, PathPattern, Protocol, SINK_HEADER,
    context::Context,
    diagnostic::Diagnostic,
    files::read_secrets,
    reader::{Table, suggestion},
};
use crate::decode::{Delimiter, Format, MAX_NAMES_BYTES};

const PLACEHOLDER: &str = "{dataset}";

/// The endpoints. `demands_client_cert` is a way to prove oneself that stands outside of them.
pub(super) fn endpoints(
    root: &mut Table<'_>,
    sink_names: &[String],
    demands_client_cert: bool,
    cx: &mut Context,
) -> Vec<Endpoint> {
    let none = Diagnostic::general("there is no endpoint")
        .hint("add a table [endpoint.NAME] with `path = \"/logpush/{dataset}\"` and `secret_file`");
    let tables = root.named_tables("endpoint", none, cx);
    let mut endpoints = Vec::new();
    let mut paths: Vec<(String, PathPattern)> = Vec::new();
    for (name, mut table) in tables {
        check_name(&name, cx);
        let protocols = [("logpush", Protocol::Logpush), ("splunk_hec", Protocol::SplunkHec)];
        let protocol = table.choice("protocol", &protocols, cx).unwrap_or(Protocol::Logpush);
        let (format, columns) = form(&mut table, cx);
        let path = match protocol {
            Protocol::Logpush => path(&name, &mut table, cx),
            Protocol::SplunkHec => hec::path(&name, &mut table, cx),
        };
        let auth = auth(&name, protocol, &mut table, demands_client_cert, cx);
        let empty = "leave it out to allow every address";
        let allow_from = networks(&mut table, "allow_from", empty, cx);
        let datasets = choice::names("datasets", &mut table, cx);
        let sinks = sinks(&mut table, sink_names, cx);
        table.finish(cx);

        let Some(path) = path else { continue };
        check_overlap(&path, &paths, cx);
        let path = path.into_inner();
        let datasets = listed(datasets, &path, cx);
        let name = name.into_inner();
        paths.push((name.clone(), path.clone()));
        if let Some(auth) = auth {
            let endpoint = Endpoint {
                name,
                protocol,
                path,
                format,
                columns,
                auth,
                allow_from,
                datasets,
                sinks,
            };
            endpoints.push(endpoint);
        }
    }
    endpoints
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Form {
    Json,
    Csv,
    Text,
}

/// How often the columns of CSV are named.
#[derive(Clone, Copy)]
enum Names {
    Once,
    Twice,
    Missing,
}

/// The form of the records, and the names of columns.
fn form(table: &mut Table<'_>, cx: &mut Context) -> (Format, Vec<String>) {
    let forms = [("json", Form::Json), ("csv", Form::Csv), ("text", Form::Text)];
    let form = table.choice("format", &forms, cx).unwrap_or(Form::Json);
    let delimiters =
        Delimiter::ALL.map(|delimiter| (char::from(delimiter.byte()).to_string(), delimiter));
    let delimiters = delimiters.each_ref().map(|(text, delimiter)| (text.as_str(), *delimiter));
    let has_delimiter = table.contains("delimiter");
    let delimiter = table.choice("delimiter", &delimiters, cx).unwrap_or(Delimiter::Comma);
    let (lacks_columns, lacks_header) = (table.lacks("columns"), table.lacks("header"));
    let has_header = table.contains("header");
    let header = table.boolean("header", cx);
    let columns = choice::names("columns", table, cx);
    let csv_only =
        [("delimiter", has_delimiter), ("columns", columns.is_some()), ("header", has_header)];
    if form == Form::Csv {
        let names = match (header, lacks_columns) {
            // A misspelled key, or a value of another type, is a problem of its own.
            (None, _) if !lacks_header => Names::Once,
            (Some(true), false) => Names::Twice,
            (Some(true), true) | (_, false) => Names::Once,
            (_, true) => Names::Missing,
        };
        check_names(table, names, cx);
    } else if let Some((key, _)) = csv_only.into_iter().find(|(_, is_there)| *is_there) {
        let message = format!("`{}` is only for CSV", table.full(key));
        cx.push_incomplete(table.problem(message).hint("add `format = \"csv\"`, or leave it out"));
    }
    let format = match form {
        Form::Json => Format::Json,
        Form::Csv => Format::Csv(delimiter),
        Form::Text => Format::Text,
    };
    let columns = columns.map(|columns| choice::plain(&columns)).unwrap_or_default();
    if format.header_row(&columns).len() > MAX_NAMES_BYTES {
        let message = format!("the names in `{}` come to more than 64 KiB", table.full("columns"));
        let hint = "every record repeats them: name the `field_names` of the job, and no more";
        cx.push_incomplete(table.problem(message).hint(hint));
    }
    (format, columns)
}

/// Rows mean nothing without the names of their columns, and Logpush sends no row that holds them. To take the
/// first record for one loses it, and gives all others its values as keys.
fn check_names(table: &Table<'_>, names: Names, cx: &mut Context) {
    let (message, hint) = match names {
        Names::Once => return,
        Names::Twice => (
            format!(
                "both `{}` and `{}` name the columns",
                table.full("columns"),
                table.full("header")
            ),
            "leave `header` out: a first row that equals `columns` is skipped anyway",
        ),
        Names::Missing => (
            format!("CSV needs `{}`: nothing names the columns", table.full("columns")),
            "add `columns = [\"ClientIP\", \"EdgeStartTimestamp\"]` with the job's `field_names` in their order; or `header = true` if a row of names begins each body (the job's `batch_prefix`)",
        ),
    };
    cx.push_incomplete(table.problem(message).hint(hint));
}

fn path(
    name: &Spanned<String>,
    table: &mut Table<'_>,
    cx: &mut Context,
) -> Option<Spanned<PathPattern>> {
    let lacks_path = table.lacks("path");
    let lacks_dataset = table.lacks("dataset");
    let path = table.string("path", cx);
    let dataset = table.string("dataset", cx).filter(|dataset| check_dataset(dataset, cx));
    if lacks_path {
        let problem = table.problem(format!("endpoint `{}` has no `path`", name.get_ref()));
        cx.push_incomplete(problem.hint("add `path = \"/logpush/{dataset}\"`"));
    }
    let path = path?;
    let text = path.get_ref().as_str();
    if let Some((message, hint)) = path_fault(text) {
        cx.push(Diagnostic::at(path.span(), message).hint(hint));
        return None;
    }
    let pattern = match (text.split_once(PLACEHOLDER), dataset) {
        (Some((prefix, suffix)), None) => {
            PathPattern::Dataset { prefix: prefix.to_owned(), suffix: suffix.to_owned() }
        }
        (None, Some(dataset)) => {
            PathPattern::Fixed { path: text.to_owned(), dataset: dataset.into_inner() }
        }
        (Some(_), Some(dataset)) => {
            let message = format!("the dataset is already in `{text}`");
            let hint = "leave `dataset` out, or take `{dataset}` out of `path`";
            cx.push_incomplete(Diagnostic::at(dataset.span(), message).hint(hint));
            return None;
        }
        (None, None) => {
            if lacks_dataset {
                let message = format!("`{text}` does not say which dataset it is for");
                let hint = "write `{dataset}` into the path, or add `dataset = \"http_requests\"`";
                cx.push_incomplete(Diagnostic::at(path.span(), message).hint(hint));
            }
            return None;
        }
    };
    Some(Spanned::new(path.span(), pattern))
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

/// `datasets`, which means something only where the sender names the dataset.
fn listed(
    datasets: Option<Vec<Spanned<String>>>,
    path: &PathPattern,
    cx: &mut Context,
) -> Vec<String> {
    let datasets = datasets.unwrap_or_default();
    for dataset in &datasets {
        check_dataset(dataset, cx);
    }
    if let (Some(first), false) = (datasets.first(), matches!(path, PathPattern::Dataset { .. })) {
        let message = format!("`datasets` does nothing: `{path}` is for one dataset");
        let hint = "leave it out, or write `{dataset}` into the path in place of `dataset`";
        cx.push_incomplete(Diagnostic::at(first.span(), message).hint(hint));
    }
    choice::plain(&datasets)
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
    protocol: Protocol,
    table: &mut Table<'_>,
    demands_client_cert: bool,
    cx: &mut Context,
) -> Option<Auth> {
    let lacks_secret = table.lacks("secret_file");
    let lacks_auth = table.lacks("auth");
    let header = table.string("secret_header", cx);
    let file = table.input("secret_file", cx);
    let none = table.string("auth", cx);

    let mut is_valid = true;
    if let Some(none) = &none
        && none.get_ref() != "none"
    {
        let message = format!("`{}` is not a value of `auth`", none.get_ref().escape_debug());
        let hint = "write \"none\" to let anyone post, else leave it out and name a `secret_file`";
        cx.push(Diagnostic::at(none.span(), message).hint(hint));
        is_valid = false;
    }
    if let Some(header) = &header {
        is_valid &= match protocol {
            Protocol::Logpush => check_header(header, lacks_secret, cx),
            Protocol::SplunkHec => hec::check_header(header, cx),
        };
    }
    if let Some(file) = &file {
        let readable =
            if cx.reads_files() { read_secrets(file.get_ref()).map(drop) } else { Ok(()) };
        match readable {
            Ok(()) if none.is_some() => {
                let message = "`auth = \"none\"` and `secret_file` contradict each other";
                let hint = "leave `auth` out to demand the secret, `secret_file` to demand nothing";
                cx.push(Diagnostic::at(file.span(), message).hint(hint));
            }
            Ok(()) => {}
            Err(error) => {
                let shown = file.get_ref().display();
                let message = format!("cannot use the secrets of `{shown}`: {error}");
                let hint = format!("make one with: openssl rand -hex 32 > {shown}");
                let hint = advice(file.get_ref(), &error, &hint, cx);
                cx.push(Diagnostic::at(file.span(), message).hint(hint));
            }
        }
    }
    if lacks_secret && lacks_auth && !demands_client_cert {
        cx.push_incomplete(
            table.problem(format!("endpoint `{}` has no authentication", name.get_ref())).hint(
                "add `secret_file = \"secrets.txt\"`, or say `auth = \"none\"` to let anyone post",
            ),
        );
        return None;
    }
    match file {
        _ if !is_valid => None,
        Some(file) if protocol == Protocol::SplunkHec => {
            Some(Auth::Token { file: file.into_inner() })
        }
        Some(file) => Some(Auth::Secret {
            header: header
                .map_or_else(|| "X-Logpush-Secret".to_owned(), Spanned::into_inner)
                .to_ascii_lowercase(),
            file: file.into_inner(),
        }),
        None => Some(Auth::None),
    }
}

fn check_header(header: &Spanned<String>, lacks_secret: bool, cx: &mut Context) -> bool {
    let text = header.get_ref();
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || !text.bytes().all(is_token) {
        let message = format!("`{}` is not the name of an HTTP header", text.escape_debug());
        let hint = "write the name alone, as \"X-Logpush-Secret\"; the secret is in `secret_file`";
        cx.push(Diagnostic::at(header.span(), message).hint(hint));
        return false;
    }
    if text.eq_ignore_ascii_case(SINK_HEADER) {
        let message = "`secret_header` cannot be X-Logpushd-Sink, which names a sink";
        cx.push(
            Diagnostic::at(header.span(), message).hint("use the default, \"X-Logpush-Secret\""),
        );
        return false;
    }
    if lacks_secret {
        let message = "`secret_header` does nothing without `secret_file`";
        let hint = "add `secret_file = \"secrets.txt\"`, or leave `secret_header` out";
        cx.push_incomplete(Diagnostic::at(header.span(), message).hint(hint));
    }
    true
}

fn sinks(table: &mut Table<'_>, names: &[String], cx: &mut Context) -> Vec<String> {
    let Some(list) = table.strings("sinks", cx) else { return names.to_vec() };
    if list.get_ref().is_empty() {
        let hint = "name at least one sink, or leave it out for all";
        cx.push(Diagnostic::at(list.span(), "`sinks` is an empty list").hint(hint));
    }
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut sinks: Vec<String> = Vec::new();
    for sink in list.get_ref() {
        let name = sink.get_ref();
        if !names.contains(name) {
            let message = format!("there is no sink `{}`", name.escape_debug());
            let hint = if known.is_empty() {
                "add it as a table [sink.NAME.file]".to_owned()
            } else {
                suggestion(name, &known, "the sinks are")
            };
            cx.push_incomplete(Diagnostic::at(sink.span(), message).hint(hint));
        } else if sinks.contains(name) {
            let message = format!("sink `{name}` stands twice in the list");
            cx.push(Diagnostic::at(sink.span(), message).hint("leave one out"));
        }
        sinks.push(name.clone());
    }
    sinks
}
