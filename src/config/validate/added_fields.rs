//! The key of every sink that adds fields.

use records::select::{AddedField, AddedValue, TextTemplate};
use settings::{Context, Diagnostic, PlainValue, Spanned, Value, reference::Takes, setting};

/// Fields, with the positions of their names.
type Added = Vec<(Spanned<String>, AddedField)>;

setting! {
    /// Names of fields and their values, at least one.
    pub struct AddedFields(Added): Takes::Names("fields and values"), read by added_fields;
}

fn added_fields(value: &Value<'_>, cx: &mut Context) -> Option<Added> {
    let entries = value.entries(cx)?;
    if entries.is_empty() {
        let hint = "write { FIELD = \"value\" }, or remove `add_fields`";
        cx.push(value.problem("`add_fields` is empty").hint(hint));
    }
    let mut added = Added::new();
    for (name, value) in entries {
        if name.get_ref().is_empty() {
            let problem = Diagnostic::at(name.span(), "an empty name in `add_fields`");
            cx.push(problem.hint("write the name of a field"));
        }
        if let Some(value) = added_value(&value, cx) {
            let field = AddedField { name: name.get_ref().clone(), value };
            added.push((name, field));
        }
    }
    Some(added)
}

fn added_value(value: &Value<'_>, cx: &mut Context) -> Option<AddedValue> {
    match value.plain(cx)? {
        PlainValue::Number(number) => Some(AddedValue::Number(number)),
        PlainValue::Bool(flag) => Some(AddedValue::Bool(flag)),
        PlainValue::String(text) => match TextTemplate::parse(&text) {
            Ok(template) => Some(AddedValue::Text(template)),
            Err(fault) => {
                cx.push(value.problem(fault));
                None
            }
        },
    }
}

/// Checks `add_fields` against `rename`.
pub(super) fn check(
    added: &[(Spanned<String>, AddedField)],
    rename: &[(Spanned<String>, Spanned<String>)],
    cx: &mut Context,
) {
    for (name, _) in added {
        let renamed = rename.iter().find(|(_, new)| new.get_ref() == name.get_ref());
        if let Some((old, new)) = renamed {
            let (old, new) = (old.get_ref().escape_debug(), new.get_ref().escape_debug());
            let message = format!("`{old}` is also renamed to `{new}`");
            let hint = "use a name only once in a record: choose another";
            cx.push(Diagnostic::at(name.span(), message).hint(hint));
        }
    }
}
