//! Builds changed objects and arrays from the unchanged text of their parts.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::Unreadable;
use crate::record;

/// A member of an object.
pub(super) struct Member<'a> {
    /// The unescaped name.
    pub(super) name: Cow<'a, str>,
    /// The value, as in the record.
    pub(super) value: Cow<'a, str>,
}

/// Returns the new text of a value: `None` if it is removed, owned if it changes.
type Change<'f, 'a> = dyn FnMut(&'a str) -> Result<Option<Cow<'a, str>>, Unreadable> + 'f;

/// As [`Change`], for the value of a member with this name.
type ChangeMember<'f, 'a> =
    dyn FnMut(&str, &'a str) -> Result<Option<Cow<'a, str>>, Unreadable> + 'f;

/// Changes the value of each member of an object. Returns the remaining members, and whether any was removed
/// or changed.
pub(super) fn change_members<'a>(
    object: &'a str,
    change: &mut ChangeMember<'_, 'a>,
) -> Result<(Vec<Member<'a>>, bool), Unreadable> {
    let mut members = Vec::new();
    let mut result = Ok(false);
    record::for_each_member(object.as_bytes(), &mut |name, value| {
        let Ok(changed) = &mut result else { return };
        match change(&name, value) {
            Ok(None) => *changed = true,
            Ok(Some(value)) => {
                *changed |= matches!(value, Cow::Owned(_));
                members.push(Member { name, value });
            }
            Err(unreadable) => result = Err(unreadable),
        }
    })?;
    result.map(|changed| (members, changed))
}

/// As [`change_members`], for an object within a record.
pub(super) fn change_object<'a>(
    object: &'a str,
    change: &mut ChangeMember<'_, 'a>,
) -> Result<Cow<'a, str>, Unreadable> {
    let (members, changed) = change_members(object, change)?;
    if !changed {
        return Ok(Cow::Borrowed(object));
    }
    let mut out = Vec::new();
    write_object(&members, "", &mut out)?;
    Ok(Cow::Owned(String::from_utf8_lossy(&out).into_owned()))
}

/// Changes each element of an array, or a value that is not an array.
pub(super) fn change_elements<'a>(
    value: &'a str,
    change: &mut Change<'_, 'a>,
) -> Result<Option<Cow<'a, str>>, Unreadable> {
    let Some(elements) = elements(value)? else { return change(value) };
    let (mut left, mut changed) = (Vec::new(), false);
    for element in elements {
        let element = change(element.get())?;
        changed |= !matches!(element, Some(Cow::Borrowed(_)));
        left.extend(element);
    }
    Ok(Some(if changed {
        Cow::Owned(format!("[{}]", left.join(",")))
    } else {
        Cow::Borrowed(value)
    }))
}

/// The elements of an array; `None` if the value is not an array.
pub(super) fn elements(value: &str) -> Result<Option<Vec<&RawValue>>, Unreadable> {
    if !value.starts_with('[') {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(value)?))
}

/// Writes an object of these members, and of `more` members as in JSON.
pub(super) fn write_object(
    members: &[Member<'_>],
    more: &str,
    out: &mut Vec<u8>,
) -> Result<(), Unreadable> {
    out.push(b'{');
    for (index, member) in members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, &member.name)?;
        out.push(b':');
        out.extend_from_slice(member.value.as_bytes());
    }
    if !members.is_empty() && !more.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(more.as_bytes());
    out.push(b'}');
    Ok(())
}
