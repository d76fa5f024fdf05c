//! The members of one record, and which of them are in the message already.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use jiff::Timestamp;
use records::record::{self, EventTime, Value};

/// In the order of the record; of several of one name the last counts, as most readers of JSON have it.
#[derive(Debug)]
pub(super) struct Members<'a> {
    list: Vec<Member<'a>>,
    /// Where a name stands in the list: a record may have very many, if it is an odd one.
    places: HashMap<Cow<'a, str>, usize>,
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
    pub(super) fn of(dataset: &str, record: &'a [u8]) -> Self {
        // More than most datasets have.
        let mut list: Vec<Member<'a>> = Vec::with_capacity(96);
        let mut places = HashMap::with_capacity(96);
        let mut time = EventTime::new(dataset);
        let read = record::for_each_member(record, &mut |name, value| {
            time.observe(&name, value);
            let value = Value::of(value);
            let place = *places.entry(name.clone()).or_insert(list.len());
            match list.get_mut(place) {
                Some(member) => member.value = value,
                None => list.push(Member { name, value, is_written: false }),
            }
        });
        if read.is_err() {
            list.clear();
            places.clear();
        }
        Self { list, places, time, are_read: read.is_ok() }
    }

    pub(super) fn are_read(&self) -> bool {
        self.are_read
    }

    pub(super) fn time(&self) -> Option<Timestamp> {
        self.time.get().filter(|_| self.are_read)
    }

    fn find(&self, name: &str) -> Option<&Value<'a>> {
        let member = self.list.get(*self.places.get(name)?)?;
        Some(&member.value)
    }

    /// The value of a member as text; `None` if it is empty.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        let value = self.find(name)?;
        (!is_empty(value)).then(|| value.clone().into_text())
    }

    /// The same if it is one word that says something.
    pub(super) fn word(&self, name: &str) -> Option<Cow<'a, str>> {
        let text = match self.find(name)? {
            Value::Composite(_) => return None,
            value => value.clone().into_text(),
        };
        (!text.is_empty() && !super::says_nothing(&text)).then_some(text)
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
    pub(super) fn mark(&mut self, name: &str) {
        let place = self.places.get(name);
        if let Some(member) = place.and_then(|place| self.list.get_mut(*place)) {
            member.is_written = true;
        }
    }

    /// What is not in the message yet, under keys that no dictionary knows and that differ.
    pub(super) fn rest(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let mut made = Made::default();
        let left = |member: &&Member<'a>| !member.is_written && !is_empty(&member.value);
        self.list.iter().filter(left).map(move |member| {
            let key = if is_key(&member.name) {
                Cow::Borrowed(member.name.as_ref())
            } else {
                Cow::Owned(made.key(&member.name, |key| self.places.contains_key(key)))
            };
            (key, member.value.clone().into_text())
        })
    }
}

/// Keys for names that are none.
#[derive(Debug, Default)]
struct Made {
    keys: HashSet<String>,
    /// How often a key would have been made without its number.
    counts: HashMap<String, u32>,
}

impl Made {
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
        // Nothing between its brackets.
        Value::Composite(text) => {
            text.bytes().filter(|byte| !byte.is_ascii_whitespace()).nth(2).is_none()
        }
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Both dictionaries begin their keys with a lower-case letter, and want letters and digits only.
fn is_key(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// `client.ip` becomes `ClientIp`.
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
