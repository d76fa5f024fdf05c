//! The members of one record, and which of them are in the message.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use jiff::Timestamp;
use records::record::{self, EventTime, Value};

/// The members of a record, in order. Of several members with one name, the last one counts, as in
/// most JSON parsers.
#[derive(Debug)]
pub(crate) struct Members<'a> {
    list: Vec<Member<'a>>,
    /// The index of each name in the list: an unusual record may have very many members.
    indexes: HashMap<Cow<'a, str>, usize>,
    time: EventTime,
    are_read: bool,
}

#[derive(Debug)]
struct Member<'a> {
    name: Cow<'a, str>,
    value: Value<'a>,
    is_written: bool,
}

impl<'a> Members<'a> {
    pub(crate) fn of(dataset: &str, record: &'a [u8]) -> Self {
        // More members than most datasets have.
        let mut list: Vec<Member<'a>> = Vec::with_capacity(96);
        let mut indexes = HashMap::with_capacity(96);
        let mut time = EventTime::new(dataset);
        let read = record::for_each_member(record, &mut |name, value| {
            time.observe(&name, value);
            let value = Value::of(value);
            let index = *indexes.entry(name.clone()).or_insert(list.len());
            match list.get_mut(index) {
                Some(member) => member.value = value,
                None => list.push(Member { name, value, is_written: false }),
            }
        });
        if read.is_err() {
            list.clear();
            indexes.clear();
        }
        Self { list, indexes, time, are_read: read.is_ok() }
    }

    pub(crate) fn are_read(&self) -> bool {
        self.are_read
    }

    pub(crate) fn time(&self) -> Option<Timestamp> {
        self.time.get().filter(|_| self.are_read)
    }

    fn find(&self, name: &str) -> Option<&Value<'a>> {
        let member = self.list.get(*self.indexes.get(name)?)?;
        Some(&member.value)
    }

    /// The value of a member as text; `None` if it is empty.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        let value = self.find(name)?;
        (!is_empty(value)).then(|| value.clone().into_text())
    }

    /// The value of a member as text; `None` if it is empty, unknown, an array or an object.
    pub(super) fn word(&self, name: &str) -> Option<Cow<'a, str>> {
        let text = match self.find(name)? {
            Value::Composite(_) => return None,
            value => value.clone().into_text(),
        };
        (!text.is_empty() && !super::is_unknown(&text)).then_some(text)
    }

    /// The value of a member as a time.
    pub(super) fn time_of(&self, name: &str) -> Option<Timestamp> {
        self.find(name)?.time()
    }

    /// The strings of an array, joined with commas. `None` for anything else.
    pub(super) fn list(&self, name: &str) -> Option<String> {
        let Value::Composite(text) = self.find(name)? else { return None };
        let strings: Vec<Cow<'_, str>> = serde_json::from_str(text).ok()?;
        let list = strings.join(",");
        (!list.is_empty()).then_some(list)
    }

    /// Notes that a member is in the message.
    pub(super) fn set_written(&mut self, name: &str) {
        let index = self.indexes.get(name);
        if let Some(member) = index.and_then(|index| self.list.get_mut(*index)) {
            member.is_written = true;
        }
    }

    /// The names and values of all members, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.list.iter().map(|member| (member.name.as_ref(), &member.value))
    }

    /// The members that are not in the message yet, under unique keys that are in no dictionary.
    pub(super) fn rest(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let mut generated = GeneratedKeys::default();
        let left = |member: &&Member<'a>| !member.is_written && !is_empty(&member.value);
        self.list.iter().filter(left).map(move |member| {
            let key = if is_key(&member.name) {
                Cow::Borrowed(member.name.as_ref())
            } else {
                Cow::Owned(generated.key(&member.name, |key| self.indexes.contains_key(key)))
            };
            (key, member.value.clone().into_text())
        })
    }
}

/// Generates keys for names that are not valid keys.
#[derive(Debug, Default)]
struct GeneratedKeys {
    keys: HashSet<String>,
    /// How often each key without its number was generated.
    counts: HashMap<String, u32>,
}

impl GeneratedKeys {
    fn key(&mut self, name: &str, is_taken: impl Fn(&str) -> bool) -> String {
        let plain = key_of(name);
        let count = self.counts.entry(plain.clone()).or_default();
        loop {
            *count += 1;
            let key = if *count == 1 { plain.clone() } else { format!("{plain}{count}") };
            if !is_taken(&key) && self.keys.insert(key.clone()) {
                return key;
            }
        }
    }
}

fn is_empty(value: &Value<'_>) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        // Only the brackets.
        Value::Composite(text) => {
            text.bytes().filter(|byte| !byte.is_ascii_whitespace()).nth(2).is_none()
        }
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether a name is valid as a key that is in no dictionary. Keys consist of letters and digits,
/// and those of both dictionaries begin with a lower-case letter.
fn is_key(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Converts a name into a key: `client.ip` becomes `ClientIp`.
fn key_of(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    let mut key = String::with_capacity(name.len());
    for word in words {
        let mut letters = word.chars();
        key.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        key.push_str(letters.as_str());
    }
    if key.is_empty() { "Member".to_owned() } else { key }
}
