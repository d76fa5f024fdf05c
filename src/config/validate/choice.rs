//! The keys of every sink that say which batches and records it takes, and which fields of them.

use toml::Spanned;

use super::check_dataset;
use crate::{
    config::{
        Endpoint,
        context::Context,
        diagnostic::Diagnostic,
        reader::{Table, Value, pairs, suggestion},
    },
    select::{Choice, Comparison, Condition, Fields, Scalar, Test},
};

/// `sink.NAME.KIND.endpoints`, to be compared with the endpoints once those are read.
pub(super) struct Chosen {
    sink: String,
    endpoints: Vec<Spanned<String>>,
}

/// Takes the keys out of a sink's table; `sink` is its name. What is wrong in them makes the
/// configuration unusable, so what is given back for it does not matter.
pub(super) fn choice(
    sink: &str,
    table: &mut Table<'_>,
    chosen: &mut Vec<Chosen>,
    cx: &mut Context,
) -> Choice {
    let datasets = names("datasets", table, cx).unwrap_or_default();
    for dataset in &datasets {
        check_dataset(dataset, cx);
    }
    let endpoints = names("endpoints", table, cx).unwrap_or_default();
    let conditions = conditions(table, cx);
    let keep = names("keep_fields", table, cx);
    let drop = names("drop_fields", table, cx);
    if keep.is_some()
        && let Some(first) = drop.iter().flatten().next()
    {
        let message = "`keep_fields` and `drop_fields` cannot stand together";
        let hint = "leave `drop_fields` out: what is not kept is dropped";
        cx.push(Diagnostic::at(first.span(), message).hint(hint));
    }
    let fields = match (keep, drop) {
        (Some(keep), _) => Fields::Keep(plain(&keep)),
        (None, Some(drop)) => Fields::Drop(plain(&drop)),
        (None, None) => Fields::All,
    };
    let rename = rename(table, &fields, cx);
    let choice = Choice {
        datasets: plain(&datasets),
        endpoints: plain(&endpoints),
        conditions,
        fields,
        rename,
    };
    chosen.push(Chosen { sink: sink.to_owned(), endpoints });
    choice
}

pub(super) fn plain(names: &[Spanned<String>]) -> Vec<String> {
    names.iter().map(|name| name.get_ref().clone()).collect()
}

/// A list of names: not empty, none of them empty, none twice.
pub(super) fn names(
    key: &'static str,
    table: &mut Table<'_>,
    cx: &mut Context,
) -> Option<Vec<Spanned<String>>> {
    let list = table.strings(key, cx)?;
    if list.get_ref().is_empty() {
        // To some, an empty list is none, to others all: nothing may be guessed here.
        let message = format!("`{key}` is an empty list");
        cx.push(Diagnostic::at(list.span(), message).hint("name at least one, or leave it out"));
        return None;
    }
    let names = list.into_inner();
    for (place, name) in names.iter().enumerate() {
        let text = name.get_ref();
        if text.is_empty() {
            let message = format!("an empty name in `{key}`");
            cx.push(Diagnostic::at(name.span(), message).hint("leave it out"));
        } else if names.iter().take(place).any(|other| other.get_ref() == text) {
            let message = format!("`{}` stands twice in `{key}`", text.escape_debug());
            cx.push(Diagnostic::at(name.span(), message).hint("leave one out"));
        }
    }
    Some(names)
}

const OPERATORS: [&str; 6] = ["ge", "gt", "le", "lt", "not", "exists"];

fn conditions(table: &mut Table<'_>, cx: &mut Context) -> Vec<Condition> {
    let Some(entries) = table.entries("where", cx) else { return Vec::new() };
    if entries.get_ref().is_empty() {
        let hint = "write what must hold, as { Outcome = \"pass\" }, or leave it out";
        cx.push(Diagnostic::at(entries.span(), "`where` is empty").hint(hint));
    }
    let mut conditions = Vec::new();
    for (name, value) in entries.into_inner() {
        let field = name.get_ref();
        if field.is_empty() {
            let problem = Diagnostic::at(name.span(), "an empty name in `where`");
            cx.push(problem.hint("write the name of a field"));
        }
        let tests = tests(value, cx).into_iter();
        conditions.extend(tests.map(|test| Condition { field: field.clone(), test }));
    }
    conditions
}

/// What one field is tested for: a value alone, or operators.
fn tests(value: Value<'_>, cx: &mut Context) -> Vec<Test> {
    let empty = value.problem(format!("`{}` is empty", value.name()));
    let shown = value.name().to_owned();
    let operators = match value.into_entries() {
        Ok(operators) => operators,
        Err(value) => return scalars(value, cx).map(Test::OneOf).into_iter().collect(),
    };
    if operators.is_empty() {
        cx.push(empty.hint(format!("the operators are `{}`", OPERATORS.join("`, `"))));
    }
    operators
        .into_iter()
        .filter_map(|(operator, value)| test(&operator, &shown, value, cx))
        .collect()
}

fn test(
    operator: &Spanned<String>,
    field: &str,
    value: Value<'_>,
    cx: &mut Context,
) -> Option<Test> {
    let word = operator.get_ref().as_str();
    let comparison = match word {
        "ge" => Comparison::AtLeast,
        "gt" => Comparison::Above,
        "le" => Comparison::AtMost,
        "lt" => Comparison::Below,
        "not" => return scalars(value, cx).map(Test::NoneOf),
        "exists" => return value.boolean(cx).map(Test::Exists),
        _ => {
            let message = format!("unknown operator `{}` in `{field}`", word.escape_debug());
            let hint = match word {
                "eq" | "in" => "leave it out: { FIELD = \"value\" } or { FIELD = [..] }".into(),
                "ne" => "it is called `not`".into(),
                "gte" => "it is called `ge`".into(),
                "lte" => "it is called `le`".into(),
                _ => suggestion(
                    word,
                    &OPERATORS,
                    "put the name of a part of a field in quotes, as \"a.b\"; the operators are",
                ),
            };
            cx.push(Diagnostic::at(operator.span(), message).hint(hint));
            return None;
        }
    };
    value.number(cx).map(|number| Test::Is(comparison, number))
}

/// One value, or a list of at least one.
fn scalars(value: Value<'_>, cx: &mut Context) -> Option<Vec<Scalar>> {
    let empty = value.problem(format!("`{}` is an empty list", value.name()));
    let list = match value.into_list() {
        Ok(list) => list,
        Err(value) => return value.scalar(cx).map(|scalar| vec![scalar]),
    };
    if list.is_empty() {
        cx.push(empty.hint("name at least one value"));
        return None;
    }
    let scalars: Vec<_> = list.iter().filter_map(|value| value.scalar(cx)).collect();
    (scalars.len() == list.len()).then_some(scalars)
}

fn rename(table: &mut Table<'_>, fields: &Fields, cx: &mut Context) -> Vec<(String, String)> {
    let Some(entries) = table.entries("rename", cx) else { return Vec::new() };
    if entries.get_ref().is_empty() {
        let hint = "write { OLD = \"new\" }, or leave it out";
        cx.push(Diagnostic::at(entries.span(), "`rename` is empty").hint(hint));
    }
    let renamed = pairs(entries.into_inner(), cx);
    for (place, (old, new)) in renamed.iter().enumerate() {
        let (from, to) = (old.get_ref(), new.get_ref());
        let (shown, shown_to) = (from.escape_debug(), to.escape_debug());
        if let Some((message, hint)) = source_fault(from, fields) {
            cx.push(Diagnostic::at(old.span(), message).hint(hint));
        }
        let is_renamed = |name: &str| renamed.iter().any(|(old, _)| old.get_ref() == name);
        let before = renamed.iter().take(place).find(|(_, other)| other.get_ref() == to);
        let fault = if to.is_empty() {
            Some((format!("`{shown}` is to be called nothing"), "write a name"))
        } else if from == to {
            Some((format!("`{shown}` keeps its name"), "leave it out"))
        } else if let Some((other, _)) = before {
            let other = other.get_ref().escape_debug();
            let message = format!("`{other}` is to be called `{shown_to}`, too");
            Some((message, "a record can hold a name only once: choose another"))
        } else if matches!(fields, Fields::Keep(keep) if keep.contains(to)) && !is_renamed(to) {
            let message = format!("`keep_fields` keeps another field called `{shown_to}`");
            Some((message, "a record can hold a name only once: choose another"))
        } else {
            None
        };
        if let Some((message, hint)) = fault {
            cx.push(Diagnostic::at(new.span(), message).hint(hint));
        }
    }
    let plain =
        |(old, new): (Spanned<String>, Spanned<String>)| (old.into_inner(), new.into_inner());
    renamed.into_iter().map(plain).collect()
}

/// What is wrong with a field that is to be renamed.
fn source_fault(name: &str, fields: &Fields) -> Option<(String, &'static str)> {
    let shown = name.escape_debug();
    if name.is_empty() {
        return Some(("an empty name in `rename`".into(), "write the name of a field"));
    }
    if name.contains('.') {
        let message = format!("`{shown}` is a part of a field");
        return Some((message, "only whole fields can be renamed"));
    }
    let is_in = |list: &[String]| list.iter().any(|listed| listed == name);
    let part_of = format!("{name}.");
    match fields {
        Fields::Drop(drop) if is_in(drop) => {
            let message = format!("`{shown}` is in `drop_fields`");
            Some((message, "a field is dropped or renamed: leave one out"))
        }
        Fields::Keep(keep)
            if !is_in(keep) && !keep.iter().any(|kept| kept.starts_with(&part_of)) =>
        {
            let message = format!("`{shown}` is not in `keep_fields`");
            Some((message, "add it there under the name that it has now"))
        }
        _ => None,
    }
}

/// Compares `endpoints` of every sink with the endpoints that there are; `names` are those of all,
/// so that one that is faulty is not missing, too.
pub(super) fn check_endpoints(
    chosen: &[Chosen],
    names: &[String],
    endpoints: &[Endpoint],
    cx: &mut Context,
) {
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    for Chosen { sink, endpoints: list } in chosen {
        for name in list.iter().filter(|name| !name.get_ref().is_empty()) {
            let text = name.get_ref();
            let shown = text.escape_debug();
            if !names.contains(text) {
                let message = format!("there is no endpoint `{shown}`");
                let hint = suggestion(text, &known, "the endpoints are");
                cx.push_incomplete(Diagnostic::at(name.span(), message).hint(hint));
            } else if let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.name == *text)
                && !endpoint.sinks.contains(sink)
            {
                let message =
                    format!("endpoint `{shown}` does not have `{sink}` among its `sinks`");
                let hint = "add it there, or leave the endpoint out here";
                cx.push_incomplete(Diagnostic::at(name.span(), message).hint(hint));
            }
        }
    }
}
