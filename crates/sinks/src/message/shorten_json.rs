//! Makes a JSON message shorter by whole members, so that it stays an object that readers take.
//!
//! The longest members go first: then the fewest go. A member of its own lists them.

use std::{borrow::Cow, collections::HashMap, fmt};

use serde::{
    Deserializer as _,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::shorten::{NAMES_BYTES, NOTE};

/// Appends `record` without its longest members, in at most `max` bytes, and with a list of those that
/// are missing. Returns whether that is possible; if not, nothing is appended. What is kept is kept as it
/// came, number by number.
pub(super) fn shorten(record: &[u8], max: usize, out: &mut Vec<u8>) -> bool {
    let Some(fields) = Fields::of(record) else { return false };
    let mut note = Note { key: fields.note_key(), names: Vec::new(), length: 0, is_whole: true };
    let mut longest: Vec<_> = fields.list.iter().enumerate().collect();
    longest.sort_by_key(|(_, field)| usize::MAX - field.length);
    let mut is_kept = vec![true; fields.list.len()];
    // Braces, and each member with the comma behind it.
    let mut length = 2 + fields.list.iter().map(|field| field.length).sum::<usize>();
    for (place, field) in longest {
        if length + note.length() <= max && !note.names.is_empty() {
            break;
        }
        if let Some(is_kept) = is_kept.get_mut(place) {
            *is_kept = false;
        }
        length -= field.length;
        note.add(field.name);
    }
    if length + note.length() > max {
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
    out.extend_from_slice(format!("\"{}\":[{}]}}", note.key, note.names.join(",")).as_bytes());
    true
}

/// The members of an object, in their order.
#[derive(Default)]
struct Fields<'a> {
    members: Vec<Member<'a>>,
    /// What is kept or left out as one: all members of one name. Readers take one of them, and must not
    /// get another because that one was the longest.
    list: Vec<Field<'a>>,
    /// Where a name, without its escapes, is in the list.
    places: HashMap<Cow<'a, str>, usize>,
}

struct Member<'a> {
    /// In its quotes.
    name: &'a str,
    value: &'a str,
    field: usize,
}

struct Field<'a> {
    name: &'a str,
    /// Of all its members, with colons and commas.
    length: usize,
}

impl<'a> Fields<'a> {
    fn of(record: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(record).ok()?;
        serde_json::Deserializer::from_str(text).deserialize_map(Self::default()).ok()
    }

    fn add(&mut self, name: &'a str, value: &'a str) {
        // Half of a surrogate pair is no text; such a name is compared as it stands.
        let plain = serde_json::from_str(name).map_or(Cow::Borrowed(name), Cow::<str>::Owned);
        let field = *self.places.entry(plain).or_insert(self.list.len());
        let length = name.len() + value.len() + ":,".len();
        match self.list.get_mut(field) {
            Some(field) => field.length += length,
            None => self.list.push(Field { name, length }),
        }
        self.members.push(Member { name, value, field });
    }

    /// A name that no member has.
    fn note_key(&self) -> String {
        let numbered = (2..).map(|number| format!("{NOTE}{number}"));
        let mut keys = std::iter::once(NOTE.to_owned()).chain(numbered);
        keys.find(|key| !self.places.contains_key(key.as_str())).unwrap_or_default()
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

/// The member that lists what was left out.
struct Note<'a> {
    key: String,
    /// In their quotes.
    names: Vec<&'a str>,
    /// Of the names and the commas between them.
    length: usize,
    /// Whether all names are in it.
    is_whole: bool,
}

impl<'a> Note<'a> {
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
