//! The batches that were sent, and their answers.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    sync::Mutex,
};

use crate::support::Random;

/// Identifies a batch: its sender, and its number there.
pub(super) type Key = (u64, u64);

/// The batches that were sent so far.
#[derive(Default)]
pub(super) struct Ledger(Mutex<BTreeMap<Key, Entry>>);

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) dataset: String,
    /// Whether it was answered with 200; else it was given up.
    pub(super) answered: bool,
}

impl Ledger {
    /// Adds a batch before its first byte is sent.
    pub(super) fn sending(&self, key: Key, dataset: &str) {
        let entry = Entry { dataset: dataset.to_owned(), answered: false };
        self.0.lock().unwrap().insert(key, entry);
    }

    pub(super) fn answered(&self, key: Key) {
        self.0.lock().unwrap().get_mut(&key).unwrap().answered = true;
    }

    pub(super) fn entries(&self) -> BTreeMap<Key, Entry> {
        self.0.lock().unwrap().clone()
    }
}

/// The records of a batch: the valid ones and the invalid ones.
#[derive(Default)]
pub(super) struct Records {
    /// All lines, as they are sent.
    pub(super) body: Vec<u8>,
    /// The lines that sinks get.
    pub(super) good: Vec<u8>,
    /// The positions of the quarantined lines, with their text.
    pub(super) bad: HashMap<u64, String>,
}

/// More than this does not stay in memory: see `spool::memory`.
const LARGE_BYTES: u64 = 17 << 20;

impl Records {
    /// Makes the records of a batch, always the same.
    pub(super) fn of(seed: u64, (pusher, number): Key) -> Self {
        let mut random = Random::new(seed ^ pusher << 40 ^ number);
        let large = pusher == 0 && number % 48 == 20;
        let some_bad = random.below(4) == 0;
        let (count, pad_below) = match random.below(16) {
            _ if large => (68, 1),
            0 => (1, 64),
            1..=3 => (300 + random.below(300), 400),
            _ => (1 + random.below(60), 300),
        };
        let mut records = Self::default();
        for place in 0..count {
            let pad = if large { LARGE_BYTES / count } else { random.below(pad_below) };
            let mut line =
                format!(r#"{{"p":{pusher},"b":{number},"r":{place},"of":{count},"pad":""#);
            line.extend(std::iter::repeat_n('x', usize::try_from(pad).unwrap()));
            line.push('"');
            let bad = some_bad && random.below(8) == 0;
            if !bad {
                line.push('}');
            }
            writeln!(line).unwrap();
            records.body.extend_from_slice(line.as_bytes());
            if bad {
                line.pop();
                records.bad.insert(place, line);
            } else {
                records.good.extend_from_slice(line.as_bytes());
            }
        }
        records
    }
}
