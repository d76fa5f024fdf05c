//! Shortens a JSON message by whole members, so that it stays valid.
//!
//! Removes the longest members first, so that the fewest are removed, and lists them in a member.

use std::{borrow::Cow, collections::HashMap, fmt};

use serde::{
    Deserializer as _,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::shorten::{DROPPED_KEY, NAMES_BYTES};

/// Appends `record` in at most `max` bytes, without its longest members and with a list of these.
/// Returns whether that is possible; if not, nothing is appended. The other members are copied byte
/// by byte.
pub(super) fn shorten(record: &[u8], max: usize, out: &mut Vec<u8>) -> bool {
    let Some(fields) = Fields::of(record) else { return false };
    let mut dropped =
        DroppedField { key: fields.dropped_key(), names: Vec::new(), length: 0, is_whole: true };
    let mut longest: Vec<_> = fields.list.iter().enumerate().collect();
    longest.sort_by_key(|(_, field)| usize::MAX - field.length);
    let mut is_kept = vec![true; fields.list.len()];
    // Braces, and each member with the comma after it.
    let mut length = 2 + fields.list.iter().map(|field| field.length).sum::<usize>();
    for (index, field) in longest {
        if length + dropped.length() <= max && !dropped.names.is_empty() {
            break;
        }
        if let Some(is_kept) = is_kept.get_mut(index) {
            *is_kept = false;
        }
        length -= field.length;
        dropped.add(field.name);
    }
    if length + dropped.length() > max {
        return false;
    }
    out.push(b'{');
    for member in &fields.members {
        if is_kept.get(member.field) == Some(&true) {
            out.extend_from_slice(member.name.as_bytes());
            out.push(b':');
            out.extend_from_slice(member.value.as_bytes());
            out.push(b',');
        }
    }
    out.extend_from_slice(
        format!("\"{}\":[{}]}}", dropped.key, dropped.names.join(",")).as_bytes(),
    );
    true
}

/// The members of an object, in their order.
#[derive(Default)]
struct Fields<'a> {
    members: Vec<Member<'a>>,
    /// All members of one name are kept or removed together. Parsers use one of them, and must not
    /// get another one because that was the longest.
    list: Vec<Field<'a>>,
    /// The index of a name, without its escapes, in the list.
    indexes: HashMap<Cow<'a, str>, usize>,
}

struct Member<'a> {
    /// With its quotes.
    name: &'a str,
    value: &'a str,
    field: usize,
}

struct Field<'a> {
    name: &'a str,
    /// The length of all its members, with colons and commas.
    length: usize,
}

impl<'a> Fields<'a> {
    fn of(record: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(record).ok()?;
        serde_json::Deserializer::from_str(text).deserialize_map(Self::default()).ok()
    }

    fn add(&mut self, name: &'a str, value: &'a str) {
        // A name with an unpaired surrogate is not valid text and is compared with its escapes.
        let plain = serde_json::from_str(name).map_or(Cow::Borrowed(name), Cow::<str>::Owned);
        let field = *self.indexes.entry(plain).or_insert(self.list.len());
        let length = name.len() + value.len() + ":,".len();
        match self.list.get_mut(field) {
            Some(field) => field.length += length,
            None => self.list.push(Field { name, length }),
        }
        self.members.push(Member { name, value, field });
    }

    /// Returns a name that no member has.
    fn dropped_key(&self) -> String {
        let numbered = (2..).map(|number| format!("{DROPPED_KEY}{number}"));
        let mut keys = std::iter::once(DROPPED_KEY.to_owned()).chain(numbered);
        keys.find(|key| !self.indexes.contains_key(key.as_str())).unwrap_or_default()
    }
}

impl<'a> Visitor<'a> for Fields<'a> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some((name, value)) = map.next_entry::<&'a RawValue, &'a RawValue>()? {
            self.add(name.get(), value.get());
        }
        Ok(self)
    }
}

/// The member that lists the removed members.
struct DroppedField<'a> {
    key: String,
    /// With their quotes.
    names: Vec<&'a str>,
    /// The length of the names and the commas between them.
    length: usize,
    /// Whether all names are in the list.
    is_whole: bool,
}

impl<'a> DroppedField<'a> {
    fn add(&mut self, name: &'a str) {
        if !self.is_whole {
            return;
        }
        self.is_whole = self.length + name.len() < NAMES_BYTES;
        let name = if self.is_whole { name } else { "\"...\"" };
        self.length += name.len() + usize::from(!self.names.is_empty());
        self.names.push(name);
    }

    fn length(&self) -> usize {
        "\"\":[]".len() + self.key.len() + self.length
    }
}
