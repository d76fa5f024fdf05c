//! The selection as in the configuration of a sink.

use std::fmt::Write as _;

use super::{added::AddedField, mask::FieldMask};

/// The batches and records that a sink receives, and the changes to their fields.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Choice {
    /// `datasets`; empty means all.
    pub datasets: Vec<String>,
    /// `endpoints`: endpoints that deliver to this sink; empty means all.
    pub endpoints: Vec<String>,
    /// `where`: a record must satisfy all conditions.
    pub conditions: Vec<Condition>,
    /// `keep_fields` or `drop_fields`.
    pub fields: Fields,
    /// `rename`: old and new names of fields. The new names are distinct.
    pub rename: Vec<(String, String)>,
    /// `mask`: fields, by their names before `rename`, and how to mask them. `a.b` is the field `b` of the
    /// object `a`. The names are distinct.
    pub masks: Vec<(String, FieldMask)>,
    /// `add_fields`: fields to add. The names are distinct, and no new names of `rename`.
    pub added: Vec<AddedField>,
}

impl Choice {
    /// Whether the sink receives this dataset of this endpoint, if the endpoint delivers to the sink.
    pub fn takes(&self, endpoint: &str, dataset: &str) -> bool {
        let has = |list: &[String], name: &str| {
            list.is_empty() || list.iter().any(|listed| listed == name)
        };
        has(&self.datasets, dataset) && has(&self.endpoints, endpoint)
    }

    /// Whether it can change the fields of records.
    pub fn changes_records(&self) -> bool {
        let Self { fields, rename, masks, added, .. } = self;
        *fields != Fields::All || !(rename.is_empty() && masks.is_empty() && added.is_empty())
    }

    /// Which records of a batch it takes and what it changes in them, as text: it changes when these settings
    /// do. Contains a digest of the key of `hash`, not the key. Not to be parsed.
    pub fn selection_text(&self) -> String {
        let Self { conditions, fields, rename, masks, added, .. } = self;
        let mut text = format!("{conditions:?} {fields:?} {rename:?}");
        // Without these keys, the text is the one of earlier versions, which checkpoints depend on.
        if !masks.is_empty() || !added.is_empty() {
            // Cannot fail: the text is in memory.
            write!(text, " {masks:?} {added:?}").ok();
        }
        text
    }

    /// Identifies the selection if it changes records. A record that has been through such a selection must
    /// not go through it again: a hash would be hashed, and `where` would test masked values. `None` if the
    /// records that it takes are the original ones.
    pub fn fingerprint(&self) -> Option<u32> {
        let hash = || blake3::hash(self.selection_text().as_bytes());
        self.changes_records()
            .then(|| hash().as_bytes().first_chunk().map_or(0, |first| u32::from_be_bytes(*first)))
    }

    /// Whether the sink gets every record of its batches unchanged.
    pub fn takes_all_records(&self) -> bool {
        self.conditions.is_empty() && !self.changes_records()
    }
}

/// One condition on a field of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Condition {
    /// The name of the field; `a.b` is the field `b` of the object `a`.
    pub field: String,
    /// The test of its value.
    pub test: Test,
}

/// A test of a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Test {
    /// The value is in this list, which is not empty.
    OneOf(Vec<Scalar>),
    /// `not`: the value is not in this list, which is not empty.
    NoneOf(Vec<Scalar>),
    /// `exists`: the field exists and is not `null` (`true`), or the opposite (`false`).
    Exists(bool),
    /// The value is a number that compares in this way with a number in JSON.
    Compare(Comparison, String),
}

/// A comparison of two numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Comparison {
    /// `gt`
    Above,
    /// `ge`
    AtLeast,
    /// `lt`
    Below,
    /// `le`
    AtMost,
}

/// A value that a field is compared with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scalar {
    /// A string, without quotes and escapes.
    String(String),
    /// A number as in JSON, of any precision.
    Number(String),
    /// `true` or `false`.
    Bool(bool),
}

/// The fields of a record that are passed on, by their names before `rename`. `a.b` is the field `b` of
/// the object `a`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Fields {
    /// All fields.
    #[default]
    All,
    /// `keep_fields`: only these fields; at least one.
    Keep(Vec<String>),
    /// `drop_fields`: all fields except these; at least one.
    Drop(Vec<String>),
}
