//! Compares the files with the ledger.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use serde_json::Value;

use super::ledger::{Entry, Key, Records};
use crate::support::{gunzip, names_in, same_bytes};

/// What was found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) batches: usize,
    pub(super) given_up: usize,
    pub(super) quarantined: usize,
}

/// Asserts that every acknowledged batch is in each of the `sinks` exactly once, and every other
/// batch at most once.
#[track_caller]
pub(super) fn check(
    seed: u64,
    entries: &BTreeMap<Key, Entry>,
    sinks: &[&Path],
    quarantine: &Path,
) -> Counts {
    let records: HashMap<Key, Records> =
        entries.keys().map(|key| (*key, Records::of(seed, *key))).collect();
    for sink in sinks {
        let found = batches_in(sink, &records);
        for (key, entry) in entries {
            let dataset = found.get(key);
            assert!(
                dataset.is_none_or(|dataset| *dataset == entry.dataset),
                "{key:?} is in {dataset:?}: {entry:?}"
            );
            let there = dataset.is_some() || records[key].good.is_empty();
            assert!(there || !entry.answered, "{key:?} is lost from {}", sink.display());
        }
    }
    let quarantined = check_quarantine(quarantine, entries, &records);
    let given_up = entries.values().filter(|entry| !entry.answered).count();
    Counts { batches: entries.len() - given_up, given_up, quarantined }
}

/// All that a sink has of each dataset: the rotated and compressed files, in the order of their
/// names, then the current file.
pub(super) fn datasets_in(sink: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut texts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut names = names_in(sink);
    names.sort_by_key(|name| name.ends_with(".ndjson"));
    for name in names {
        let dataset = name.split(['-', '.']).next().unwrap().to_owned();
        let bytes = fs::read(sink.join(&name)).unwrap();
        let text = match name.strip_suffix(".gz") {
            Some(plain) => {
                assert!(!sink.join(plain).exists(), "{name} exists in both forms");
                gunzip(&bytes)
            }
            None => bytes,
        };
        assert!(text.is_empty() || text.ends_with(b"\n"), "{name} ends with half a line");
        texts.entry(dataset).or_default().extend(text);
    }
    texts
}

/// The batches of a sink, with the names of their datasets. Each batch is intact, and occurs once.
fn batches_in(sink: &Path, records: &HashMap<Key, Records>) -> HashMap<Key, String> {
    let mut found = HashMap::new();
    for (name, text) in datasets_in(sink) {
        let dataset = name.as_str();
        let mut rest = text.as_slice();
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).expect("a complete line");
            let record: Value = serde_json::from_slice(&rest[..end]).unwrap_or_else(|error| {
                let line = String::from_utf8_lossy(&rest[..end.min(300)]);
                panic!("{name} has a torn line, {error}: {line}")
            });
            let key = (record["p"].as_u64().unwrap(), record["b"].as_u64().unwrap());
            let good = &records.get(&key).expect("a batch that was sent").good;
            let (batch, following) = rest.split_at(good.len().min(rest.len()));
            same_bytes(&format!("{name}: batch {key:?}"), batch, good);
            rest = following;
            let before = found.insert(key, dataset.to_owned());
            assert_eq!(before, None, "{}/{name}: {key:?} occurs twice", sink.display());
        }
    }
    found
}

fn check_quarantine(
    quarantine: &Path,
    entries: &BTreeMap<Key, Entry>,
    records: &HashMap<Key, Records>,
) -> usize {
    let mut found: HashMap<Key, Vec<u64>> = HashMap::new();
    for name in names_in(quarantine).into_iter().filter(|name| name.starts_with("records-")) {
        let text = fs::read_to_string(quarantine.join(&name)).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "the last line of {name} is torn");
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).expect("a complete line in quarantine");
            let text = line["record"].as_str().unwrap();
            let record: Value = serde_json::from_str(&format!("{text}}}")).unwrap();
            let number = |name: &str| record[name].as_u64().unwrap();
            let (key, place) = ((number("p"), number("b")), number("r"));
            assert_eq!(records[&key].bad.get(&place).map(String::as_str), Some(text));
            found.entry(key).or_default().push(place);
        }
    }
    let mut count = 0;
    for (key, entry) in entries {
        let mut want: Vec<_> = records[key].bad.keys().copied().collect();
        want.sort_unstable();
        let got = found.remove(key).unwrap_or_default();
        if entry.answered || !got.is_empty() {
            assert_eq!(got, want, "of {key:?} in quarantine, {entry:?}");
        }
        count += got.len();
    }
    count
}
