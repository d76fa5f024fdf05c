//! `[sink.NAME.file]`: where records are written to, and what becomes of the files.

use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::{Component, Path},
    time::Duration,
};

use jiff::Timestamp;
use toml::Spanned;

use super::more_than_zero;
use crate::{
    config::{
        Compress, CompressAfter, EventWindow, FileOptions, FileSink, Fsync, Owner, RecordTime,
        Retain, Rotate, context::Context, diagnostic::Diagnostic, reader::Table,
    },
    sink::template::{self, PathTemplate},
};

/// What to do about a duration of 0.
const HOW_LONG: Option<&str> = Some("write how long, as \"24h\"");

/// A sink's keys, but for those that every sink has. `paths` has the place of each sink's path.
pub(super) fn file_sink(
    name: &str,
    table: &mut Table<'_>,
    paths: &mut BTreeMap<String, Range<usize>>,
    cx: &mut Context,
) -> Option<FileSink> {
    let hint = "add `path = \"/var/log/logpushd/{dataset}/%Y-%m-%d.ndjson\"`";
    table.require("path", hint, cx);
    let place = table.string("path", cx);
    let mode = table.string("mode", cx).map_or(Some(0o640), |text| mode(&text, cx));
    let options = options(table, cx);

    let place = place?;
    let (path, template) = absolute_template(&place, cx)?;
    check(&place, &template, &options, cx);
    paths.insert(name.to_owned(), place.span());
    Some(FileSink { path, mode: mode?, options })
}

/// The path, absolute, and what it is filled in by.
fn absolute_template(text: &Spanned<String>, cx: &mut Context) -> Option<(String, PathTemplate)> {
    let problem = |message: String| Diagnostic::at(text.span(), message);
    let template = match PathTemplate::parse(text.get_ref()) {
        Ok(template) => template,
        Err(message) => {
            cx.push(problem(message));
            return None;
        }
    };
    if let Some(problem) = leaves_base(text, &template) {
        cx.push(problem);
        return None;
    }
    let last = text.get_ref().rsplit('/').next().unwrap_or_default();
    if matches!(last, "" | "." | "..") {
        cx.push(
            problem("the path names a folder, not a file".into())
                .hint("end it with the name of a file, as in \"{dataset}/%Y-%m-%d.ndjson\""),
        );
        return None;
    }
    if text.get_ref().starts_with('/') {
        return Some((text.get_ref().clone(), template));
    }
    let (folder, rest) = cx.begin(text.get_ref());
    let Some(folder) = folder.to_str() else {
        cx.push(
            problem("the folder of this file is not valid UTF-8".into())
                .hint("write an absolute path"),
        );
        return None;
    };
    // The folder is no template, whatever it is called.
    let path = format!("{}/{}", template::escape(folder.trim_end_matches('/')), rest);
    let template = PathTemplate::parse(&path).map_err(|message| cx.push(problem(message))).ok()?;
    Some((path, template))
}

fn mode(text: &Spanned<String>, cx: &mut Context) -> Option<u32> {
    let digits = text.get_ref();
    let mode = u32::from_str_radix(digits, 8).ok().filter(|_| !digits.starts_with('+'));
    let (fault, hint) = match mode {
        None => ("is not octal", "write three octal digits, as \"0640\""),
        Some(mode) if mode & !0o777 != 0 => {
            ("has more than permission bits", "write those alone, as \"0640\"")
        }
        Some(mode) if mode & 0o600 != 0o600 => (
            "shuts the daemon out of its own file",
            "let the owner read and write, as \"0640\" does",
        ),
        mode => return mode,
    };
    let message = format!("mode `{}` {fault}", digits.escape_debug());
    cx.push(Diagnostic::at(text.span(), message).hint(hint));
    None
}

/// The keys that most do without.
fn options(table: &mut Table<'_>, cx: &mut Context) -> FileOptions {
    let user = id(table.string("owner", cx), ("user", "/etc/passwd"), cx);
    let group = id(table.string("group", cx), ("group", "/etc/group"), cx);
    let choices = [("checkpoint", Fsync::Checkpoint), ("batch", Fsync::Batch)];
    let fsync = table.choice("fsync", &choices, cx).unwrap_or_default();
    let rotate = rotate(table, cx);
    let retain = retain(table, cx);
    let choices = [("none", Compress::None), ("gzip", Compress::Gzip), ("zstd", Compress::Zstd)];
    let compress = table.choice("compress", &choices, cx).unwrap_or_default();
    let compress_after = match table.duration_or("compress_after", "next", cx) {
        Some(Duration::MAX) => CompressAfter::Next,
        Some(delay) => CompressAfter::Delay(delay),
        None => CompressAfter::default(),
    };
    let choices = [("received", RecordTime::Received), ("event", RecordTime::Event)];
    let time = table.choice("time", &choices, cx).unwrap_or_default();
    let event_window = event_window(table, time, cx);
    let owner = Owner { user, group };
    FileOptions { owner, fsync, rotate, retain, compress, compress_after, time, event_window }
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
    let max_age = more_than_zero(&mut table, "max_age", HOW_LONG, cx);
    table.finish(cx);
    Rotate { max_bytes, max_age }
}

fn event_window(table: &mut Table<'_>, time: RecordTime, cx: &mut Context) -> EventWindow {
    let is_there = table.contains("event_window");
    let mut table = table.table("event_window", cx);
    if is_there && table.is_empty() {
        cx.push(
            table
                .problem("`event_window` is empty")
                .hint("write `past`, `future` or both, as { past = \"all\", future = \"1d\" }"),
        );
    }
    let default = EventWindow::default();
    let past = table.duration_or("past", "all", cx).unwrap_or(default.past);
    let future = table.duration("future", cx).unwrap_or(default.future);
    let window = EventWindow { past, future };
    if window != default && time != RecordTime::Event {
        cx.push_incomplete(
            table
                .problem("`event_window` has no effect without `time = \"event\"`")
                .hint("add `time = \"event\"`, or remove `event_window`"),
        );
    }
    table.finish(cx);
    window
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
    let age = more_than_zero(&mut table, "age", HOW_LONG, cx);
    let bytes = table.size("bytes", cx).map(Spanned::into_inner);
    table.finish(cx);
    Retain { files, age, bytes }
}

/// What only makes sense beside something else.
fn check(path: &Spanned<String>, template: &PathTemplate, options: &FileOptions, cx: &mut Context) {
    if options.time == RecordTime::Event && !template.has_time() {
        let message = "`time` changes nothing: the path has no time in it";
        cx.push_incomplete(
            Diagnostic::at(path.span(), message).hint("add one, as %Y-%m-%d, or leave `time` out"),
        );
    }
    let ends = options.rotate != Rotate::default() || template.has_time();
    if options.compress != Compress::None && !ends {
        let message = "`compress` has nothing to compress: no file of this path is ever finished";
        cx.push_incomplete(
            Diagnostic::at(path.span(), message)
                .hint("add `rotate = { max_age = \"24h\" }`, or a date to the path, as %Y-%m-%d"),
        );
    }
    if options.retain != Retain::default() && !ends {
        let message = "`retain` has nothing to remove: no file of this path is ever finished";
        cx.push_incomplete(
            Diagnostic::at(path.span(), message)
                .hint("add `rotate = { max_age = \"24h\" }`, or a date to the path, as %Y-%m-%d"),
        );
    }
}

/// No name and no time may lead out of the folder where a path begins to be filled in, so neither may
/// what stands between them.
fn leaves_base(path: &Spanned<String>, template: &PathTemplate) -> Option<Diagnostic> {
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
