//! Masks, removes, renames and adds fields of records, in this order.

use std::borrow::Cow;

use super::{
    PathMatch, Unreadable,
    choice::{Choice, Fields},
    mask::{MaskRule, mask_member},
    match_path,
    rebuild::{Member, change_elements, change_members, change_object, write_object},
};

/// Appends the changed record without a line end. Returns `false` and appends nothing if the record does
/// not change. `added` are the members to add, as in JSON.
pub(super) fn rewrite(
    record: &str,
    choice: &Choice,
    added: &str,
    out: &mut Vec<u8>,
) -> Result<bool, Unreadable> {
    let (mut members, mut changed) = left(record, choice)?;
    changed |= rename(&mut members, &choice.rename);
    if !changed && added.is_empty() {
        return Ok(false);
    }
    // Names stay unique: an added member replaces those that have its name.
    members.retain(|member| choice.added.iter().all(|field| field.name != member.name));
    write_object(&members, added, out)?;
    Ok(true)
}

/// Renames members. Returns whether any was renamed.
fn rename(members: &mut Vec<Member<'_>>, names: &[(String, String)]) -> bool {
    let new_name = |name: &str| {
        let pair = names.iter().find(|(old, _)| old == name);
        pair.map(|(_, new)| new.as_str())
    };
    let renamed: Vec<&str> = members.iter().filter_map(|member| new_name(&member.name)).collect();
    if renamed.is_empty() {
        return false;
    }
    // Names stay unique: a renamed member replaces a member that had its new name.
    members.retain(|member| {
        new_name(&member.name).is_some() || !renamed.contains(&member.name.as_ref())
    });
    for member in members {
        if let Some(new) = new_name(&member.name) {
            member.name = Cow::Owned(new.to_owned());
        }
    }
    true
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Mode {
    Keep,
    Drop,
}

/// The remaining members of a record with masked values, and whether any was removed or changed.
fn left<'a>(record: &'a str, choice: &Choice) -> Result<(Vec<Member<'a>>, bool), Unreadable> {
    let (paths, mode): (Vec<&str>, _) = match &choice.fields {
        Fields::All => (Vec::new(), Mode::Drop),
        Fields::Keep(list) => (list.iter().map(String::as_str).collect(), Mode::Keep),
        Fields::Drop(list) => (list.iter().map(String::as_str).collect(), Mode::Drop),
    };
    let rules: Vec<_> = choice.masks.iter().map(|(path, mask)| MaskRule { path, mask }).collect();
    change_members(record, &mut |name, value| match mask_member(name, value, &rules)? {
        None => Ok(None),
        Some(Cow::Borrowed(value)) => left_of_member(name, value, &paths, mode),
        Some(Cow::Owned(masked)) => {
            let left = left_of_member(name, &masked, &paths, mode)?;
            Ok(left.map(|left| Cow::Owned(left.into_owned())))
        }
    })
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
    change_elements(value, &mut |element| left_of_part(element, &inner, mode))
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
    change_object(value, &mut |name, value| left_of_member(name, value, paths, mode)).map(Some)
}
