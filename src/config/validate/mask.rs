//! The keys of every sink that mask fields.

use std::path::PathBuf;

use records::select::{FieldMask, HashKey};
use settings::{
    Context, Diagnostic, Setting as _, Spanned, Table, Value, reference::Takes, secret_file,
    setting, words,
};

use crate::config::sink::Keys;

/// Fields, by name, and how to mask them.
type Masks = Vec<(Spanned<String>, MaskWord)>;

setting! {
    /// Names of fields and how to mask them, at least one.
    pub struct FieldMasks(Masks): Takes::Names("fields and masks"), read by field_masks;
}

setting! {
    /// A file whose first line is a key.
    pub struct HashKeyFile(KeyFile): Takes::String("path"), read by key_file;
}

words! {
    /// The values in `mask`.
    pub enum MaskWord {
        /// Replaces an IP address by the address of its network.
        Truncate = "truncate",
        /// Replaces a value by a keyed hash.
        Hash = "hash",
        /// Replaces a value by a fixed word.
        Redact = "redact",
    }
}

/// A file, and the key in it.
type KeyFile = (PathBuf, HashKey);

const MISSING_KEY: &str = "create it with a key as its first line, such as one from \
                           openssl rand -hex 32";

fn field_masks(value: &Value<'_>, cx: &mut Context) -> Option<Masks> {
    let entries = value.entries(cx)?;
    if entries.is_empty() {
        let hint = "write { FIELD = \"redact\" }, or remove `mask`";
        cx.push(value.problem("`mask` is empty").hint(hint));
    }
    let mut masks = Masks::new();
    for (field, word) in entries {
        if field.get_ref().is_empty() {
            let problem = Diagnostic::at(field.span(), "an empty name in `mask`");
            cx.push(problem.hint("write the name of a field"));
        }
        if word.as_entries().is_some() {
            let hint = "put the name of a member of an object in quotes, such as \"a.b\"";
            cx.push(word.wrong_type("a string").hint(hint));
        } else if let Some(word) = MaskWord::read(&word, cx) {
            masks.push((field, word));
        }
    }
    Some(masks)
}

fn key_file(value: &Value<'_>, cx: &mut Context) -> Option<KeyFile> {
    let path = value.input(cx)?.into_inner();
    let mut secret = String::new();
    if cx.reads_files() {
        match secret_file::read_first_line(&path) {
            Ok(line) => secret = line,
            Err(error) => {
                let hint = error.hint(MISSING_KEY, cx);
                cx.push(value.problem(error.message()).hint(hint));
                return None;
            }
        }
    }
    Some((path, HashKey::new(secret.as_bytes())))
}

/// Returns the masks of a sink. If a key is invalid, the result is never used.
pub(super) fn masks(
    masks: &[(Spanned<String>, MaskWord)],
    key_file: Option<&KeyFile>,
) -> Vec<(String, FieldMask)> {
    let mask = |word| match (word, key_file) {
        (MaskWord::Truncate, _) => FieldMask::Truncate,
        (MaskWord::Hash, Some((_, key))) => FieldMask::Hash(key.clone()),
        (MaskWord::Hash, None) | (MaskWord::Redact, _) => FieldMask::Redact,
    };
    masks.iter().map(|(field, word)| (field.get_ref().clone(), mask(*word))).collect()
}

/// Checks `mask` against `mask_key_file` and `rename`.
pub(super) fn check(keys: &Keys, table: &Table<'_>, cx: &mut Context) {
    let hashed = keys.mask.iter().find(|(_, word)| *word == MaskWord::Hash);
    match hashed {
        Some((field, _)) if !table.contains("mask_key_file") => {
            let message = format!(
                "`{}` cannot be hashed: `mask_key_file` is missing",
                field.get_ref().escape_debug()
            );
            let hint = "name a file whose first line is a key, such as one from \
                        openssl rand -hex 32";
            cx.push_incomplete(Diagnostic::at(field.span(), message).hint(hint));
        }
        None if keys.mask_key_file.is_some() && table.is_valid("mask") => {
            let message = "`mask_key_file` has no effect: no field in `mask` is hashed";
            cx.warn(table.problem_at("mask_key_file", message).hint("remove it"));
        }
        _ => {}
    }
    // A mask for the new name only would pass on the values.
    let masks = |name: &str| {
        let part_of = format!("{name}.");
        let mut fields = keys.mask.iter().map(|(field, _)| field);
        fields.find(|field| *field.get_ref() == name || field.get_ref().starts_with(&part_of))
    };
    for (old, new) in &keys.rename {
        let (from, to) = (old.get_ref(), new.get_ref());
        let is_renamed = keys.rename.iter().any(|(old, _)| old.get_ref() == to);
        if let (Some(field), None, false) = (masks(to), masks(from), is_renamed) {
            let (from, to) = (from.escape_debug(), to.escape_debug());
            let message = format!("`{to}` is the new name of `{from}`, which is not masked");
            let hint = format!("write the original name, `{from}`");
            cx.push(Diagnostic::at(field.span(), message).hint(hint));
        }
    }
}
