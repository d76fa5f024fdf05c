//! Which records of a block a sink takes, and what it sees of them. Pure: the same block and choice
//! always give the same bytes, and the exactly-once of the file sink rests on that.
//!
//! What is not changed is copied as it came; a block of which nothing is left out or changed is not
//! even copied.

mod choice;
mod condition;
mod fields;
mod number;

use std::borrow::Cow;

pub use self::choice::{Choice, Comparison, Condition, Fields, Scalar, Test};
use self::condition::Found;
use crate::{decode::Block, record};

/// What a sink takes of the records of its batches.
#[derive(Clone, Debug)]
pub struct Selection {
    choice: Choice,
}

/// A member's name holds half of a surrogate pair: nothing else keeps a record from being looked into.
#[derive(Debug)]
struct Unreadable;

impl From<serde_json::Error> for Unreadable {
    fn from(_: serde_json::Error) -> Self {
        Self
    }
}

impl Selection {
    /// `None` if the sink takes all records as they are.
    pub fn new(choice: &Choice) -> Option<Self> {
        let takes_all = choice.conditions.is_empty()
            && choice.fields == Fields::All
            && choice.rename.is_empty();
        (!takes_all).then(|| Self { choice: choice.clone() })
    }

    /// The records of the block that pass, as the sink is to see them. Rejects are left behind if
    /// anything is.
    ///
    /// A record that cannot be looked into does not pass: it may hold what must be dropped.
    pub fn apply<'b>(&self, block: &'b Block) -> Cow<'b, Block> {
        let Ok(text) = std::str::from_utf8(&block.bytes) else {
            return Cow::Owned(Block::default());
        };
        let mut found = vec![Found::default(); self.choice.conditions.len()];
        let (mut selected, mut records) = (Vec::new(), 0);
        // Up to where the block is taken care of: what follows, up to the record under way, passes as
        // it is, and is copied at once.
        let mut done = 0;
        let mut at = 0;
        let mut rewritten = Vec::new();
        for line in text.split_inclusive('\n') {
            let begin = at;
            at += line.len();
            rewritten.clear();
            let verdict = self.judge(line.trim_end_matches('\n'), &mut found, &mut rewritten);
            records += u64::from(verdict != Verdict::LeftOut);
            if verdict == Verdict::Same {
                continue;
            }
            selected.extend_from_slice(block.bytes.get(done..begin).unwrap_or_default());
            if verdict == Verdict::Changed {
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

    fn judge<'a>(
        &self,
        record: &'a str,
        found: &mut [Found<'a>],
        rewritten: &mut Vec<u8>,
    ) -> Verdict {
        match self.passes(record, found) {
            Ok(true) => {}
            Ok(false) | Err(Unreadable) => return Verdict::LeftOut,
        }
        if self.choice.fields == Fields::All && self.choice.rename.is_empty() {
            return Verdict::Same;
        }
        match fields::rewrite(record, &self.choice, rewritten) {
            Ok(true) => Verdict::Changed,
            Ok(false) => Verdict::Same,
            Err(Unreadable) => Verdict::LeftOut,
        }
    }

    fn passes<'a>(&self, record: &'a str, found: &mut [Found<'a>]) -> Result<bool, Unreadable> {
        let conditions = &self.choice.conditions;
        if conditions.is_empty() {
            return Ok(true);
        }
        found.fill(Found::default());
        record::each(record.as_bytes(), &mut |name, value| {
            for (condition, found) in conditions.iter().zip(&mut *found) {
                found.see(&condition.field, &name, value);
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

/// What becomes of a record.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Verdict {
    LeftOut,
    Same,
    Changed,
}

/// Where a member stands on the way to a field.
enum Step<'p> {
    /// It is the field.
    Here,
    /// The field is in it, under the rest of the name.
    Into(&'p str),
    /// Neither.
    Past,
}

fn step<'p>(path: &'p str, name: &str) -> Step<'p> {
    if path == name {
        return Step::Here;
    }
    match path.split_once('.') {
        Some((outer, rest)) if outer == name => Step::Into(rest),
        _ => Step::Past,
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
