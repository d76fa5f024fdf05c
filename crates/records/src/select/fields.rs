//! Removes and renames fields of records.

use std::borrow::Cow;

use super::{
    PathMatch, Unreadable,
    choice::{Choice, Fields},
    condition::elements,
    match_path,
};
use crate::record;

/// Appends the changed record without a line end. Returns `false` and appends nothing if the record does
/// not change.
pub(super) fn rewrite(
    record: &str,
    choice: &Choice,
    out: &mut Vec<u8>,
) -> Result<bool, Unreadable> {
    let (mut members, mut changed) = left(record, &choice.fields)?;
    let mut renamed = Vec::new();
    for member in &mut members {
        if let Some((_, new)) = choice.rename.iter().find(|(old, _)| *old == member.name) {
            renamed.push(new.as_str());
            member.name = Cow::Owned(new.clone());
            member.is_renamed = true;
            changed = true;
        }
    }
    if !changed {
        return Ok(false);
    }
    // Names stay unique: a renamed member replaces a member that had its new name.
    members.retain(|member| member.is_renamed || !renamed.contains(&member.name.as_ref()));
    write(&members, out)?;
    Ok(true)
}

struct Member<'a> {
    /// The unescaped name.
    name: Cow<'a, str>,
    value: Cow<'a, str>,
    is_renamed: bool,
}

fn write(members: &[Member<'_>], out: &mut Vec<u8>) -> Result<(), Unreadable> {
    out.push(b'{');
    for (index, member) in members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, &member.name)?;
        out.push(b':');
        out.extend_from_slice(member.value.as_bytes());
    }
    out.push(b'}');
    Ok(())
}

/// The remaining members of an object, and whether any were removed.
fn left<'a>(object: &'a str, fields: &Fields) -> Result<(Vec<Member<'a>>, bool), Unreadable> {
    let (paths, mode): (Vec<&str>, _) = match fields {
        Fields::All => (Vec::new(), Mode::Drop),
        Fields::Keep(list) => (list.iter().map(String::as_str).collect(), Mode::Keep),
        Fields::Drop(list) => (list.iter().map(String::as_str).collect(), Mode::Drop),
    };
    left_of_object(object, &paths, mode)
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Mode {
    Keep,
    Drop,
}

fn left_of_object<'a>(
    object: &'a str,
    paths: &[&str],
    mode: Mode,
) -> Result<(Vec<Member<'a>>, bool), Unreadable> {
    let mut members = Vec::new();
    let mut result = Ok(false);
    record::for_each_member(object.as_bytes(), &mut |name, value| {
        let Ok(changed) = &mut result else { return };
        match left_of_member(&name, value, paths, mode) {
            Ok(None) => *changed = true,
            Ok(Some(value)) => {
                *changed |= matches!(value, Cow::Owned(_));
                members.push(Member { name, value, is_renamed: false });
            }
            Err(unreadable) => result = Err(unreadable),
        }
    })?;
    result.map(|changed| (members, changed))
}

/// The remaining value of a member: `None` if it is removed, owned if a part of it is.
fn left_of_member<'a>(
    name: &str,
    value: &'a str,
    paths: &[&str],
    mode: Mode,
) -> Result<Option<Cow<'a, str>>, Unreadable> {
    let mut inner = Vec::new();
    for path in paths {
        match match_path(path, name) {
            PathMatch::Field => return Ok((mode == Mode::Keep).then_some(Cow::Borrowed(value))),
            PathMatch::Outer(rest) => inner.push(rest),
            PathMatch::None => {}
        }
    }
    if inner.is_empty() {
        return Ok((mode == Mode::Drop).then_some(Cow::Borrowed(value)));
    }
    let Some(elements) = elements(value)? else { return left_of_part(value, &inner, mode) };
    let (mut left, mut changed) = (Vec::new(), false);
    for element in elements {
        let part = left_of_part(element.get(), &inner, mode)?;
        changed |= !matches!(part, Some(Cow::Borrowed(_)));
        left.extend(part);
    }
    Ok(Some(if changed {
        Cow::Owned(format!("[{}]", left.join(",")))
    } else {
        Cow::Borrowed(value)
    }))
}

/// The remaining part of a value whose inner fields are listed. A value that is not an object has no inner
/// fields.
fn left_of_part<'a>(
    value: &'a str,
    paths: &[&str],
    mode: Mode,
) -> Result<Option<Cow<'a, str>>, Unreadable> {
    if !value.starts_with('{') {
        return Ok((mode == Mode::Drop).then_some(Cow::Borrowed(value)));
    }
    let (members, changed) = left_of_object(value, paths, mode)?;
    if !changed {
        return Ok(Some(Cow::Borrowed(value)));
    }
    let mut out = Vec::new();
    write(&members, &mut out)?;
    Ok(Some(Cow::Owned(String::from_utf8_lossy(&out).into_owned())))
}
