//! The batches of a run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::value::RawValue;

use super::{Size, Target};
use crate::support::Random;

/// Records of one dataset.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) dataset: String,
    pub(super) records: Vec<Record>,
}

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) text: String,
    /// Whether the target refuses it.
    pub(super) refused: bool,
}

impl Batch {
    pub(super) fn body(&self) -> Vec<u8> {
        self.records.iter().flat_map(|record| [&record.text, "\n"]).collect::<String>().into()
    }
}

/// All batches of a run, in the order in which they are sent.
pub(super) fn batches(target: &impl Target, size: Size, random: &mut Random) -> VecDeque<Batch> {
    let mut seen = BTreeSet::new();
    let mut batches = Vec::new();
    for (dataset, lines) in target.others() {
        // A batch that was sent before is not delivered again.
        if seen.insert(lines.clone()) {
            let lines = String::from_utf8(lines).unwrap();
            let record = |line: &str| Record { text: line.trim().to_owned(), refused: false };
            let records: Vec<_> =
                lines.lines().filter(|line| !line.trim().is_empty()).map(record).collect();
            batches.push(Batch { dataset, records });
        }
    }
    // One record in a thousand, if there are enough for several.
    let every = if size.records >= 10_000 { 1000 } else { 250 };
    let longest = if size.records >= 10_000 { 500 } else { 150 };
    let mut number = 0;
    while number < size.records {
        let end = (number + 1 + random.below(longest)).min(size.records);
        let records = (number..end).map(|number| generated(target, number, every, random));
        batches.push(Batch { dataset: target.dataset().to_owned(), records: records.collect() });
        number = end;
    }
    for left in (1..batches.len()).rev() {
        batches.swap(left, usize::try_from(random.below(left as u64 + 1)).unwrap());
    }
    batches.into()
}

fn generated(target: &impl Target, number: u64, every: u64, random: &mut Random) -> Record {
    let text = target.record(random, number);
    let refused = (number % every == every / 2).then(|| target.refused(&text)).flatten();
    match refused {
        Some(text) => Record { text, refused: true },
        None => Record { text, refused: false },
    }
}

const PATHS: [&str; 5] =
    ["/", r"/search?q=caf\u00e9", "/Straße/日本語/🦀", r"/a\\b\/c\t", r#"/quoted\"\u0022\n"#];

/// A record of the dataset `http_requests`, with values that are easily changed on the way.
pub(crate) fn record(random: &mut Random, number: u64) -> String {
    let path = PATHS[usize::try_from(random.below(PATHS.len() as u64)).unwrap()];
    let (second, status, bytes) =
        (random.below(60), 200 + random.below(400), random.next() >> (1 + random.below(60)));
    let (host, ip) = (random.below(1000), random.below(1 << 16));
    let (score, agent) =
        (random.below(100), "Mozilla/5.0 ".repeat(1 + usize::try_from(number % 20).unwrap()));
    let ray = random.next() >> 32 << 32 | number;
    format!(
        r#"{{"RayID":"{ray:016x}","EdgeStartTimestamp":"2026-11-30T16:00:{second:02}Z","ClientIP":"2001:db8::{ip:x}","ClientRequestHost":"www{host}.example.com","ClientRequestMethod":"GET","ClientRequestURI":"{path}","ClientRequestUserAgent":"{agent}","EdgeResponseStatus":{status},"EdgeResponseBytes":{bytes},"BotScore":{score},"WorkerSubrequest":false,"SecurityActions":["block","log"],"RequestHeaders":{{"accept":"*/*","x-empty":""}},"WAFAttackScore":{score},"ParentRayID":"00"}}"#
    )
}

/// A JSON text with its members sorted, without spaces and with plain strings. Numbers keep their
/// digits.
pub(crate) fn canonical(json: &str) -> String {
    let json = json.trim();
    match json.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap();
            let member =
                |(name, value): (String, &RawValue)| format!("{name:?}:{}", canonical(value.get()));
            format!("{{{}}}", members.into_iter().map(member).collect::<Vec<_>>().join(","))
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(json).unwrap();
            let items = items.into_iter().map(|item| canonical(item.get()));
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        }
        // A string with half of a surrogate pair has no other form.
        Some(b'"') => serde_json::from_str::<String>(json)
            .map_or_else(|_| json.to_owned(), |text| format!("{text:?}")),
        _ => json.to_owned(),
    }
}

#[test]
fn canonical_texts_differ_only_if_the_values_do() {
    let text = canonical(r#" {"b" : [1.50, 12345678901234567890, {"z":null}], "a":"\u00e9\/"}"#);
    assert_eq!(text, r#"{"a":"é/","b":[1.50,12345678901234567890,{"z":null}]}"#);
    assert_ne!(canonical("12345678901234567890"), canonical("12345678901234567891"));
}
