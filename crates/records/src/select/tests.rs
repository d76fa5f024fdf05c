//! Tests of selections by example.

use jiff::Timestamp;

use super::*;
use crate::decode::{Reject, RejectReason};

pub(super) const BATCH: BatchInfo<'static> = BatchInfo {
    dataset: "dns_logs",
    endpoint: "main",
    received: Timestamp::UNIX_EPOCH,
    sequence: 7,
    digest: 0xab,
};

pub(super) fn block(lines: &[&str]) -> Block {
    let bytes = lines.iter().flat_map(|line| [line, "\n"]).collect::<String>().into_bytes();
    Block { bytes, records: lines.len() as u64, rejects: Vec::new() }
}

fn selection(conditions: &[(&str, Test)]) -> Selection {
    let conditions = conditions
        .iter()
        .map(|(field, test)| Condition { field: (*field).to_owned(), test: test.clone() })
        .collect();
    Selection::new(&Choice { conditions, ..Choice::default() }).unwrap()
}

fn passes(record: &str, field: &str, test: &Test) -> bool {
    let block = block(&[record]);
    let selected = selection(&[(field, test.clone())]).apply(&block, &BATCH).into_owned();
    assert!(selected.records <= 1);
    assert_eq!(selected.bytes.is_empty(), selected.records == 0);
    selected.records == 1
}

pub(super) fn text(text: &str) -> Scalar {
    Scalar::String(text.to_owned())
}

pub(super) fn number(text: &str) -> Scalar {
    Scalar::Number(text.to_owned())
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The single selected record after changes.
pub(super) fn rewritten(choice: &Choice, record: &str) -> String {
    let block = block(&[record]);
    let selected = Selection::new(choice).unwrap().apply(&block, &BATCH).into_owned();
    assert_eq!(selected.records, 1);
    String::from_utf8(selected.bytes).unwrap().trim_end_matches('\n').to_owned()
}

pub(super) fn rename(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned())).collect()
}

#[test]
fn conditions_by_type_of_value() {
    let one_of = |list: &[Scalar]| Test::OneOf(list.to_vec());
    let none_of = |list: &[Scalar]| Test::NoneOf(list.to_vec());
    let is = |comparison, bound: &str| Test::Compare(comparison, bound.to_owned());
    let cases = [
        // Strings with and without escapes.
        (r#"{"f":"pass"}"#, one_of(&[text("pass")]), true),
        (r#"{"f":"p\u0061ss"}"#, one_of(&[text("x"), text("pass")]), true),
        (r#"{"\u0066":"pass"}"#, one_of(&[text("pass")]), true),
        (r#"{"f":"Pass"}"#, one_of(&[text("pass")]), false),
        (r#"{"f":""}"#, one_of(&[text("")]), true),
        // A number does not equal a string.
        (r#"{"f":"500"}"#, one_of(&[number("500")]), false),
        (r#"{"f":500}"#, one_of(&[text("500")]), false),
        (r#"{"f":"500"}"#, is(Comparison::AtLeast, "1"), false),
        (r#"{"f":"true"}"#, one_of(&[Scalar::Bool(true)]), false),
        (r#"{"f":1}"#, one_of(&[Scalar::Bool(true)]), false),
        (r#"{"f":true}"#, one_of(&[Scalar::Bool(true)]), true),
        (r#"{"f":false}"#, one_of(&[Scalar::Bool(true)]), false),
        // Numbers to the last digit.
        (r#"{"f":1669761187123456789}"#, one_of(&[number("1669761187123456789")]), true),
        (r#"{"f":1669761187123456789}"#, one_of(&[number("1669761187123456788")]), false),
        (r#"{"f":1669761187123456789}"#, is(Comparison::Above, "1669761187123456788"), true),
        (r#"{"f":5e2}"#, one_of(&[number("500")]), true),
        (r#"{"f":500}"#, is(Comparison::AtLeast, "500"), true),
        (r#"{"f":500}"#, is(Comparison::Above, "500"), false),
        (r#"{"f":500}"#, is(Comparison::AtMost, "500"), true),
        (r#"{"f":500}"#, is(Comparison::Below, "500"), false),
        (r#"{"f":499.9}"#, is(Comparison::Below, "500"), true),
        // A missing field, or null.
        ("{}", one_of(&[text("")]), false),
        (r#"{"f":null}"#, one_of(&[text(""), text("null"), number("0")]), false),
        ("{}", none_of(&[text("drop")]), true),
        (r#"{"f":null}"#, none_of(&[text("drop")]), true),
        ("{}", is(Comparison::Below, "1"), false),
        (r#"{"f":null}"#, is(Comparison::Below, "1"), false),
        ("{}", Test::Exists(true), false),
        ("{}", Test::Exists(false), true),
        (r#"{"f":null}"#, Test::Exists(true), false),
        (r#"{"f":null}"#, Test::Exists(false), true),
        (r#"{"f":""}"#, Test::Exists(true), true),
        (r#"{"f":[]}"#, Test::Exists(true), true),
        (r#"{"f":{}}"#, Test::Exists(false), false),
        (r#"{"f":"drop"}"#, none_of(&[text("x"), text("drop")]), false),
        // The values of an array are its elements, but not the elements of inner arrays.
        (r#"{"f":["log","block"]}"#, one_of(&[text("block")]), true),
        (r#"{"f":["log","block"]}"#, none_of(&[text("block")]), false),
        (r#"{"f":["log"]}"#, none_of(&[text("block")]), true),
        (r#"{"f":[1, 700 ]}"#, is(Comparison::AtLeast, "500"), true),
        (r#"{"f":[]}"#, one_of(&[text("block")]), false),
        (r#"{"f":[["block"]]}"#, one_of(&[text("block")]), false),
        (r#"{"f":{"block":1}}"#, one_of(&[text("block")]), false),
        // The last duplicate counts.
        (r#"{"f":"a","f":"b"}"#, one_of(&[text("b")]), true),
        (r#"{"f":"a","f":"b"}"#, one_of(&[text("a")]), false),
    ];
    for (record, test, expected) in cases {
        assert_eq!(passes(record, "f", &test), expected, "{record} {test:?}");
    }
}

#[test]
fn a_path_with_dots_selects_in_objects_and_arrays_of_objects() {
    let is_x = Test::OneOf(vec![text("x")]);
    let cases = [
        ("h.c", r#"{"h":{"c":"x"}}"#, true),
        ("h.c", r#"{"h":{"c":"y"}}"#, false),
        ("h.c", r#"{"h": [ {"c":"y"}, {"c":"x"} ]}"#, true),
        ("h.c", r#"{"h":["c","x"]}"#, false),
        ("h.c", r#"{"h":[[{"c":"x"}]]}"#, false),
        ("h.c", r#"{"h":"x"}"#, false),
        ("h.c.d", r#"{"h":{"c":{"d":"x"}}}"#, true),
        // A field with a dot in its name has precedence.
        ("h.c", r#"{"h.c":"x","h":{"c":"y"}}"#, true),
        ("h.c", r#"{"h":{"c":"x"},"h.c":"y"}"#, false),
    ];
    for (field, record, expected) in cases {
        assert_eq!(passes(record, field, &is_x), expected, "{field} {record}");
    }
    let absent = Test::Exists(false);
    assert!(passes(r#"{"h":{}}"#, "h.c", &absent));
    assert!(passes(r#"{"h":"c"}"#, "h.c", &absent));
    assert!(!passes(r#"{"h":[{},{"c":0}]}"#, "h.c", &absent));
}

#[test]
fn all_conditions_must_hold() {
    let both = selection(&[
        ("a", Test::OneOf(vec![number("1")])),
        ("b", Test::Compare(Comparison::AtLeast, "5".into())),
        ("b", Test::Compare(Comparison::Below, "7".into())),
    ]);
    let block = block(&[
        r#"{"a":1,"b":4}"#,
        r#"{"a":1,"b":5}"#,
        r#"{"a":2,"b":5}"#,
        r#"{"b":6, "a":1.0}"#,
        r#"{"a":1,"b":7}"#,
        r#"{"a":1}"#,
    ]);
    let selected = both.apply(&block, &BATCH);
    assert_eq!(selected.bytes, b"{\"a\":1,\"b\":5}\n{\"b\":6, \"a\":1.0}\n");
    assert_eq!(selected.records, 2);
}

#[test]
fn an_unchanged_block_is_not_copied() {
    let block = block(&[r#"{"a":1}"#, r#"{ "a" : 1 }"#]);
    let all = selection(&[("a", Test::OneOf(vec![number("1")]))]);
    assert!(
        matches!(all.apply(&block, &BATCH), Cow::Borrowed(same) if std::ptr::eq(same, &raw const block))
    );
    let untouched = Choice {
        fields: Fields::Drop(names(&["b", "a.b"])),
        rename: rename(&[("c", "d")]),
        ..Choice::default()
    };
    assert!(matches!(Selection::new(&untouched).unwrap().apply(&block, &BATCH), Cow::Borrowed(_)));
    assert!(Selection::new(&Choice { datasets: names(&["d"]), ..Choice::default() }).is_none());
}

#[test]
fn remaining_fields_keep_their_order_and_bytes() {
    let keep = |list: &[&str]| Choice { fields: Fields::Keep(names(list)), ..Choice::default() };
    let drop = |list: &[&str]| Choice { fields: Fields::Drop(names(list)), ..Choice::default() };
    let odd = r#" { "b" : 1669761187123456789 ,"a\u0062":"x\ty\u00e4", "o":{"b": 1, "c":[ ]},"b":1e400 } "#;
    let cases = [
        (drop(&["o"]), odd, r#"{"b":1669761187123456789,"ab":"x\ty\u00e4","b":1e400}"#),
        (drop(&["b"]), odd, r#"{"ab":"x\ty\u00e4","o":{"b": 1, "c":[ ]}}"#),
        (drop(&["o.b", "b"]), odd, r#"{"ab":"x\ty\u00e4","o":{"c":[ ]}}"#),
        (drop(&["o.x", "x"]), odd, odd),
        (keep(&["b"]), odd, r#"{"b":1669761187123456789,"b":1e400}"#),
        (keep(&["o.c", "ab"]), odd, r#"{"ab":"x\ty\u00e4","o":{"c":[ ]}}"#),
        (keep(&["o", "b", "ab"]), odd, odd),
        (keep(&["none"]), odd, "{}"),
        // Inner fields of an object, of an array of objects, and of a string.
        (drop(&["s.ip"]), r#"{"s":[{"ip":1,"x": 2},3,{"x":4}]}"#, r#"{"s":[{"x":2},3,{"x":4}]}"#),
        (keep(&["s.ip"]), r#"{"s":[{"ip":1,"x": 2},3,{"x":4}]}"#, r#"{"s":[{"ip":1},{}]}"#),
        (drop(&["s.ip"]), r#"{"s":"ip"}"#, r#"{"s":"ip"}"#),
        (keep(&["s.ip"]), r#"{"s":"ip"}"#, "{}"),
        (drop(&["s.ip"]), r#"{"s.ip":1,"s":{"ip":2}}"#, r#"{"s":{}}"#),
        (keep(&["s", "s.ip"]), r#"{"s":{"x":1},"t":2}"#, r#"{"s":{"x":1}}"#),
    ];
    for (choice, record, expected) in cases {
        assert_eq!(rewritten(&choice, record), expected, "{choice:?} {record}");
    }
}

#[test]
fn renamed_fields_keep_their_positions() {
    let choice = |pairs| Choice { rename: rename(pairs), ..Choice::default() };
    let cases = [
        (choice(&[("a", "src.ip\"")]), r#"{"x":1,"a":2,"y":3}"#, r#"{"x":1,"src.ip\"":2,"y":3}"#),
        (choice(&[("a", "b"), ("b", "a")]), r#"{"a":1,"b":2}"#, r#"{"b":1,"a":2}"#),
        // A renamed field replaces a field that had its name.
        (choice(&[("a", "b")]), r#"{"b":1,"a":2}"#, r#"{"b":2}"#),
        (choice(&[("a", "b")]), r#"{"b": 1}"#, r#"{"b": 1}"#),
        (choice(&[("a", "b")]), r#"{"a":1,"o":{"a":1},"a":2}"#, r#"{"b":1,"o":{"a":1},"b":2}"#),
    ];
    for (choice, record, expected) in cases {
        assert_eq!(rewritten(&choice, record), expected, "{choice:?} {record}");
    }
    let both = Choice {
        fields: Fields::Keep(names(&["a", "o.p"])),
        rename: rename(&[("a", "c"), ("o", "q")]),
        ..Choice::default()
    };
    assert_eq!(rewritten(&both, r#"{"c":0,"a":1,"o":{"p":2,"r":3}}"#), r#"{"c":1,"q":{"p":2}}"#);
}

#[test]
fn a_record_with_an_unreadable_name_is_excluded() {
    let halves = [r#"{"\ud800":1,"a":1}"#, r#"{"a":1,"o":{"\ud800":1,"b":2}}"#];
    let choices = [
        Choice { fields: Fields::Drop(names(&["o.b"])), ..Choice::default() },
        Choice {
            conditions: vec![Condition { field: "o.c".into(), test: Test::Exists(false) }],
            ..Choice::default()
        },
    ];
    for choice in choices {
        let selected = Selection::new(&choice).unwrap();
        let block = block(&[halves[0], r#"{"a":1}"#, halves[1]]);
        assert_eq!(selected.apply(&block, &BATCH).bytes, b"{\"a\":1}\n");
    }
    // A lone surrogate in a value is allowed.
    let lone = r#"{"a":"\ud800"}"#;
    assert!(passes(lone, "a", &Test::NoneOf(vec![text("x")])));
}

#[test]
fn rejects_are_not_passed_to_sinks() {
    let mut block = block(&[r#"{"a":1}"#, r#"{"a":2}"#]);
    let bytes = b"nope".to_vec().into_boxed_slice();
    block.rejects = vec![Reject { reason: RejectReason::NotJson, position: 2, length: 4, bytes }];
    let selected =
        selection(&[("a", Test::OneOf(vec![number("2")]))]).apply(&block, &BATCH).into_owned();
    assert_eq!(selected, Block { bytes: b"{\"a\":2}\n".to_vec(), records: 1, rejects: Vec::new() });
}

/// Checkpoints and dead letters of earlier versions depend on it: with another text, chunks and dead letters
/// have another identity after an upgrade.
#[test]
fn the_text_of_a_selection_is_the_one_of_earlier_versions() {
    assert_eq!(Choice::default().selection_text(), "[] All []");
    assert_eq!(Choice::default().fingerprint(), None);
    let condition = |test| Condition { field: "f".into(), test };
    let choice = Choice {
        conditions: vec![
            condition(Test::OneOf(vec![text("a"), number("1"), Scalar::Bool(true)])),
            condition(Test::NoneOf(vec![text("b")])),
            condition(Test::Exists(true)),
            condition(Test::Compare(Comparison::AtLeast, "5".into())),
        ],
        fields: Fields::Drop(names(&["g"])),
        rename: rename(&[("h", "i")]),
        ..Choice::default()
    };
    let first = r#"[Condition { field: "f", test: OneOf([String("a"), Number("1"), Bool(true)]) }, Condition { field: "f", test: NoneOf([String("b")]) }, Condition { field: "f", test: Exists(true) }, Condition { field: "f", test: Compare(AtLeast, "5") }] Drop(["g"]) [("h", "i")]"#;
    assert_eq!(choice.selection_text(), first);
    let template = TextTemplate::parse("x{dataset}{endpoint}{received}{batch}{digest}").unwrap();
    let added =
        [AddedValue::Text(template), AddedValue::Number("1".into()), AddedValue::Bool(true)];
    let choice = Choice {
        masks: vec![
            ("a".into(), FieldMask::Truncate),
            ("b".into(), FieldMask::Hash(HashKey::new(b"0123456789abcdef"))),
            ("c".into(), FieldMask::Redact),
        ],
        added: added.into_iter().map(|value| AddedField { name: "d".into(), value }).collect(),
        ..choice
    };
    let second = r#"[("a", Truncate), ("b", Hash(HashKey(def99f222748ba08a2fad142a3617ccf))), ("c", Redact)] [AddedField { name: "d", value: Text(TextTemplate([Literal("x"), Dataset, Endpoint, Received, Batch, Digest])) }, AddedField { name: "d", value: Number("1") }, AddedField { name: "d", value: Bool(true) }]"#;
    assert_eq!(choice.selection_text(), format!("{first} {second}"));
    assert_eq!(choice.fingerprint(), Some(2_310_193_977));
}

#[test]
fn the_text_of_a_selection_changes_with_what_becomes_of_records() {
    let all = Choice::default();
    let names = |name: &str| vec![name.to_owned()];
    let of_batches = Choice { datasets: names("d"), endpoints: names("e"), ..Choice::default() };
    assert_eq!(of_batches.selection_text(), all.selection_text());
    let test = Test::Exists(true);
    let hashed = |key: &[u8]| vec![("a".to_owned(), FieldMask::Hash(HashKey::new(key)))];
    let with_key = |key: &[u8]| Choice { masks: hashed(key), ..Choice::default() }.selection_text();
    assert_ne!(with_key(b"secret-1"), with_key(b"secret-2"));
    assert!(!with_key(b"secret-1").contains("secret"), "{}", with_key(b"secret-1"));
    let flag = AddedField { name: "a".to_owned(), value: AddedValue::Bool(true) };
    for changed in [
        Choice { conditions: vec![Condition { field: "a".into(), test }], ..Choice::default() },
        Choice { fields: Fields::Drop(names("a")), ..Choice::default() },
        Choice { rename: vec![("a".into(), "b".into())], ..Choice::default() },
        Choice { masks: vec![("a".into(), FieldMask::Redact)], ..Choice::default() },
        Choice { masks: hashed(b"one"), ..Choice::default() },
        Choice { added: vec![flag], ..Choice::default() },
    ] {
        assert_ne!(changed.selection_text(), all.selection_text(), "{changed:?}");
    }
}
