//! Compares what arrived with what was sent.

use std::{collections::HashMap, fs};

use serde_json::Value;

use super::{Promise, SINK, Target, batches::Batch};
use crate::support::{Setup, names_in};

/// How often each text is expected and found: compares multisets.
#[derive(Default)]
struct Comparison(HashMap<String, (u64, u64)>);

impl Comparison {
    fn expect(&mut self, text: String) {
        self.0.entry(text).or_default().0 += 1;
    }

    fn find(&mut self, text: String) {
        self.0.entry(text).or_default().1 += 1;
    }

    /// Asserts that no text is missing and none is unknown. Returns the number of duplicates, and
    /// asserts that it is 0 if each text must have arrived exactly once.
    fn check(&self, what: &str, promise: Promise) -> u64 {
        let having = |has: &dyn Fn(u64, u64) -> bool| {
            let texts = self.0.iter().filter(|(_, (expected, found))| has(*expected, *found));
            texts.map(|(text, _)| text.as_str()).collect::<Vec<_>>()
        };
        let missing = having(&|expected, found| found < expected);
        let unknown = having(&|expected, _| expected == 0);
        let duplicates = having(&|expected, found| expected > 0 && found > expected);
        let (lost, odd, twice) = (missing.len(), unknown.len(), duplicates.len());
        let may_repeat = promise == Promise::AtLeastOnce;
        assert!(
            lost == 0 && odd == 0 && (twice == 0 || may_repeat),
            "{what}: {lost} missing, {odd} unknown, {twice} duplicates\nmissing: {:#?}\nunknown: {:#?}\nduplicates: {:#?}",
            missing.iter().take(3).collect::<Vec<_>>(),
            unknown.iter().take(3).collect::<Vec<_>>(),
            duplicates.iter().take(3).collect::<Vec<_>>(),
        );
        self.0.values().map(|(expected, found)| found.saturating_sub(*expected)).sum()
    }
}

/// Asserts that the target has all records, those that it refused only if `with_refused`. Returns
/// the number of duplicates.
pub(super) fn target<T: Target>(target: &mut T, sent: &[Batch], with_refused: bool) -> u64 {
    let mut records = Comparison::default();
    for Batch { dataset, records: of_batch } in sent {
        for record in of_batch.iter().filter(|record| with_refused || !record.refused) {
            records.expect(target.expected(dataset, &record.text));
        }
    }
    for text in target.read() {
        records.find(text);
    }
    records.check(T::KIND, T::PROMISE)
}

/// Asserts that the file sink has all records once, byte for byte.
pub(super) fn archive(setup: &Setup, sent: &[Batch]) {
    let mut records = Comparison::default();
    for Batch { dataset, records: of_batch } in sent {
        for record in of_batch {
            records.expect(format!("{dataset} {}", record.text));
        }
    }
    for name in names_in(&setup.path("out")) {
        let dataset = name.strip_suffix(".ndjson").unwrap();
        for line in fs::read_to_string(setup.path("out").join(&name)).unwrap().lines() {
            records.find(format!("{dataset} {line}"));
        }
    }
    records.check("the file sink", Promise::ExactlyOnce);
}

/// Asserts that exactly the refused records are in quarantine, once each. Returns their number.
pub(super) fn quarantine(setup: &Setup, sent: &[Batch]) -> u64 {
    let mut records = Comparison::default();
    let refused = sent.iter().flat_map(|batch| &batch.records).filter(|record| record.refused);
    let mut count = 0;
    for record in refused {
        records.expect(record.text.clone());
        count += 1;
    }
    let directory = setup.path("quarantine");
    for name in names_in(&directory).iter().filter(|name| name.starts_with("records-")) {
        for line in fs::read_to_string(directory.join(name)).unwrap().lines() {
            let letter: Value = serde_json::from_str(line).unwrap();
            assert_eq!(letter["sink"], SINK, "{line}");
            records.find(letter["record"].as_str().unwrap().to_owned());
        }
    }
    records.check("quarantine", Promise::ExactlyOnce);
    count
}
