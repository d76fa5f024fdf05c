//! A model of selections with values of `serde_json`, for tests.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::{
    tests::{BATCH, block, number, rename, rewritten, text},
    *,
};

/// Whether an object may contain duplicate names.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Duplicates {
    Allowed,
    None,
}

/// JSON text with everything that parsers accept: spaces, escapes, duplicate names.
fn arb_json(duplicates: Duplicates) -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just(r#""a""#),
        Just(r#""b""#),
        Just(r#""c""#),
        Just(r#""a.b""#),
        Just(r#""\u0061""#),
    ];
    let leaf = prop_oneof![
        (0..4_i32).prop_map(|n| n.to_string()),
        Just("1.0".to_owned()),
        Just("2e0".to_owned()),
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just(r#""1""#.to_owned()),
        Just(r#""\u0078""#.to_owned()),
        Just(r#""x""#.to_owned()),
    ];
    let object = move |value: BoxedStrategy<String>| {
        prop::collection::vec((name.clone(), value), 0..5).prop_map(move |members| {
            let mut seen = HashSet::new();
            let mut is_new = |name: &str| seen.insert(name.replace("\\u0061", "a"));
            let members = members
                .iter()
                .filter(|(name, _)| duplicates == Duplicates::Allowed || is_new(name));
            let members: Vec<_> = members.map(|(name, value)| format!("{name} :{value}")).collect();
            format!("{{ {} }}", members.join(" ,"))
        })
    };
    let value = leaf.prop_recursive(3, 24, 4, {
        let object = object.clone();
        move |inner| {
            let inner = inner.boxed();
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3)
                    .prop_map(|list| format!("[ {}]", list.join(", "))),
                object(inner),
            ]
        }
    });
    object(value.boxed())
}

fn arb_field() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("a.b"), Just("b.a"), Just("a.b.c"), Just("c.a.b")]
        .prop_map(str::to_owned)
}

fn arb_scalars() -> impl Strategy<Value = Vec<Scalar>> {
    let scalar = prop_oneof![
        (0..4).prop_map(|n: i32| number(&n.to_string())),
        Just(text("x")),
        Just(text("1")),
        any::<bool>().prop_map(Scalar::Bool),
    ];
    prop::collection::vec(scalar, 1..3)
}

fn arb_test() -> impl Strategy<Value = Test> {
    let comparison = prop_oneof![
        Just(Comparison::Above),
        Just(Comparison::AtLeast),
        Just(Comparison::Below),
        Just(Comparison::AtMost)
    ];
    prop_oneof![
        arb_scalars().prop_map(Test::OneOf),
        arb_scalars().prop_map(Test::NoneOf),
        any::<bool>().prop_map(Test::Exists),
        (comparison, 0..4)
            .prop_map(|(comparison, n): (_, i32)| Test::Compare(comparison, n.to_string())),
    ]
}

/// The values of a field, with arrays replaced by their elements.
fn values<'j>(object: &'j Json, path: &str) -> Vec<&'j Json> {
    let flatten = |value: &'j Json| match value {
        Json::Array(list) => list.iter().collect(),
        other => vec![other],
    };
    if let Some(value) = object.get(path) {
        return flatten(value);
    }
    let Some((outer, rest)) = path.split_once('.') else { return Vec::new() };
    let inner = object.get(outer).map(flatten).unwrap_or_default();
    inner
        .into_iter()
        .filter(|value| value.is_object())
        .flat_map(|value| values(value, rest))
        .collect()
}

fn exists(object: &Json, path: &str) -> bool {
    if let Some(value) = object.get(path) {
        return !value.is_null();
    }
    let Some((outer, rest)) = path.split_once('.') else { return false };
    match object.get(outer) {
        Some(Json::Array(list)) => {
            list.iter().any(|value| value.is_object() && exists(value, rest))
        }
        Some(inner) => exists(inner, rest),
        None => false,
    }
}

fn model_passes(record: &Json, condition: &Condition) -> bool {
    let values = values(record, &condition.field);
    let equal = |value: &Json, scalar: &Scalar| match scalar {
        Scalar::String(text) => value.as_str() == Some(text),
        Scalar::Number(text) => value.as_f64() == text.parse().ok(),
        Scalar::Bool(flag) => value.as_bool() == Some(*flag),
    };
    let any_of =
        |list: &[Scalar]| values.iter().any(|value| list.iter().any(|scalar| equal(value, scalar)));
    match &condition.test {
        Test::OneOf(list) => any_of(list),
        Test::NoneOf(list) => !any_of(list),
        Test::Exists(wanted) => exists(record, &condition.field) == *wanted,
        Test::Compare(comparison, bound) => {
            let bound: f64 = bound.parse().unwrap();
            values.iter().filter_map(|value| value.as_f64()).any(|value| match comparison {
                Comparison::Above => value > bound,
                Comparison::AtLeast => value >= bound,
                Comparison::Below => value < bound,
                Comparison::AtMost => value <= bound,
            })
        }
    }
}

fn model_drop(object: &mut Map<String, Json>, path: &str) {
    object.remove(path);
    let Some((outer, rest)) = path.split_once('.') else { return };
    match object.get_mut(outer) {
        Some(Json::Object(inner)) => model_drop(inner, rest),
        Some(Json::Array(list)) => {
            list.iter_mut()
                .filter_map(Json::as_object_mut)
                .for_each(|inner| model_drop(inner, rest));
        }
        _ => {}
    }
}

fn model_keep(object: &Map<String, Json>, paths: &[&str]) -> Map<String, Json> {
    let inner_of = |name: &str| -> Vec<&str> {
        let split = paths.iter().filter_map(|path| path.split_once('.'));
        split.filter(|(outer, _)| *outer == name).map(|(_, rest)| rest).collect()
    };
    let remaining = object.iter().filter_map(|(name, value)| {
        let inner = inner_of(name);
        let left = match value {
            _ if paths.contains(&name.as_str()) => value.clone(),
            _ if inner.is_empty() => return None,
            Json::Object(object) => Json::Object(model_keep(object, &inner)),
            Json::Array(list) => list
                .iter()
                .filter_map(Json::as_object)
                .map(|object| Json::Object(model_keep(object, &inner)))
                .collect(),
            _ => return None,
        };
        Some((name.clone(), left))
    });
    remaining.collect()
}

proptest! {
    #[test]
    fn conditions_agree_with_the_model(
        records in prop::collection::vec(arb_json(Duplicates::Allowed), 1..6),
        conditions in prop::collection::vec((arb_field(), arb_test()), 1..3),
    ) {
        let lines: Vec<&str> = records.iter().map(String::as_str).collect();
        let conditions: Vec<_> =
            conditions.into_iter().map(|(field, test)| Condition { field, test }).collect();
        let expected: String = lines
            .iter()
            .filter(|line| {
                let record = serde_json::from_str(line).unwrap();
                conditions.iter().all(|condition| model_passes(&record, condition))
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        let choice = Choice { conditions, ..Choice::default() };
        let block = block(&lines);
        let selected = Selection::new(&choice).unwrap().apply(&block, &BATCH);
        prop_assert_eq!(String::from_utf8_lossy(&selected.bytes), &*expected);
        prop_assert_eq!(selected.records, expected.lines().count() as u64);
    }

    #[test]
    fn kept_and_dropped_fields_agree_with_the_model(
        // The result of `keep_fields` for duplicate members is not modeled.
        (record, keep) in prop_oneof![
            (arb_json(Duplicates::None), Just(true)),
            (arb_json(Duplicates::Allowed), Just(false)),
        ],
        fields in prop::collection::vec(arb_field(), 1..4),
    ) {
        let Json::Object(before) = serde_json::from_str(&record).unwrap() else { unreachable!() };
        let mut expected = before.clone();
        let fields = if keep {
            let paths: Vec<&str> = fields.iter().map(String::as_str).collect();
            expected = model_keep(&before, &paths);
            Fields::Keep(fields)
        } else {
            for path in &fields {
                model_drop(&mut expected, path);
            }
            Fields::Drop(fields)
        };
        let left = rewritten(&Choice { fields, ..Choice::default() }, &record);
        prop_assert_eq!(serde_json::from_str::<Json>(&left).unwrap(), json!(expected), "{}", left);
        prop_assert!(!left.contains('\n'));
    }

    #[test]
    fn renamed_fields_agree_with_the_model(
        record in arb_json(Duplicates::Allowed),
        pairs in prop::sample::subsequence(vec![("a", "b"), ("b", "a"), ("c", "z"), ("a.b", "c")], 1..4),
    ) {
        let Json::Object(before) = serde_json::from_str(&record).unwrap() else { unreachable!() };
        let mut expected = before.clone();
        for (old, _) in &pairs {
            expected.remove(*old);
        }
        for (old, new) in &pairs {
            if let Some(value) = before.get(*old) {
                expected.insert((*new).to_owned(), value.clone());
            }
        }
        let left = rewritten(&Choice { rename: rename(&pairs), ..Choice::default() }, &record);
        prop_assert_eq!(serde_json::from_str::<Json>(&left).unwrap(), json!(expected), "{}", left);
    }
}
