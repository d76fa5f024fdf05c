//! From TOML to a [`Config`]: defaults, ranges, and what one place demands of another.
//!
//! One function a table. Each takes its keys, reports what is wrong and goes on; a `Config` is
//! built from whatever came out and handed out only if nothing was reported.

mod acme;
mod choice;
mod endpoint;
mod file_sink;
mod hec;
mod long_names;
mod network;
mod overlap;
mod server;
mod shared_files;
mod sink;
mod syslog;

#[cfg(test)]
mod tests;

use std::{
    fs,
    io::{self, Read as _},
    path::{self, Path, PathBuf},
    time::Duration,
};

use records::is_dataset;
use toml::Spanned;

use self::sink::Sinks;
use super::{
    Config, Document, Limits, Log, LogFormat, LogLevel, Quarantine, STDIN, Spool,
    context::Context,
    diagnostic::{Diagnostic, Problems},
    document::Places,
    files::check_readable,
    reader::{self, Table},
    units::format_bytes,
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Far above any configuration, so that a log piped in by mistake gives an error and not a full memory.
const MAX_STDIN_BYTES: u64 = 16 * MIB;

pub(super) fn read(file: &Path) -> Result<Document, Problems> {
    let is_stdin = file == Path::new(STDIN);
    let file = if is_stdin { Path::new("<stdin>") } else { file };
    let unreadable = |error| Problems::unreadable(file, &error);
    let (bytes, folder) =
        if is_stdin { read_stdin() } else { read_file(file) }.map_err(unreadable)?;
    let source = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let message = format!("not valid UTF-8 at byte {at} of the file");
        let problem = Diagnostic::at(at..at, message).hint("save the file as UTF-8");
        Problems::new(file, String::from_utf8_lossy(error.as_bytes()), vec![problem])
    })?;
    let mut cx = Context::new(&folder);
    match parse(&source, &mut cx) {
        Ok((config, places)) => Ok(Document::new(config, file, source, places)),
        Err(diagnostics) => Err(Problems::new(file, source, diagnostics)),
    }
}

/// The text, and the directory where relative paths begin: the one that the file was named in, even if
/// the file itself is a link to elsewhere.
fn read_file(file: &Path) -> io::Result<(Vec<u8>, PathBuf)> {
    let bytes = fs::read(file)?;
    let absolute = path::absolute(file)?;
    Ok((bytes, fs::canonicalize(absolute.parent().unwrap_or(Path::new("/")))?))
}

fn read_stdin() -> io::Result<(Vec<u8>, PathBuf)> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(MAX_STDIN_BYTES).read_to_end(&mut bytes)?;
    Ok((bytes, fs::canonicalize(".")?))
}

pub(super) fn check_text(file: &Path, source: &str) -> Result<Config, Problems> {
    let mut cx = Context::of_text(file.parent().unwrap_or(Path::new("/")));
    parse(source, &mut cx)
        .map(|(config, _)| config)
        .map_err(|diagnostics| Problems::new(file, source, diagnostics))
}

fn parse(source: &str, cx: &mut Context) -> Result<(Config, Places), Vec<Diagnostic>> {
    let (root, places, syntax) = reader::parse(source);
    let config = config(root, cx);
    match config {
        Some(config) if syntax.is_empty() && cx.is_clean() => Ok((config, places)),
        _ => Err(std::mem::take(cx).finish(source, syntax)),
    }
}

fn config(mut root: Table<'_>, cx: &mut Context) -> Option<Config> {
    let server = root.table("server", cx);
    let spool = spool(root.table("spool", cx), cx);
    let server = server::server(server, &spool, cx);
    let demands_client_cert =
        server.as_ref().is_some_and(|server| server.tls.client_ca_file.is_some());
    let Sinks { valid: sinks, names: sink_names, chosen, paths } = sink::sinks(&mut root, cx);
    let endpoint_names = root.names_in("endpoint");
    shared_files::check(&sinks, &paths, &endpoint_names, cx);
    let endpoints = endpoint::endpoints(&mut root, &sink_names, demands_client_cert, cx);
    choice::check_endpoints(&chosen, &endpoint_names, &endpoints, cx);
    long_names::check(&sinks, &paths, &endpoints, cx);
    let limits = limits(root.table("limits", cx), cx);
    let quarantine = quarantine(root.table("quarantine", cx), &spool, cx);
    let admin = server::admin(root.table("admin", cx), cx);
    let log = log(root.table("log", cx), cx);
    root.finish(cx);
    Some(Config { server: server?, endpoints, sinks, spool, limits, quarantine, admin, log })
}

fn spool(mut table: Table<'_>, cx: &mut Context) -> Spool {
    let dir = table.path("dir", cx).map(Spanned::into_inner);
    let max_bytes = table.size("max_bytes", cx).map(Spanned::into_inner);
    let dedup_window = table.duration("dedup_window", cx);
    table.finish(cx);
    Spool {
        dir: dir.unwrap_or_else(|| "/var/lib/logpushd".into()),
        max_bytes: max_bytes.unwrap_or(10 * GIB),
        dedup_window: dedup_window.unwrap_or(Duration::from_secs(24 * 60 * 60)),
    }
}

fn quarantine(mut table: Table<'_>, spool: &Spool, cx: &mut Context) -> Quarantine {
    let dir = table.path("dir", cx).map(Spanned::into_inner);
    let max_bytes = table.size("max_bytes", cx).map(Spanned::into_inner);
    let hint = "nothing would be kept: write how long, as \"30d\"";
    let max_age = more_than_zero(&mut table, "max_age", Some(hint), cx);
    table.finish(cx);
    Quarantine {
        dir: dir.unwrap_or_else(|| spool.dir.join("quarantine")),
        max_bytes: max_bytes.unwrap_or(GIB),
        max_age: max_age.unwrap_or(Duration::from_secs(30 * 24 * 60 * 60)),
    }
}

fn limits(mut table: Table<'_>, cx: &mut Context) -> Limits {
    let body = table.size("max_body_bytes", cx);
    let inflated = table.size("max_inflated_bytes", cx);
    let record = table.size("max_record_bytes", cx);
    let in_flight = table.size("max_in_flight_bytes", cx);
    let max_connections = table.count("max_connections", cx).unwrap_or(1024);
    let per_address = table.count("max_connections_per_address", cx).unwrap_or(256);
    table.finish(cx);

    let or = |size: &Option<Spanned<u64>>, default| size.as_ref().map_or(default, |s| *s.get_ref());
    let limits = Limits {
        max_body_bytes: or(&body, 256 * MIB),
        max_inflated_bytes: or(&inflated, 2 * GIB),
        max_record_bytes: or(&record, 8 * MIB),
        max_in_flight_bytes: or(&in_flight, 256 * MIB),
        max_connections,
        max_connections_per_address: per_address,
    };
    if let Some(record) = &record
        && !(1024..=GIB).contains(record.get_ref())
    {
        let message = "`limits.max_record_bytes` must be between 1 KiB and 1 GiB";
        cx.push(Diagnostic::at(record.span(), message));
    }
    // The place is whichever of the two the file names; the defaults fit each other.
    if limits.max_record_bytes > limits.max_inflated_bytes
        && let Some(place) = record.as_ref().or(inflated.as_ref())
    {
        cx.push_incomplete(exceeds(
            place,
            ("max_record_bytes", limits.max_record_bytes),
            ("max_inflated_bytes", limits.max_inflated_bytes),
        ));
    }
    if limits.max_body_bytes > limits.max_in_flight_bytes
        && let Some(place) = in_flight.as_ref().or(body.as_ref())
    {
        cx.push_incomplete(exceeds(
            place,
            ("max_body_bytes", limits.max_body_bytes),
            ("max_in_flight_bytes", limits.max_in_flight_bytes),
        ));
    }
    limits
}

/// Both values are said, because the other one may be a default that stands nowhere in the file.
fn exceeds(place: &Spanned<u64>, small: (&str, u64), large: (&str, u64)) -> Diagnostic {
    let message = format!(
        "`limits.{}` ({}) is more than `limits.{}` ({})",
        small.0,
        format_bytes(small.1),
        large.0,
        format_bytes(large.1)
    );
    Diagnostic::at(place.span(), message)
        .hint(format!("lower `{}` or raise `{}`", small.0, large.0))
}

fn log(mut table: Table<'_>, cx: &mut Context) -> Log {
    let levels = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    let level = table.choice("level", &levels, cx);
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = table.choice("format", &formats, cx);
    let audit_file = table.path("audit_file", cx).map(Spanned::into_inner);
    table.finish(cx);
    Log {
        level: level.unwrap_or(LogLevel::Info),
        format: format.unwrap_or(LogFormat::Text),
        audit_file,
    }
}

/// What `[endpoint.NAME]` and `[sink.NAME]` may be called.
fn check_name(name: &Spanned<String>, cx: &mut Context) {
    let text = name.get_ref();
    let is_valid = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !is_valid {
        cx.push(
            Diagnostic::at(name.span(), format!("`{}` is not a usable name", text.escape_debug()))
                .hint("use 1 to 64 of A-Z, a-z, 0-9, `_` and `-`"),
        );
    }
}

/// Says whether it can be the name of a dataset.
fn check_dataset(dataset: &Spanned<String>, cx: &mut Context) -> bool {
    let text = dataset.get_ref();
    let is_valid = is_dataset(text.as_bytes());
    if !is_valid {
        let message = format!("`{}` is not the name of a dataset", text.escape_debug());
        let hint = "use 1 to 64 of a-z, 0-9 and `_`, as in \"http_requests\"";
        cx.push(Diagnostic::at(dataset.span(), message).hint(hint));
    }
    is_valid
}

/// Reports a file that cannot be read; `hint` is what to do if there is none.
fn check_file(file: &Spanned<PathBuf>, hint: &str, cx: &mut Context) {
    let path = file.get_ref();
    if cx.reads_files()
        && let Err(error) = check_readable(path)
    {
        let message = format!("cannot read `{}`: {error}", path.display());
        let hint = advice(path, &error, hint, cx);
        cx.push(Diagnostic::at(file.span(), message).hint(hint));
    }
}

/// What to do about a file that cannot be read. `hint` is for one that is missing, unless it is one of
/// the credentials.
fn advice(path: &Path, error: &io::Error, hint: &str, cx: &Context) -> String {
    match (error.kind(), path.file_name()) {
        (io::ErrorKind::PermissionDenied, _) => {
            "let the user that runs logpushd read it".to_owned()
        }
        (io::ErrorKind::NotFound, Some(name)) if cx.credentials.as_deref() == path.parent() => {
            format!(
                "restart the service if the file is new; if it is a symbolic link, which systemd does \
                 not follow here, add LoadCredential={}:{} to the unit, or copy the file",
                name.display(),
                path.display()
            )
        }
        _ => hint.to_owned(),
    }
}

/// Takes a duration of which 0 makes no sense.
fn more_than_zero(
    table: &mut Table<'_>,
    key: &'static str,
    hint: Option<&str>,
    cx: &mut Context,
) -> Option<Duration> {
    let duration = table.duration(key, cx)?;
    if duration.is_zero() {
        let problem = table.problem(format!("`{}` must be more than 0", table.full(key)));
        cx.push(Diagnostic { hint: hint.map(str::to_owned), ..problem });
    }
    Some(duration)
}
