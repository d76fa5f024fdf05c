//! Selections: no masked value leaves the daemon, and every selected record is one JSON object.

use std::net::IpAddr;

use logpushd::{
    decode::Block,
    record,
    select::{
        AddedField, AddedValue, BatchInfo, Choice, FieldMask, Fields, HashKey, Selection,
        TextTemplate,
    },
};
use serde_json::value::RawValue;

/// Masks the fields `a`, `b.c` and `d.e.f` of each line of `data`, after a byte that chooses how.
pub fn select(data: &[u8]) {
    let Some((choices, lines)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(lines) else { return };
    let is_record =
        |line: &&str| line.starts_with('{') && serde_json::from_str::<&RawValue>(line).is_ok();
    let records: Vec<&str> = text.lines().filter(is_record).collect();
    let bytes: String = records.iter().flat_map(|record| [record, "\n"]).collect();
    let block =
        Block { bytes: bytes.into_bytes(), records: records.len() as u64, rejects: Vec::new() };
    let masks = [
        FieldMask::Truncate,
        FieldMask::Redact,
        FieldMask::Hash(HashKey::new(b"0123456789abcdef")),
    ];
    let mask = masks.iter().cycle().nth(usize::from(choices & 3)).expect("the list has no end");
    let masked = ["a", "b.c", "d.e.f"].map(|field| (field.to_owned(), mask.clone()));
    let keep = ["a", "b", "d.e", "g"].map(str::to_owned).to_vec();
    let added = TextTemplate::parse("{batch}").expect("the template is valid");
    let choice = Choice {
        masks: masked.to_vec(),
        fields: match choices >> 2 & 3 {
            1 => Fields::Keep(keep),
            2 => Fields::Drop(vec!["b.d".to_owned(), "g".to_owned()]),
            _ => Fields::All,
        },
        added: if choices & 16 == 0 {
            Vec::new()
        } else {
            vec![AddedField { name: "added".to_owned(), value: AddedValue::Text(added) }]
        },
        ..Choice::default()
    };
    let selection = Selection::new(&choice).expect("it changes records");
    let batch = BatchInfo {
        dataset: "dns_logs",
        endpoint: "main",
        received: "2026-11-30T16:00:00Z".parse().expect("it is a time"),
        sequence: 1,
        digest: 1,
    };
    let selected = selection.apply(&block, &batch);
    assert_eq!(*selected, *selection.apply(&block, &batch), "the result depends on more");
    let text = std::str::from_utf8(&selected.bytes).expect("records are text");
    assert_eq!(text.matches('\n').count() as u64, selected.records);
    for record in text.lines() {
        let mut added = 0;
        let read = record::for_each_member(record.as_bytes(), &mut |name, value| {
            added += usize::from(name == "added");
            check_member(&name, value, &["a", "b.c", "d.e.f"], mask);
        });
        read.expect("it is an object");
        assert!(choice.added.is_empty() || added == 1, "{record:?} has {added} added fields");
    }
}

/// Checks a member of an object in which the fields `paths` are masked.
fn check_member(name: &str, value: &str, paths: &[&str], mask: &FieldMask) {
    if paths.contains(&name) {
        each_element(value, &mut |element| assert!(is_masked(element, mask), "{element:?}"));
    }
    let inner = paths.iter().filter_map(|path| path.split_once('.'));
    let inner: Vec<&str> =
        inner.filter(|(outer, _)| *outer == name).map(|(_, rest)| rest).collect();
    if inner.is_empty() {
        return;
    }
    each_element(value, &mut |element| {
        assert!(!element.starts_with(['"', '[']), "{element:?} may contain a field");
        if element.starts_with('{') {
            let check = &mut |name: std::borrow::Cow<'_, str>, value: &str| {
                check_member(&name, value, &inner, mask);
            };
            record::for_each_member(element.as_bytes(), check).expect("it is an object");
        }
    });
}

fn each_element(value: &str, check: &mut dyn FnMut(&str)) {
    match serde_json::from_str::<Vec<&RawValue>>(value) {
        Ok(elements) => elements.iter().for_each(|element| check(element.get())),
        Err(_) => check(value),
    }
}

fn is_masked(value: &str, mask: &FieldMask) -> bool {
    let Ok(text) = serde_json::from_str::<String>(value) else { return false };
    match mask {
        FieldMask::Redact => text == "REDACTED",
        FieldMask::Hash(_) => text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()),
        FieldMask::Truncate => text.split(", ").all(|part| {
            let address = part.split_once('/').map_or(part, |(address, _)| address);
            match address.parse() {
                Ok(IpAddr::V4(address)) => address.octets()[3] == 0,
                Ok(IpAddr::V6(address)) => address.to_bits() << 48 == 0,
                Err(_) => false,
            }
        }),
    }
}
