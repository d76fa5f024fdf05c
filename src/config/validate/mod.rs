//! Reads TOML into a [`Config`]: applies defaults, and checks values and keys that depend on each
//! other.
//!
//! Each table reads its keys and reports problems without stopping. The `Config` is only returned
//! if no problem was reported.

pub(super) mod added_fields;
pub(super) mod choice;
pub(super) mod endpoint;
mod hec;
mod long_names;
pub(super) mod mask;
pub(super) mod names;
pub(super) mod network;
mod overlap;
mod shared_files;
mod sink;

#[cfg(test)]
mod tests;

use std::{
    fs,
    io::{self, Read as _},
    path::{self, Path, PathBuf},
};

use settings::{Context, Diagnostic, KeySpans, Problems, Settings as _, Table};

use self::sink::Sinks;
use super::{Admin, Config, Document, Limits, Log, Quarantine, STDIN, Server, Spool};

/// The maximum size of a configuration on standard input. A log piped in by mistake must not fill
/// the memory.
const MAX_STDIN_BYTES: u64 = 16 << 20;

/// The hint if the configuration is missing.
const MISSING: &str = "name the configuration with -c or in LOGPUSHD_CONFIG; `logpushd man \
                       logpushd.toml | man -l -` describes every key";

pub(super) fn read(file: &Path) -> Result<Document, Problems> {
    let is_stdin = file == Path::new(STDIN);
    let file = if is_stdin { Path::new("<stdin>") } else { file };
    let unreadable = |error| Problems::unreadable(file, &error, MISSING);
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
        Ok((config, places)) => Ok(Document::new(config, file, source, places, cx.take_warnings())),
        Err(diagnostics) => Err(Problems::new(file, source, diagnostics)),
    }
}

/// Returns the contents and the directory where relative paths start: that of the given path, even
/// if the file is a symbolic link.
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
    let mut cx = Context::without_files(file.parent().unwrap_or(Path::new("/")));
    parse(source, &mut cx)
        .map(|(config, _)| config)
        .map_err(|diagnostics| Problems::new(file, source, diagnostics))
}

fn parse(source: &str, cx: &mut Context) -> Result<(Config, KeySpans), Vec<Diagnostic>> {
    let (root, places, syntax) = settings::parse(source);
    let config = config(root, cx);
    match config {
        Some(config) if syntax.is_empty() && cx.is_clean() => Ok((config, places)),
        _ => Err(std::mem::take(cx).finish(source, syntax)),
    }
}

fn config(mut root: Table<'_>, cx: &mut Context) -> Option<Config> {
    let mut table = root.table(Server::TABLE.name, cx);
    let server = Server::draft(&mut table, cx);
    let demands_client_cert =
        server.as_ref().is_some_and(|server| server.tls.client_ca_file.is_some());
    let server = server.filter(|_| table.is_complete());
    table.finish(cx);
    let spool = Spool::take_from(&mut root, cx);
    let Sinks { valid: sinks, names: sink_names, chosen, paths, .. } = sink::sinks(&mut root, cx);
    let endpoint_names = root.names_in("endpoint");
    shared_files::check(&sinks, &paths, &endpoint_names, cx);
    let endpoints = endpoint::endpoints(&mut root, &sink_names, demands_client_cert, cx);
    choice::check_endpoints(&chosen, &endpoint_names, &endpoints, cx);
    long_names::check(&sinks, &paths, &endpoints, cx);
    let limits = Limits::take_from(&mut root, cx);
    let quarantine = Quarantine::take_from(&mut root, cx);
    let admin = Admin::take_from(&mut root, cx);
    let log = Log::take_from(&mut root, cx);
    root.finish(cx);
    let spool = spool?;
    Some(Config {
        server: server?.with_default_paths(cx.dir(), &spool.dir),
        endpoints,
        sinks,
        limits: limits?,
        quarantine: quarantine?.with_default_dir(&spool.dir),
        admin: admin?,
        log: log?,
        spool,
    })
}
