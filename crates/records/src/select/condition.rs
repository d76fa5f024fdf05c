//! Evaluates conditions on records.

use std::cmp::Ordering;

use super::{
    PathMatch, Unreadable,
    choice::{Comparison, Condition, Scalar, Test},
    match_path, number,
    rebuild::elements,
};
use crate::record::{self, Value};

/// The members of a record that match the field of a condition.
#[derive(Clone, Copy, Default)]
pub(super) struct FieldMembers<'a> {
    /// The value of the member with the whole name.
    whole: Option<&'a str>,
    /// The value of the member whose name is the part before the first dot.
    outer: Option<&'a str>,
}

impl<'a> FieldMembers<'a> {
    /// Examines a member. Of duplicate members the last one counts.
    pub(super) fn observe(&mut self, path: &str, name: &str, value: &'a str) {
        match match_path(path, name) {
            PathMatch::Field => self.whole = Some(value),
            PathMatch::Outer(_) => self.outer = Some(value),
            PathMatch::None => {}
        }
    }

    /// Whether the record satisfies the condition.
    pub(super) fn passes(self, condition: &Condition) -> Result<bool, Unreadable> {
        let any = |holds: &dyn Fn(&Value<'_>) -> bool| self.any(&condition.field, holds);
        match &condition.test {
            Test::OneOf(list) => any(&|value| list.iter().any(|scalar| equals(value, scalar))),
            Test::NoneOf(list) => {
                any(&|value| list.iter().any(|scalar| equals(value, scalar))).map(|any| !any)
            }
            Test::Compare(comparison, bound) => any(&|value| compares(value, *comparison, bound)),
            Test::Exists(wanted) => self.exists(&condition.field).map(|exists| exists == *wanted),
        }
    }

    /// Whether `holds` is true for one of the field's values. The values of an array are its elements.
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

    /// Whether `holds` is true for the field within the outer object, or within one object of an array. The
    /// recursion is limited by the number of dots in the name.
    fn inner(
        self,
        path: &str,
        holds: &dyn Fn(FieldMembers<'_>, &str) -> Result<bool, Unreadable>,
    ) -> Result<bool, Unreadable> {
        let (Some(value), Some((_, rest))) = (self.outer, path.split_once('.')) else {
            return Ok(false);
        };
        let in_object = |object: &str| {
            if !object.starts_with('{') {
                return Ok(false);
            }
            let mut found = FieldMembers::default();
            record::for_each_member(object.as_bytes(), &mut |name, value| {
                found.observe(rest, &name, value);
            })?;
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

/// Compares two values. Values of different types are never equal.
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

fn compares(value: &Value<'_>, comparison: Comparison, bound: &str) -> bool {
    let Value::Number(text) = value else { return false };
    let order = number::compare(text, bound);
    match comparison {
        Comparison::Above => order.is_gt(),
        Comparison::AtLeast => order.is_ge(),
        Comparison::Below => order.is_lt(),
        Comparison::AtMost => order.is_le(),
    }
}
