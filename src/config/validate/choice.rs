//! The keys of every sink that select batches, records and fields.

use records::select::{Choice, Comparison, Condition, Fields, Scalar, Test};
use settings::{
    Context, Diagnostic, Pairs, PlainValue, Spanned, Table, Value, reference::Takes, setting,
    suggestion,
};

use super::{added_fields, mask, names::plain};
use crate::config::{Endpoint, sink::Keys};

/// `sink.NAME.KIND.endpoints`, which is compared with the endpoints later.
pub(super) struct SinkEndpoints {
    pub(super) sink: String,
    pub(super) endpoints: Vec<Spanned<String>>,
}

setting! {
    /// Conditions on fields, at least one.
    pub struct Conditions(Vec<Condition>): Takes::Names("fields and \
                                                         conditions"), read by conditions;
}

setting! {
    /// Names of fields and their new names, at least one.
    pub struct NewNames(Pairs): Takes::Names("old and new names"), read by new_names;
}

/// Returns the selection of a sink. If a key is invalid, the result is never used.
pub(super) fn choice(keys: &Keys) -> Choice {
    let rename = keys.rename.iter();
    Choice {
        datasets: plain(&keys.datasets),
        endpoints: plain(&keys.endpoints),
        conditions: keys.conditions.clone(),
        fields: fields(keys),
        rename: rename.map(|(old, new)| (old.get_ref().clone(), new.get_ref().clone())).collect(),
        masks: mask::masks(&keys.mask, keys.mask_key_file.as_ref()),
        added: keys.add_fields.iter().map(|(_, field)| field.clone()).collect(),
    }
}

fn fields(keys: &Keys) -> Fields {
    match (plain(&keys.keep_fields), plain(&keys.drop_fields)) {
        (keep, _) if !keep.is_empty() => Fields::Keep(keep),
        (_, drop) if !drop.is_empty() => Fields::Drop(drop),
        _ => Fields::All,
    }
}

/// Checks keys that depend on each other.
pub(in crate::config) fn check(keys: &Keys, table: &Table<'_>, cx: &mut Context) {
    if let (false, Some(first)) = (keys.keep_fields.is_empty(), keys.drop_fields.first()) {
        let message = "`keep_fields` and `drop_fields` cannot be combined";
        let hint = "remove `drop_fields`: fields that are not in `keep_fields` are dropped";
        cx.push(Diagnostic::at(first.span(), message).hint(hint));
    }
    check_rename(&keys.rename, &fields(keys), cx);
    mask::check(keys, table, cx);
    added_fields::check(&keys.add_fields, &keys.rename, cx);
}

const OPERATORS: [&str; 6] = ["ge", "gt", "le", "lt", "not", "exists"];

fn conditions(value: &Value<'_>, cx: &mut Context) -> Option<Vec<Condition>> {
    let entries = value.entries(cx)?;
    if entries.is_empty() {
        let hint = "write a condition such as { Outcome = \"pass\" }, or remove `where`";
        cx.push(value.problem("`where` is empty").hint(hint));
    }
    let mut conditions = Vec::new();
    for (name, value) in entries {
        let field = name.get_ref();
        if field.is_empty() {
            let problem = Diagnostic::at(name.span(), "an empty name in `where`");
            cx.push(problem.hint("write the name of a field"));
        }
        let tests = tests(&value, cx).into_iter();
        conditions.extend(tests.map(|test| Condition { field: field.clone(), test }));
    }
    Some(conditions)
}

/// Reads the tests of one field: a value, a list of values, or operators.
fn tests(value: &Value<'_>, cx: &mut Context) -> Vec<Test> {
    let Some(operators) = value.as_entries() else {
        return scalars(value, cx).map(Test::OneOf).into_iter().collect();
    };
    if operators.is_empty() {
        let empty = value.problem(format!("`{}` is empty", value.name()));
        cx.push(empty.hint(format!("the operators are `{}`", OPERATORS.join("`, `"))));
    }
    operators
        .into_iter()
        .filter_map(|(operator, test_value)| test(&operator, value.name(), &test_value, cx))
        .collect()
}

fn test(
    operator: &Spanned<String>,
    field: &str,
    value: &Value<'_>,
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
                "eq" | "in" => "write { FIELD = \"value\" } or { FIELD = [..] }".into(),
                "ne" => "use `not`".into(),
                "gte" => "use `ge`".into(),
                "lte" => "use `le`".into(),
                _ => suggestion(
                    word,
                    &OPERATORS,
                    "put the name of a member of an object in quotes, such as \"a.b\"; the \
                     operators are",
                ),
            };
            cx.push(Diagnostic::at(operator.span(), message).hint(hint));
            return None;
        }
    };
    value.number(cx).map(|number| Test::Compare(comparison, number))
}

/// Reads one value, or a list of at least one value.
fn scalars(value: &Value<'_>, cx: &mut Context) -> Option<Vec<Scalar>> {
    let Some(list) = value.as_list() else {
        return scalar(value, cx).map(|scalar| vec![scalar]);
    };
    if list.is_empty() {
        let empty = value.problem(format!("`{}` is an empty list", value.name()));
        cx.push(empty.hint("list at least one value"));
        return None;
    }
    let scalars: Vec<_> = list.iter().filter_map(|value| scalar(value, cx)).collect();
    (scalars.len() == list.len()).then_some(scalars)
}

fn scalar(value: &Value<'_>, cx: &mut Context) -> Option<Scalar> {
    Some(match value.plain(cx)? {
        PlainValue::String(text) => Scalar::String(text),
        PlainValue::Number(number) => Scalar::Number(number),
        PlainValue::Bool(flag) => Scalar::Bool(flag),
    })
}

fn new_names(value: &Value<'_>, cx: &mut Context) -> Option<Pairs> {
    let pairs = value.pairs(cx)?;
    if pairs.is_empty() {
        cx.push(
            value.problem("`rename` is empty").hint("write { OLD = \"new\" }, or remove `rename`"),
        );
    }
    Some(pairs)
}

fn check_rename(renamed: &[(Spanned<String>, Spanned<String>)], fields: &Fields, cx: &mut Context) {
    for (index, (old, new)) in renamed.iter().enumerate() {
        let (from, to) = (old.get_ref(), new.get_ref());
        let (shown, shown_to) = (from.escape_debug(), to.escape_debug());
        if let Some((message, hint)) = source_fault(from, fields) {
            cx.push(Diagnostic::at(old.span(), message).hint(hint));
        }
        let is_renamed = |name: &str| renamed.iter().any(|(old, _)| old.get_ref() == name);
        let earlier = renamed.iter().take(index).find(|(_, other)| other.get_ref() == to);
        let fault = if to.is_empty() {
            Some((format!("the new name of `{shown}` is empty"), "write a name"))
        } else if from == to {
            Some((format!("the new name of `{shown}` is the same"), "remove it"))
        } else if let Some((other, _)) = earlier {
            let other = other.get_ref().escape_debug();
            let message = format!("`{other}` is also renamed to `{shown_to}`");
            Some((message, "use a name only once in a record: choose another"))
        } else if matches!(fields, Fields::Keep(keep) if keep.contains(to)) && !is_renamed(to) {
            let message = format!("`keep_fields` has another field `{shown_to}`");
            Some((message, "use a name only once in a record: choose another"))
        } else {
            None
        };
        if let Some((message, hint)) = fault {
            cx.push(Diagnostic::at(new.span(), message).hint(hint));
        }
    }
}

/// Returns what is wrong with the name of a field to rename, and what to do.
fn source_fault(name: &str, fields: &Fields) -> Option<(String, &'static str)> {
    let shown = name.escape_debug();
    if name.is_empty() {
        return Some(("an empty name in `rename`".into(), "write the name of a field"));
    }
    if name.contains('.') {
        let message = format!("`{shown}` is a member of an object");
        return Some((message, "rename only top-level fields"));
    }
    let is_in = |list: &[String]| list.iter().any(|listed| listed == name);
    let part_of = format!("{name}.");
    match fields {
        Fields::Drop(drop) if is_in(drop) => {
            let message = format!("`{shown}` is in `drop_fields`");
            Some((message, "a dropped field cannot be renamed: remove one of the two"))
        }
        Fields::Keep(keep)
            if !is_in(keep) && !keep.iter().any(|kept| kept.starts_with(&part_of)) =>
        {
            let message = format!("`{shown}` is not in `keep_fields`");
            Some((message, "add its original name to `keep_fields`"))
        }
        _ => None,
    }
}

/// Compares `endpoints` of every sink with the endpoints. `names` has all names, also those of
/// invalid endpoints, which are not reported as missing.
pub(super) fn check_endpoints(
    sinks: &[SinkEndpoints],
    names: &[String],
    endpoints: &[Endpoint],
    cx: &mut Context,
) {
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    for SinkEndpoints { sink, endpoints: list } in sinks {
        for name in list.iter().filter(|name| !name.get_ref().is_empty()) {
            let text = name.get_ref();
            let shown = text.escape_debug();
            if !names.contains(text) {
                let message = format!("no endpoint `{shown}`");
                let hint = suggestion(text, &known, "the endpoints are");
                cx.push_incomplete(Diagnostic::at(name.span(), message).hint(hint));
            } else if let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.name == *text)
                && !endpoint.sinks.contains(sink)
            {
                let message = format!("`sinks` of endpoint `{shown}` does not list `{sink}`");
                let hint = "add the sink there, or remove the endpoint here";
                cx.push_incomplete(Diagnostic::at(name.span(), message).hint(hint));
            }
        }
    }
}
