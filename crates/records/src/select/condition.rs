//! Whether a record is one that the conditions let pass.

use std::cmp::Ordering;

use serde_json::value::RawValue;

use super::{
    Step, Unreadable,
    choice::{Comparison, Condition, Scalar, Test},
    number, step,
};
use crate::record::{self, Value};

/// What was found of a condition's field among the members of a record.
#[derive(Clone, Copy, Default)]
pub(super) struct Found<'a> {
    /// The member that has the whole name.
    whole: Option<&'a str>,
    /// The one that the rest of the name leads into.
    outer: Option<&'a str>,
}

impl<'a> Found<'a> {
    /// Takes a member to account: of several with the same name the last counts.
    pub(super) fn see(&mut self, path: &str, name: &str, value: &'a str) {
        match step(path, name) {
            Step::Here => self.whole = Some(value),
            Step::Into(_) => self.outer = Some(value),
            Step::Past => {}
        }
    }

    /// Whether what was found lets the record pass.
    pub(super) fn passes(self, condition: &Condition) -> Result<bool, Unreadable> {
        let any = |holds: &dyn Fn(&Value<'_>) -> bool| self.any(&condition.field, holds);
        match &condition.test {
            Test::OneOf(list) => any(&|value| list.iter().any(|scalar| equals(value, scalar))),
            Test::NoneOf(list) => {
                any(&|value| list.iter().any(|scalar| equals(value, scalar))).map(|any| !any)
            }
            Test::Is(comparison, bound) => any(&|value| is(value, *comparison, bound)),
            Test::Exists(wanted) => self.exists(&condition.field).map(|exists| exists == *wanted),
        }
    }

    /// Whether `holds` does for one of the values that stand there; an array stands for its elements.
    fn any(self, path: &str, holds: &dyn Fn(&Value<'_>) -> bool) -> Result<bool, Unreadable> {
        if let Some(value) = self.whole {
            return Ok(match elements(value)? {
                Some(elements) => elements.iter().any(|element| holds(&Value::of(element.get()))),
                None => holds(&Value::of(value)),
            });
        }
        self.inner(path, &|inner, rest| inner.any(rest, holds))
    }

    fn exists(self, path: &str) -> Result<bool, Unreadable> {
        match self.whole {
            Some(value) => Ok(Value::of(value) != Value::Null),
            None => self.inner(path, &|inner, rest| inner.exists(rest)),
        }
    }

    /// Whether `holds` does for what is found in the object that the name leads into, or in one of an
    /// array of them. Goes no deeper than the name has dots.
    fn inner(
        self,
        path: &str,
        holds: &dyn Fn(Found<'_>, &str) -> Result<bool, Unreadable>,
    ) -> Result<bool, Unreadable> {
        let (Some(value), Some((_, rest))) = (self.outer, path.split_once('.')) else {
            return Ok(false);
        };
        let in_object = |object: &str| {
            if !object.starts_with('{') {
                return Ok(false);
            }
            let mut found = Found::default();
            record::each(object.as_bytes(), &mut |name, value| found.see(rest, &name, value))?;
            holds(found, rest)
        };
        let Some(elements) = elements(value)? else { return in_object(value) };
        for element in elements {
            if in_object(element.get())? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The elements of an array; `None` if the value is none.
pub(super) fn elements(value: &str) -> Result<Option<Vec<&RawValue>>, Unreadable> {
    if !value.starts_with('[') {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(value)?))
}

/// Two values of different kinds are never equal.
fn equals(value: &Value<'_>, scalar: &Scalar) -> bool {
    match (value, scalar) {
        (Value::String(text), Scalar::String(wanted)) => text == wanted,
        (Value::Number(text), Scalar::Number(wanted)) => {
            number::compare(text, wanted) == Ordering::Equal
        }
        (Value::Bool(flag), Scalar::Bool(wanted)) => flag == wanted,
        _ => false,
    }
}

fn is(value: &Value<'_>, comparison: Comparison, bound: &str) -> bool {
    let Value::Number(text) = value else { return false };
    let order = number::compare(text, bound);
    match comparison {
        Comparison::Above => order.is_gt(),
        Comparison::AtLeast => order.is_ge(),
        Comparison::Below => order.is_lt(),
        Comparison::AtMost => order.is_le(),
    }
}
