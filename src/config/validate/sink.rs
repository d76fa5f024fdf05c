//! `[sink.NAME.KIND]`: where records go.

use std::{collections::BTreeMap, path::PathBuf};

use toml::Spanned;

use super::{check_name, choice, file_sink, syslog};
use crate::{
    config::{
        Choice, FileSink, SinkConfig, SinkKind, StdoutForm, WhenFull, context::Context,
        diagnostic::Diagnostic, reader::Table,
    },
    sink::template::{self, PathTemplate},
};

/// The sinks; the names of all, so that an endpoint that names a faulty one is not faulty too; and
/// what is still to be compared with the endpoints.
pub(super) fn sinks(
    root: &mut Table<'_>,
    cx: &mut Context,
) -> (Vec<SinkConfig>, Vec<String>, Vec<choice::Chosen>) {
    let none = Diagnostic::general("there is no sink")
        .hint("add a table [sink.NAME.file] with `path`, [sink.NAME.syslog] with `address`, or an empty [sink.NAME.stdout]");
    let tables = root.named_tables("sink", none, cx);
    let names = tables.iter().map(|(name, _)| name.get_ref().clone()).collect();
    let mut seen = Seen::default();
    let sinks = tables
        .into_iter()
        .filter_map(|(name, table)| {
            check_name(&name, cx);
            let (kind, Common { when_full, choice }) = kind(&name, table, &mut seen, cx)?;
            Some(SinkConfig { name: name.into_inner(), kind, when_full, choice })
        })
        .collect();
    (sinks, names, seen.chosen)
}

/// What two sinks cannot share.
#[derive(Default)]
struct Seen {
    /// A sample of each file sink's path, and the sink's name.
    paths: BTreeMap<PathBuf, String>,
    stdout: Option<String>,
    /// What is compared with the endpoints later.
    chosen: Vec<choice::Chosen>,
}

/// What every kind of sink has.
struct Common {
    when_full: WhenFull,
    choice: Choice,
}

fn kind(
    name: &Spanned<String>,
    mut table: Table<'_>,
    seen: &mut Seen,
    cx: &mut Context,
) -> Option<(SinkKind, Common)> {
    let name = name.get_ref();
    let problem = table.problem(format!("sink `{name}` has no kind"));
    let kinds = ["file", "stdout", "syslog"].into_iter().filter(|kind| table.contains(kind));
    let kinds: Vec<_> = kinds.collect();
    let none = table.is_empty();
    let file = table.optional_table("file", cx);
    let stdout = table.optional_table("stdout", cx);
    let syslog = table.optional_table("syslog", cx);
    if let [one, other, ..] = kinds.as_slice() {
        let place = syslog.as_ref().or(stdout.as_ref()).or(file.as_ref()).unwrap_or(&table);
        cx.push(
            place
                .problem(format!("sink `{name}` has two kinds, `{one}` and `{other}`"))
                .hint("give one of them a name of its own"),
        );
    }
    if none {
        cx.push_incomplete(problem.hint(format!(
            "write [sink.{name}.file], [sink.{name}.stdout] or [sink.{name}.syslog]"
        )));
    }
    let stdout = stdout.map(|mut stdout| {
        if let Some(other) = seen.stdout.replace(name.clone()) {
            cx.push(
                stdout
                    .problem(format!("sink `{other}` already writes to stdout"))
                    .hint("leave one out: every record would be written twice"),
            );
        }
        let forms = [("ndjson", StdoutForm::Ndjson), ("text", StdoutForm::Text)];
        let form = stdout.choice("format", &forms, cx).unwrap_or(StdoutForm::Ndjson);
        let common = common(name, &mut stdout, seen, cx);
        stdout.finish(cx);
        (SinkKind::Stdout(form), common)
    });
    let file = file.map(|file| file_sink(name, file, seen, cx));
    let syslog = syslog.map(|mut table| {
        let sink = syslog::syslog(&mut table, cx);
        let common = common(name, &mut table, seen, cx);
        table.finish(cx);
        Some((SinkKind::Syslog(Box::new(sink?)), common))
    });
    table.finish_explaining("a sink is a table [sink.NAME.KIND], where KIND is one of", cx);
    file.or(syslog).unwrap_or(stdout)
}

fn common(name: &str, table: &mut Table<'_>, seen: &mut Seen, cx: &mut Context) -> Common {
    let choices = [("block", WhenFull::Block), ("drop", WhenFull::Drop)];
    let when_full = table.choice("when_full", &choices, cx).unwrap_or(WhenFull::Block);
    Common { when_full, choice: choice::choice(name, table, &mut seen.chosen, cx) }
}

fn file_sink(
    name: &str,
    mut table: Table<'_>,
    seen: &mut Seen,
    cx: &mut Context,
) -> Option<(SinkKind, Common)> {
    let hint = "add `path = \"/var/log/logpushd/{dataset}/%Y-%m-%d.ndjson\"`";
    table.require("path", hint, cx);
    let path = table.string("path", cx);
    let mode = table.string("mode", cx).map_or(Some(0o640), |text| mode(&text, cx));
    let options = file_sink::options(&mut table, cx);
    let common = common(name, &mut table, seen, cx);
    table.finish(cx);

    let place = path?;
    let (path, template) = absolute_template(&place, cx)?;
    file_sink::check(&place, &template.1, &options, cx);
    if let Some(other) = seen.paths.insert(template.1.sample(), name.to_owned()) {
        cx.push(
            Diagnostic::at(template.0, format!("sink `{other}` writes to the same files"))
                .hint("give each sink a path of its own"),
        );
    }
    Some((SinkKind::File(FileSink { path, mode: mode?, options }), common))
}

type Placed = (std::ops::Range<usize>, PathTemplate);

fn absolute_template(text: &Spanned<String>, cx: &mut Context) -> Option<(String, Placed)> {
    let problem = |message: String| Diagnostic::at(text.span(), message);
    let template = match PathTemplate::parse(text.get_ref()) {
        Ok(template) => template,
        Err(message) => {
            cx.push(problem(message));
            return None;
        }
    };
    if let Some(problem) = file_sink::leaves_base(text, &template) {
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
        return Some((text.get_ref().clone(), (text.span(), template)));
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
    Some((path, (text.span(), template)))
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
