//! Selects the records of a block for a sink, and changes their fields. Pure: the same block, batch and
//! choice always give the same bytes. The exactly-once guarantee of the file sink depends on that.
//!
//! The order: `where` tests the original record; then values are masked, fields removed, renamed and added.
//! Unchanged records are copied byte for byte. A block without changes is not copied.

mod added;
mod choice;
mod condition;
mod fields;
mod hash_key;
mod mask;
mod number;
mod rebuild;
mod truncate;

use std::borrow::Cow;

use self::condition::FieldMembers;
pub use self::{
    added::{AddedField, AddedValue, BatchInfo, TextTemplate},
    choice::{Choice, Comparison, Condition, Fields, Scalar, Test},
    hash_key::HashKey,
    mask::FieldMask,
};
use crate::{decode::Block, record};

/// The selection of a sink.
#[derive(Clone, Debug)]
pub struct Selection {
    choice: Choice,
}

/// The error of a valid record whose members cannot be read: a name contains a lone surrogate.
#[derive(Debug)]
struct Unreadable;

impl From<serde_json::Error> for Unreadable {
    fn from(_: serde_json::Error) -> Self {
        Self
    }
}

impl Selection {
    /// Creates a selection; `None` if the sink receives all records unchanged.
    pub fn new(choice: &Choice) -> Option<Self> {
        (!choice.takes_all_records()).then(|| Self { choice: choice.clone() })
    }

    /// Applies the selection to a block of the batch `of`. If anything changes, the result contains no
    /// rejects.
    ///
    /// A record whose members cannot be read is excluded, since it may contain fields that must be masked or
    /// dropped.
    pub fn apply<'b>(&self, block: &'b Block, of: &BatchInfo<'_>) -> Cow<'b, Block> {
        let Ok(text) = std::str::from_utf8(&block.bytes) else {
            return Cow::Owned(Block::default());
        };
        let mut found = vec![FieldMembers::default(); self.choice.conditions.len()];
        let (mut selected, mut records) = (Vec::new(), 0);
        // The offset up to which the block is processed. Unchanged records after it are copied together.
        let mut done = 0;
        let mut at = 0;
        let mut rewritten = Vec::new();
        let added = added::render(&self.choice.added, of);
        for line in text.split_inclusive('\n') {
            let start = at;
            at += line.len();
            rewritten.clear();
            let record = line.trim_end_matches('\n');
            let result = self.select(record, &added, &mut found, &mut rewritten);
            records += u64::from(result != Selected::Excluded);
            if result == Selected::Unchanged {
                continue;
            }
            selected.extend_from_slice(block.bytes.get(done..start).unwrap_or_default());
            if result == Selected::Changed {
                selected.extend_from_slice(&rewritten);
                selected.push(b'\n');
            }
            done = at;
        }
        if done == 0 {
            return Cow::Borrowed(block);
        }
        selected.extend_from_slice(block.bytes.get(done..).unwrap_or_default());
        Cow::Owned(Block { bytes: selected, records, rejects: Vec::new() })
    }

    /// Selects one record. A changed record is written to `rewritten`, with the members `added`.
    fn select<'a>(
        &self,
        record: &'a str,
        added: &str,
        found: &mut [FieldMembers<'a>],
        rewritten: &mut Vec<u8>,
    ) -> Selected {
        match self.passes(record, found) {
            Ok(true) => {}
            Ok(false) | Err(Unreadable) => return Selected::Excluded,
        }
        if !self.choice.changes_records() {
            return Selected::Unchanged;
        }
        match fields::rewrite(record, &self.choice, added, rewritten) {
            Ok(true) => Selected::Changed,
            Ok(false) => Selected::Unchanged,
            Err(Unreadable) => Selected::Excluded,
        }
    }

    fn passes<'a>(
        &self,
        record: &'a str,
        found: &mut [FieldMembers<'a>],
    ) -> Result<bool, Unreadable> {
        let conditions = &self.choice.conditions;
        if conditions.is_empty() {
            return Ok(true);
        }
        found.fill(FieldMembers::default());
        record::for_each_member(record.as_bytes(), &mut |name, value| {
            for (condition, found) in conditions.iter().zip(&mut *found) {
                found.observe(&condition.field, &name, value);
            }
        })?;
        for (condition, found) in conditions.iter().zip(found) {
            if !found.passes(condition)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The result of selecting a record.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Selected {
    Excluded,
    Unchanged,
    Changed,
}

/// How the name of a member matches the path of a field.
enum PathMatch<'p> {
    /// The member is the field.
    Field,
    /// The member contains the field, with the rest of the path.
    Outer(&'p str),
    /// The member does not match.
    None,
}

fn match_path<'p>(path: &'p str, name: &str) -> PathMatch<'p> {
    if path == name {
        return PathMatch::Field;
    }
    match path.split_once('.') {
        Some((outer, rest)) if outer == name => PathMatch::Outer(rest),
        _ => PathMatch::None,
    }
}

#[cfg(test)]
mod mask_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
