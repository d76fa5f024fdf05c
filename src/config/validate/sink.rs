//! `[sink.NAME.KIND]`: reads and checks the sinks.

use std::{collections::BTreeMap, ops::Range};

use settings::{Context, Diagnostic, Settings as _, Spanned, Table, reference};

use super::{
    choice::{self, SinkEndpoints},
    names::check_name,
};
use crate::{
    config::{SinkConfig, sink::Keys},
    sink::SinkKind,
};

/// The sinks, and their keys to compare with the endpoints.
#[derive(Default)]
pub(super) struct Sinks {
    pub(super) valid: Vec<SinkConfig>,
    /// The names of all sinks. An endpoint that lists an invalid sink is valid.
    pub(super) names: Vec<String>,
    pub(super) chosen: Vec<SinkEndpoints>,
    /// The position of the path of each sink that writes files.
    pub(super) paths: BTreeMap<String, Range<usize>>,
    /// The sink that writes to standard output.
    stdout: Option<String>,
}

pub(super) fn sinks(root: &mut Table<'_>, cx: &mut Context) -> Sinks {
    let none = Diagnostic::general("no sink").hint(format!("add a table {}", examples()));
    let tables = root.named_tables("sink", &listed(headers("NAME"), "or"), none, cx);
    let mut sinks = Sinks {
        names: tables.iter().map(|(name, _)| name.get_ref().clone()).collect(),
        ..Sinks::default()
    };
    for (name, table) in tables {
        check_name(&name, cx);
        if let Some(sink) = sinks.read(&name, table, cx) {
            sinks.valid.push(sink);
        }
    }
    sinks
}

impl Sinks {
    fn read(
        &mut self,
        name: &Spanned<String>,
        mut table: Table<'_>,
        cx: &mut Context,
    ) -> Option<SinkConfig> {
        let name = name.get_ref();
        let problem = table.problem(format!("sink `{name}` has no kind"));
        let kinds: Vec<_> = SinkKind::names().filter(|kind| table.contains(kind)).collect();
        let is_empty = table.is_empty();
        let lacks_all = SinkKind::names().all(|kind| table.is_missing(kind));
        let tables: Vec<_> = SinkKind::names()
            .filter_map(|kind| Some((kind, table.optional_table(kind, cx)?)))
            .collect();
        if let [one, other, ..] = kinds.as_slice() {
            let message = format!("sink `{name}` has two kinds, `{one}` and `{other}`");
            // Reported at the second one in the file.
            let second = tables
                .iter()
                .map(|(_, table)| table.problem(&*message))
                .max_by_key(|problem| problem.span.as_ref().map(|span| span.start));
            let second = second.unwrap_or_else(|| table.problem(message));
            cx.push(second.hint("use another name for one of them"));
        }
        if is_empty {
            cx.push_incomplete(problem.hint(format!("write {}", listed(headers(name), "or"))));
        } else if kinds.is_empty() && lacks_all {
            // One problem for the missing kind, not one for each key.
            let kind = guessed_kind(&table);
            let kinds = SinkKind::names().map(|kind| format!("`{kind}`"));
            cx.push(problem.hint(format!(
                "write [sink.{name}.{kind}] instead of [sink.{name}]; the kinds are {}",
                listed(kinds, "and")
            )));
            return None;
        }
        let mut sink = None;
        for (kind, table) in tables {
            sink = sink.or(self.read_kind(name, kind, table, cx));
        }
        table.finish_explaining("a sink is a table [sink.NAME.KIND], where KIND is one of", cx);
        sink
    }

    fn read_kind(
        &mut self,
        name: &str,
        kind: &str,
        mut table: Table<'_>,
        cx: &mut Context,
    ) -> Option<SinkConfig> {
        let kind = SinkKind::read(kind, &mut table, cx);
        let keys = Keys::read(&mut table, cx);
        if let Some(kind) = &kind {
            self.claim(name, kind, &table, cx);
        }
        table.finish(cx);
        let keys = keys?;
        let choice = choice::choice(&keys);
        let mask_key_file = keys.mask_key_file.map(|(path, _)| path);
        self.chosen.push(SinkEndpoints { sink: name.to_owned(), endpoints: keys.endpoints });
        let (name, when_full) = (name.to_owned(), keys.when_full);
        Some(SinkConfig { name, kind: kind?, when_full, choice, mask_key_file })
    }

    /// Registers what no other sink may use.
    fn claim(&mut self, name: &str, kind: &SinkKind, table: &Table<'_>, cx: &mut Context) {
        let claims = kind.claims();
        if claims.stdout
            && let Some(other) = self.stdout.replace(name.to_owned())
        {
            cx.push(
                table
                    .problem(format!("sink `{other}` already writes to stdout"))
                    .hint("remove one: every record would be written twice"),
            );
        }
        if let Some(files) = claims.files
            && let Some(span) = table.span_of(files.key)
        {
            self.paths.insert(name.to_owned(), span);
        }
    }
}

/// Returns the probable kind of a table without one: a kind of which the table has a required key,
/// otherwise a kind without required keys.
fn guessed_kind(table: &Table<'_>) -> &'static str {
    let kinds = || SinkKind::names().zip(SinkKind::TABLES);
    let requires = |kind: &reference::Table, matches: &dyn Fn(&str) -> bool| {
        kind.required().any(|key| matches(key.name))
    };
    let by_key = kinds().find(|(_, kind)| requires(kind, &|key| table.contains(key)));
    let without_keys = kinds().find(|(_, kind)| !requires(kind, &|_| true));
    by_key.or(without_keys).map_or("KIND", |(name, _)| name)
}

fn headers(name: &str) -> impl Iterator<Item = String> {
    SinkKind::names().map(move |kind| format!("[sink.{name}.{kind}]"))
}

/// Lists a table of each kind with its required keys. Kinds without required keys are last.
fn examples() -> String {
    let kinds = SinkKind::names().zip(SinkKind::TABLES);
    let (mut all, mut last) = (Vec::new(), Vec::new());
    for (kind, table) in kinds {
        let keys: Vec<_> = table.required().map(|key| format!("`{}`", key.name)).collect();
        if keys.is_empty() {
            last.push(format!("an empty [sink.NAME.{kind}]"));
        } else {
            all.push(format!("[sink.NAME.{kind}] with {}", listed(keys, "and")));
        }
    }
    all.extend(last);
    match all.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{}, or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// Joins items as in a sentence: `a, b or c`.
fn listed(items: impl IntoIterator<Item = String>, word: &str) -> String {
    let items: Vec<_> = items.into_iter().collect();
    match items.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} {word} {last}", rest.join(", ")),
        _ => items.concat(),
    }
}
