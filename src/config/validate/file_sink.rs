//! The keys of `[sink.NAME.file]` that most do without.

use std::{
    fs,
    path::{Component, Path},
    time::Duration,
};

use jiff::Timestamp;
use toml::Spanned;

use crate::{
    config::{
        Compress, FileOptions, Fsync, Owner, RecordTime, Retain, Rotate, context::Context,
        diagnostic::Diagnostic, reader::Table,
    },
    sink::template::PathTemplate,
};

/// Takes them.
pub(super) fn options(table: &mut Table<'_>, cx: &mut Context) -> FileOptions {
    let user = id(table.string("owner", cx), ("user", "/etc/passwd"), cx);
    let group = id(table.string("group", cx), ("group", "/etc/group"), cx);
    let choices = [("checkpoint", Fsync::Checkpoint), ("batch", Fsync::Batch)];
    let fsync = table.choice("fsync", &choices, cx).unwrap_or_default();
    let rotate = rotate(table, cx);
    let retain = retain(table, cx);
    let choices = [("none", Compress::None), ("gzip", Compress::Gzip), ("zstd", Compress::Zstd)];
    let compress = table.choice("compress", &choices, cx).unwrap_or_default();
    let choices = [("received", RecordTime::Received), ("event", RecordTime::Event)];
    let time = table.choice("time", &choices, cx).unwrap_or_default();
    FileOptions { owner: Owner { user, group }, fsync, rotate, retain, compress, time }
}

fn rotate(table: &mut Table<'_>, cx: &mut Context) -> Rotate {
    let is_there = table.contains("rotate");
    let mut table = table.table("rotate", cx);
    if is_there && table.is_empty() {
        cx.push(table.problem("`rotate` does not say when").hint(
            "write `max_bytes`, `max_age` or both, as { max_bytes = \"1GiB\", max_age = \"24h\" }",
        ));
    }
    let max_bytes = table.size("max_bytes", cx).map(Spanned::into_inner);
    let max_age = more_than_zero(&mut table, "max_age", cx);
    table.finish(cx);
    Rotate { max_bytes, max_age }
}

fn retain(table: &mut Table<'_>, cx: &mut Context) -> Retain {
    let is_there = table.contains("retain");
    let mut table = table.table("retain", cx);
    if is_there && table.is_empty() {
        cx.push(table.problem("`retain` does not say what is kept").hint(
            "write one or more of `files`, `age` and `bytes`, as { files = 30, bytes = \"100GiB\" }",
        ));
    }
    let files = table.count("files", cx);
    let age = more_than_zero(&mut table, "age", cx);
    let bytes = table.size("bytes", cx).map(Spanned::into_inner);
    table.finish(cx);
    Retain { files, age, bytes }
}

/// What only makes sense beside something else.
pub(super) fn check(
    path: &Spanned<String>,
    template: &PathTemplate,
    options: &FileOptions,
    cx: &mut Context,
) {
    if options.time == RecordTime::Event && !template.has_time() {
        let message = "`time` changes nothing: the path has no time in it";
        cx.push_incomplete(
            Diagnostic::at(path.span(), message).hint("add one, as %Y-%m-%d, or leave `time` out"),
        );
    }
    if options.compress != Compress::None && options.rotate == Rotate::default() {
        let message = "`compress` has nothing to compress: only rotated files are";
        cx.push_incomplete(
            Diagnostic::at(path.span(), message)
                .hint("add `rotate = { max_age = \"24h\" }`, which ends a quiet file as well"),
        );
    }
    let ends = options.rotate != Rotate::default() || template.has_time();
    if options.retain != Retain::default() && !ends {
        let message = "`retain` has nothing to remove: no file of this path is ever finished";
        cx.push_incomplete(
            Diagnostic::at(path.span(), message)
                .hint("add `rotate = { max_age = \"24h\" }`, or a date to the path, as %Y-%m-%d"),
        );
    }
}

fn more_than_zero(table: &mut Table<'_>, key: &'static str, cx: &mut Context) -> Option<Duration> {
    let duration = table.duration(key, cx)?;
    if duration.is_zero() {
        let message = format!("`{}` must be more than 0", table.full(key));
        cx.push(table.problem(message).hint("write how long, as \"24h\""));
    }
    Some(duration)
}

/// No name and no time may lead out of the folder where a path begins to be filled in, so neither may
/// what stands between them.
pub(super) fn leaves_base(path: &Spanned<String>, template: &PathTemplate) -> Option<Diagnostic> {
    let filled = template.render("endpoint", "dataset", Timestamp::UNIX_EPOCH);
    let mut components = filled.components();
    let parts = path.get_ref().split('/').filter(|part| !matches!(*part, "" | "."));
    let is_literal = |part: &str| !part.contains(['{', '%']);
    let literal = parts.take_while(|part| is_literal(part)).count();
    let root = usize::from(filled.is_absolute());
    components.by_ref().take(literal + root).for_each(drop);
    components.any(|part| part == Component::ParentDir).then(|| {
        Diagnostic::at(path.span(), "`..` behind a place to fill in")
            .hint("write the path without `..`")
    })
}

/// The id that a name stands for, or that is written as a number.
///
/// Names are looked up in the system's own file: to ask every directory service that a machine may
/// have takes a C library, and would make the start of the daemon wait for a network.
fn id(text: Option<Spanned<String>>, (kind, file): (&str, &str), cx: &mut Context) -> Option<u32> {
    let text = text?;
    let name = text.get_ref();
    let number = name.parse::<u32>();
    // The highest stands for "leave it as it is".
    let id = match number {
        Ok(id) => Some(id).filter(|id| *id < u32::MAX && !name.starts_with('+')),
        Err(_) if !cx.reads_files() => return None,
        Err(_) => look_up(name, Path::new(file)),
    };
    if id.is_some() {
        return id;
    }
    let message = format!("there is no {kind} `{}` in {file}", name.escape_debug());
    cx.push(
        Diagnostic::at(text.span(), message)
            .hint("make it, or write its number if a directory service knows it"),
    );
    None
}

/// Both files have lines NAME:PASSWORD:ID:...
fn look_up(name: &str, file: &Path) -> Option<u32> {
    let text = fs::read(file).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("passwd");
        fs::write(&file, "root:x:0:0:root:/root:/bin/bash\n\nbroken\nlog:x:12:13:Log:/:\n")
            .unwrap();
        assert_eq!(look_up("root", &file), Some(0));
        assert_eq!(look_up("log", &file), Some(12));
        for name in ["", "lo", "logs", "broken", "x"] {
            assert_eq!(look_up(name, &file), None, "{name}");
        }
        assert_eq!(look_up("root", &dir.path().join("none")), None);
    }
}
