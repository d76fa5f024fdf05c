//! Tests of masked and added fields, by example and with a model.

use proptest::prelude::*;

use super::{
    tests::{BATCH, block, rewritten},
    *,
};

const KEY: &[u8] = b"0123456789abcdef";

fn masked(masks: &[(&str, FieldMask)], record: &str) -> String {
    rewritten(&masking(masks), record)
}

fn masking(masks: &[(&str, FieldMask)]) -> Choice {
    let masks = masks.iter().map(|(field, mask)| ((*field).to_owned(), mask.clone())).collect();
    Choice { masks, ..Choice::default() }
}

fn text(name: &str, template: &str) -> AddedField {
    let value = AddedValue::Text(TextTemplate::parse(template).unwrap());
    AddedField { name: name.to_owned(), value }
}

#[test]
fn each_mask_replaces_what_it_can_and_removes_the_rest() {
    let hash = FieldMask::Hash(HashKey::new(KEY));
    let cases = [
        (FieldMask::Truncate, r#"{"f":"203.0.113.7","g":1}"#, r#"{"f":"203.0.113.0","g":1}"#),
        (FieldMask::Truncate, r#"{"f":"\u0032\u003a:1"}"#, r#"{"f":"2::"}"#),
        (FieldMask::Truncate, r#"{"f":["::1", "x", "10.1.2.3", 7]}"#, r#"{"f":["::","10.1.2.0"]}"#),
        (FieldMask::Truncate, r#"{"f":"x"}"#, "{}"),
        (FieldMask::Truncate, r#"{"f":""}"#, "{}"),
        (FieldMask::Truncate, r#"{"f":null}"#, "{}"),
        (FieldMask::Truncate, r#"{"f":1.2}"#, "{}"),
        (FieldMask::Truncate, r#"{"f":{"a":"10.1.2.3"}}"#, "{}"),
        (FieldMask::Truncate, r#"{"f":[["10.1.2.3"]]}"#, r#"{"f":[]}"#),
        // Nothing changes.
        (FieldMask::Truncate, r#"{ "f" : "10.1.2.0" }"#, r#"{ "f" : "10.1.2.0" }"#),
        (FieldMask::Truncate, r#"{ "f":[ "10.1.2.0" ,"::" ] }"#, r#"{ "f":[ "10.1.2.0" ,"::" ] }"#),
        (FieldMask::Truncate, r#"{ "f" : [ ] }"#, r#"{ "f" : [ ] }"#),
        (FieldMask::Redact, r#"{"f":"x"}"#, r#"{"f":"REDACTED"}"#),
        (FieldMask::Redact, r#"{"f":null}"#, r#"{"f":"REDACTED"}"#),
        (FieldMask::Redact, r#"{"f":{"a":1}}"#, r#"{"f":"REDACTED"}"#),
        (FieldMask::Redact, r#"{"f":[1,[2]]}"#, r#"{"f":["REDACTED","REDACTED"]}"#),
        (FieldMask::Redact, r#"{"f":"\ud800"}"#, r#"{"f":"REDACTED"}"#),
        (hash.clone(), r#"{"f":"\ud800"}"#, "{}"),
        (hash.clone(), r#"{"f":null}"#, "{}"),
        (hash.clone(), r#"{"f":{}}"#, "{}"),
        (hash.clone(), r#"{"f":[{"a":1},[1],null]}"#, r#"{"f":[]}"#),
        // Duplicates and escaped names.
        (FieldMask::Redact, r#"{"f":1,"f":2}"#, r#"{"f":"REDACTED","f":"REDACTED"}"#),
        (FieldMask::Redact, r#"{"\u0066":1}"#, r#"{"f":"REDACTED"}"#),
    ];
    for (mask, record, expected) in cases {
        assert_eq!(masked(&[("f", mask)], record), expected, "{record}");
    }
    let hashed = |value: &str| masked(&[("f", hash.clone())], &format!("{{\"f\":{value}}}"));
    // printf é | openssl dgst -sha256 -hmac 0123456789abcdef
    let digest = "26382c5adb93384755a55b17c0c37aae724ec74042101cae59fd075e577a743c";
    for value in ["\"\\u00e9\"", "\"\u{e9}\""] {
        assert_eq!(hashed(value), format!("{{\"f\":\"{digest}\"}}"));
    }
    assert_eq!(hashed("1.50"), hashed("\"1.50\""));
    assert_eq!(hashed("true"), hashed("\"true\""));
    assert_ne!(hashed("1.5"), hashed("1.50"));
}

#[test]
fn masks_reach_into_objects_and_arrays() {
    let redact = |field| [(field, FieldMask::Redact)];
    let cases = [
        ("h.c", r#"{"h":{"c":1,"d": 2},"c":3}"#, r#"{"h":{"c":"REDACTED","d":2},"c":3}"#),
        ("h.c", r#"{"h":[{"c":1}, 2 ,{"d":3}]}"#, r#"{"h":[{"c":"REDACTED"},2,{"d":3}]}"#),
        ("h.c", r#"{"h.c":1,"h":{"c":2}}"#, r#"{"h.c":"REDACTED","h":{"c":"REDACTED"}}"#),
        ("h.c.d", r#"{"h":{"c":[{"d":[1,2]}]}}"#, r#"{"h":{"c":[{"d":["REDACTED","REDACTED"]}]}}"#),
        ("h.c", r#"{"h":{"\u0063":1}}"#, r#"{"h":{"c":"REDACTED"}}"#),
        // The text could contain the field.
        ("h.c", r#"{"h":"{\"c\":1}","x":2}"#, r#"{"x":2}"#),
        ("h.c", r#"{"h":["c",[{"c":1}],{"c":2}]}"#, r#"{"h":[{"c":"REDACTED"}]}"#),
        ("h.c", r#"{"h": null}"#, r#"{"h": null}"#),
        ("h.c", r#"{ "h": [true,1] }"#, r#"{ "h": [true,1] }"#),
        ("h.c", r#"{ "h": {"d":1} }"#, r#"{ "h": {"d":1} }"#),
    ];
    for (field, record, expected) in cases {
        assert_eq!(masked(&redact(field), record), expected, "{field} {record}");
    }
    // An object with half of a surrogate pair in a name cannot be searched.
    let unreadable = block(&[r#"{"h":{"\ud800":1}}"#]);
    let selected =
        Selection::new(&masking(&redact("h.c"))).unwrap().apply(&unreadable, &BATCH).into_owned();
    assert_eq!((selected.records, selected.bytes), (0, Vec::new()));
}

#[test]
fn a_deep_array_is_not_searched() {
    let deep = format!("{{\"f\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(masked(&[("f", FieldMask::Truncate)], &deep), r#"{"f":[]}"#);
    assert_eq!(masked(&[("f.g", FieldMask::Truncate)], &deep), r#"{"f":[]}"#);
    assert_eq!(masked(&[("f", FieldMask::Redact)], &deep), r#"{"f":["REDACTED"]}"#);
}

#[test]
fn conditions_see_original_values_and_later_steps_masked_ones() {
    let choice = Choice {
        conditions: vec![Condition {
            field: "ip".into(),
            test: Test::OneOf(vec![Scalar::String("203.0.113.7".into())]),
        }],
        fields: Fields::Keep(vec!["ip".into(), "o.ip".into()]),
        rename: vec![("ip".into(), "src".into())],
        masks: masking(&[("ip", FieldMask::Truncate), ("o.ip", FieldMask::Redact)]).masks,
        added: vec![text("src_zone", "x"), text("ip", "none")],
        ..Choice::default()
    };
    assert_eq!(
        rewritten(&choice, r#"{"x":1,"ip":"203.0.113.7","o":{"ip":1,"x":2}}"#),
        r#"{"src":"203.0.113.0","o":{"ip":"REDACTED"},"src_zone":"x","ip":"none"}"#
    );
}

#[test]
fn added_fields_are_last_and_replace_others() {
    let added = |added: Vec<AddedField>| Choice { added, ..Choice::default() };
    let number = AddedField { name: "n".into(), value: AddedValue::Number("1.50".into()) };
    let flag = AddedField { name: "b".into(), value: AddedValue::Bool(false) };
    let cases = [
        (added(vec![text("d", "{dataset} {batch}")]), "{}", r#"{"d":"dns_logs 7"}"#),
        (added(vec![number, flag]), r#"{ "x" : 1 }"#, r#"{"x":1,"n":1.50,"b":false}"#),
        (added(vec![text("a\"\n", "b\\")]), r#"{"x":1e400}"#, r#"{"x":1e400,"a\"\n":"b\\"}"#),
        (added(vec![text("x", "y")]), r#"{"x":1,"z":2,"\u0078":3}"#, r#"{"z":2,"x":"y"}"#),
        (added(vec![text("o.x", "y")]), r#"{"o":{"x":1}}"#, r#"{"o":{"x":1},"o.x":"y"}"#),
    ];
    for (choice, record, expected) in cases {
        assert_eq!(rewritten(&choice, record), expected, "{record}");
    }
}

/// A value in which each leaf can be found again.
#[derive(Clone, Debug)]
enum Tree {
    Text(u32),
    Number(u32),
    Array(Vec<Self>),
    Object(Vec<(&'static str, Self)>),
}

/// What becomes of a leaf.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Unchanged,
    /// Masked, or removed.
    Hidden,
}

impl Tree {
    fn render(&self) -> String {
        match self {
            Self::Text(leaf) => format!("\"<{leaf}>\\u003c\""),
            Self::Number(leaf) => format!("9{leaf}.0"),
            Self::Array(list) => {
                format!("[ {}]", list.iter().map(Self::render).collect::<Vec<_>>().join(" ,"))
            }
            Self::Object(members) => {
                let members =
                    members.iter().map(|(name, value)| format!("{name} : {}", value.render()));
                format!("{{ {}}}", members.collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// Gives each leaf a number of its own.
    fn number(&mut self, next: &mut u32) {
        match self {
            Self::Text(leaf) | Self::Number(leaf) => {
                *leaf = *next;
                *next += 1;
            }
            Self::Array(list) => list.iter_mut().for_each(|value| value.number(next)),
            Self::Object(members) => members.iter_mut().for_each(|(_, value)| value.number(next)),
        }
    }

    /// Adds each leaf as in the record, in order, with its fate.
    fn all(&self, fate: Fate, leaves: &mut Vec<(String, Fate)>) {
        match self {
            Self::Text(_) | Self::Number(_) => leaves.push((self.render(), fate)),
            Self::Array(list) => list.iter().for_each(|value| value.all(fate, leaves)),
            Self::Object(members) => members.iter().for_each(|(_, value)| value.all(fate, leaves)),
        }
    }

    /// Adds the leaves of a value in which fields are masked.
    fn searched(&self, paths: &[&str], leaves: &mut Vec<(String, Fate)>) {
        let Self::Object(members) = self else {
            let text = !matches!(self, Self::Number(_));
            return self.all(if text { Fate::Hidden } else { Fate::Unchanged }, leaves);
        };
        for (name, value) in members {
            let name: String = serde_json::from_str(name).unwrap();
            let inner: Vec<&str> = paths
                .iter()
                .filter_map(|path| path.split_once('.'))
                .filter(|(outer, _)| *outer == name)
                .map(|(_, rest)| rest)
                .collect();
            match value {
                _ if paths.contains(&name.as_str()) => value.all(Fate::Hidden, leaves),
                _ if inner.is_empty() => value.all(Fate::Unchanged, leaves),
                Self::Array(list) => list.iter().for_each(|value| value.searched(&inner, leaves)),
                _ => value.searched(&inner, leaves),
            }
        }
    }
}

fn arb_record() -> impl Strategy<Value = Tree> {
    let object = |value: BoxedStrategy<Tree>| {
        let name =
            prop::sample::select(vec![r#""a""#, r#""b""#, r#""c""#, r#""a.b""#, r#""\u0061""#]);
        prop::collection::vec((name, value), 0..5).prop_map(Tree::Object)
    };
    let leaf = prop_oneof![Just(Tree::Text(0)), Just(Tree::Number(0))];
    let value = leaf.prop_recursive(4, 32, 4, move |inner| {
        let inner = inner.boxed();
        prop_oneof![prop::collection::vec(inner.clone(), 0..3).prop_map(Tree::Array), object(inner)]
    });
    object(value.boxed()).prop_map(|mut record| {
        record.number(&mut 0);
        record
    })
}

fn arb_masks() -> impl Strategy<Value = Vec<(String, FieldMask)>> {
    let mask = prop::sample::select(vec![
        FieldMask::Truncate,
        FieldMask::Redact,
        FieldMask::Hash(HashKey::new(KEY)),
    ]);
    let paths = ["a", "b", "a.b", "b.a", "a.b.c", "c.a.b", "b.c"].map(str::to_owned).to_vec();
    (prop::sample::subsequence(paths, 1..4), prop::collection::vec(mask, 3))
        .prop_map(|(paths, masks)| paths.into_iter().zip(masks).collect())
}

proptest! {
    #[test]
    fn nothing_of_a_masked_value_is_passed_on_and_everything_else_is(
        record in arb_record(),
        masks in arb_masks(),
    ) {
        let paths: Vec<&str> = masks.iter().map(|(path, _)| path.as_str()).collect();
        let mut leaves = Vec::new();
        record.searched(&paths, &mut leaves);
        let choice = Choice { masks: masks.clone(), ..Choice::default() };
        let left = rewritten(&choice, &record.render());
        let mut rest = left.as_str();
        for (leaf, fate) in leaves {
            if fate == Fate::Unchanged {
                let found = rest.split_once(&leaf);
                prop_assert!(found.is_some(), "{leaf} is missing in {left}");
                rest = found.map_or("", |(_, rest)| rest);
            } else {
                let text = leaf.trim_matches('"').trim_end_matches("\\u003c");
                prop_assert!(!left.contains(text), "{leaf} is in {left}");
            }
        }
        serde_json::from_str::<serde_json::Value>(&left).unwrap();
        // Masking again changes nothing, except for hashes.
        if masks.iter().all(|(_, mask)| !matches!(mask, FieldMask::Hash(_))) {
            prop_assert_eq!(rewritten(&choice, &left), left);
        }
    }
}
