//! Records with fewer fields, or with other names for them.

use std::borrow::Cow;

use super::{
    Step, Unreadable,
    choice::{Choice, Fields},
    condition::elements,
    step,
};
use crate::record;

/// Appends the record as the sink is to see it, without the line's end. `false`, and nothing is
/// appended, if that is what it is already.
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
    // A name stands once: what was renamed takes the place of what had the name before.
    members.retain(|member| member.is_renamed || !renamed.contains(&member.name.as_ref()));
    write(&members, out)?;
    Ok(true)
}

struct Member<'a> {
    /// Without its escapes.
    name: Cow<'a, str>,
    value: Cow<'a, str>,
    is_renamed: bool,
}

fn write(members: &[Member<'_>], out: &mut Vec<u8>) -> Result<(), Unreadable> {
    out.push(b'{');
    for (place, member) in members.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, &member.name)?;
        out.push(b':');
        out.extend_from_slice(member.value.as_bytes());
    }
    out.push(b'}');
    Ok(())
}

/// What is left of the members of an object, and whether that is not all of it.
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
    let mut outcome = Ok(false);
    record::each(object.as_bytes(), &mut |name, value| {
        let Ok(changed) = &mut outcome else { return };
        match left_of_member(&name, value, paths, mode) {
            Ok(None) => *changed = true,
            Ok(Some(value)) => {
                *changed |= matches!(value, Cow::Owned(_));
                members.push(Member { name, value, is_renamed: false });
            }
            Err(unreadable) => outcome = Err(unreadable),
        }
    })?;
    outcome.map(|changed| (members, changed))
}

/// `None` if nothing is left; owned if not all of it is.
fn left_of_member<'a>(
    name: &str,
    value: &'a str,
    paths: &[&str],
    mode: Mode,
) -> Result<Option<Cow<'a, str>>, Unreadable> {
    let mut inner = Vec::new();
    for path in paths {
        match step(path, name) {
            Step::Here => return Ok((mode == Mode::Keep).then_some(Cow::Borrowed(value))),
            Step::Into(rest) => inner.push(rest),
            Step::Past => {}
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

/// The same for what fields are named in: an object. Of anything else all is left or nothing.
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
