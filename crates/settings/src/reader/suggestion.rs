//! Suggestions for misspelled names.

/// Suggests the most similar name, or lists all names after `otherwise` if none is similar.
pub fn suggestion(found: &str, names: &[&str], otherwise: &str) -> String {
    match nearest(found, names) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "remove it: this table has no keys".into(),
        None => format!("{otherwise} `{}`", names.join("`, `")),
    }
}

/// The name most similar to `found`, if it is similar enough for a typing error.
pub fn nearest<'a>(found: &str, names: &[&'a str]) -> Option<&'a str> {
    let near = names.iter().copied().filter(|name| is_near(found, name));
    near.min_by_key(|name| strsim::damerau_levenshtein(found, name))
}

/// Whether one name may be a misspelling of the other.
pub(super) fn is_near(found: &str, name: &str) -> bool {
    // As in rustc: one error in three letters.
    let max_errors = (found.len().max(name.len()) / 3).max(1);
    found.len() < 80
        && strsim::damerau_levenshtein(&found.to_ascii_lowercase(), &name.to_ascii_lowercase())
            <= max_errors
}
