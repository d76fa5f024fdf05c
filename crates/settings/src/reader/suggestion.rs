//! What a misspelled name may mean.

/// "did you mean" if a name is near, else all of them.
pub fn suggestion(found: &str, names: &[&str], otherwise: &str) -> String {
    match nearest(found, names) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "leave it out: this table has no keys".into(),
        None => format!("{otherwise} `{}`", names.join("`, `")),
    }
}

/// The name that `found` is most likely a slip for, if one is near.
pub fn nearest<'a>(found: &str, names: &[&'a str]) -> Option<&'a str> {
    let near = names.iter().copied().filter(|name| is_near(found, name));
    near.min_by_key(|name| strsim::damerau_levenshtein(found, name))
}

/// Whether one may be a slip for the other.
pub(super) fn is_near(found: &str, name: &str) -> bool {
    // As rustc: one slip in three letters.
    let slips = (found.len().max(name.len()) / 3).max(1);
    found.len() < 80
        && strsim::damerau_levenshtein(&found.to_ascii_lowercase(), &name.to_ascii_lowercase())
            <= slips
}
