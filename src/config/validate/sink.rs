//! `[sink.NAME.KIND]`: where records go.

use std::{collections::BTreeMap, ops::Range};

use toml::Spanned;

use super::{check_name, choice, file_sink, syslog};
use crate::{
    config::{
        SinkConfig, SinkKind, StdoutForm, WhenFull, context::Context, diagnostic::Diagnostic,
        reader::Table,
    },
    select::Choice,
};

/// The sinks, and what is still to be compared with the endpoints.
#[derive(Default)]
pub(super) struct Sinks {
    pub(super) valid: Vec<SinkConfig>,
    /// Of all, so that an endpoint that names a faulty one is not faulty too.
    pub(super) names: Vec<String>,
    pub(super) chosen: Vec<choice::Chosen>,
    /// Where the path of each file sink is.
    pub(super) paths: BTreeMap<String, Range<usize>>,
}

pub(super) fn sinks(root: &mut Table<'_>, cx: &mut Context) -> Sinks {
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
    Sinks { valid: sinks, names, chosen: seen.chosen, paths: seen.paths }
}

const KINDS: [&str; 3] = ["file", "stdout", "syslog"];

/// What two sinks cannot share.
#[derive(Default)]
struct Seen {
    /// Where the path of each file sink is, by the sink's name.
    paths: BTreeMap<String, Range<usize>>,
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
    let kinds = KINDS.into_iter().filter(|kind| table.contains(kind));
    let kinds: Vec<_> = kinds.collect();
    let none = table.is_empty();
    let file = table.optional_table("file", cx);
    let stdout = table.optional_table("stdout", cx);
    let syslog = table.optional_table("syslog", cx);
    if let [one, other, ..] = kinds.as_slice() {
        let message = format!("sink `{name}` has two kinds, `{one}` and `{other}`");
        let tables = [&file, &stdout, &syslog].into_iter().flatten();
        // The one that comes second in the file is the one too many.
        let second = tables
            .map(|table| table.problem(&*message))
            .max_by_key(|problem| problem.span.as_ref().map(|span| span.start));
        let second = second.unwrap_or_else(|| table.problem(message));
        cx.push(second.hint("give one of them a name of its own"));
    }
    if none {
        cx.push_incomplete(problem.hint(format!(
            "write [sink.{name}.file], [sink.{name}.stdout] or [sink.{name}.syslog]"
        )));
    } else if kinds.is_empty() && KINDS.iter().all(|kind| table.lacks(kind)) {
        // Its keys are those of the kind that is missing: one mistake, not one for each key.
        let kind = if table.contains("path") {
            "file"
        } else if table.contains("address") {
            "syslog"
        } else {
            "stdout"
        };
        cx.push(problem.hint(format!(
            "write [sink.{name}.{kind}] in place of [sink.{name}]; the kinds are `file`, `stdout` and `syslog`"
        )));
        return None;
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
    let file = file.map(|mut table| {
        let sink = file_sink::file_sink(name, &mut table, &mut seen.paths, cx);
        let common = common(name, &mut table, seen, cx);
        table.finish(cx);
        Some((SinkKind::File(sink?), common))
    });
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
