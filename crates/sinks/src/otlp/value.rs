//! Converts JSON to values of OTLP without changing them.

use std::{borrow::Cow, collections::HashMap};

use records::record::{self, Value as Json};
use serde_json::value::RawValue;

use super::proto::{AnyValue, ArrayValue, KeyValue, KeyValueList, Value};

/// The maximum depth of arrays and objects within each other. Deeper ones are sent as JSON text,
/// since decoders of protobuf limit the depth of messages, usually to 100, and each level has up to
/// three messages.
const MAX_DEPTH: usize = 16;

/// Converts a member of a record.
pub(super) fn any_value(json: &Json<'_>) -> AnyValue {
    convert(json, 1)
}

/// A string.
pub(super) fn string(text: impl Into<String>) -> AnyValue {
    AnyValue { value: Some(Value::String(text.into())) }
}

/// A member of a map, or an attribute.
pub(super) fn pair(key: impl Into<String>, value: AnyValue) -> KeyValue {
    KeyValue { key: key.into(), value: Some(value) }
}

fn convert(json: &Json<'_>, depth: usize) -> AnyValue {
    let value = match json {
        Json::Null => return AnyValue { value: None },
        Json::Bool(is_true) => Value::Bool(*is_true),
        Json::Number(text) => number(text),
        Json::String(text) => Value::String(text.clone().into_owned()),
        Json::Composite(text) => {
            let converted = (depth < MAX_DEPTH).then(|| composite(text, depth + 1)).flatten();
            converted.unwrap_or_else(|| Value::String((*text).to_owned()))
        }
    };
    AnyValue { value: Some(value) }
}

/// Converts an array or an object. `None` if a name in it is not Unicode.
fn composite(text: &str, depth: usize) -> Option<Value> {
    if text.starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
        let values = items.into_iter().map(|item| convert(&Json::of(item.get()), depth)).collect();
        return Some(Value::Array(ArrayValue { values }));
    }
    // Keys must be unique. Of several members with one name, the last one counts, as in most JSON
    // parsers.
    let mut indexes: HashMap<Cow<'_, str>, usize> = HashMap::new();
    let mut values: Vec<KeyValue> = Vec::new();
    let read = record::for_each_member(text.as_bytes(), &mut |name, value| {
        let value = convert(&Json::of(value), depth);
        let index = indexes.get(&name).copied();
        if let Some(known) = index.and_then(|index| values.get_mut(index)) {
            known.value = Some(value);
        } else {
            values.push(pair(name.as_ref(), value));
            indexes.insert(name, values.len() - 1);
        }
    });
    read.ok()?;
    Some(Value::Map(KeyValueList { values }))
}

/// Converts a number to the type that represents it exactly, or else to text.
fn number(text: &str) -> Value {
    // As a whole number, minus zero would lose its sign.
    if let Ok(number) = text.parse::<i64>()
        && text != "-0"
    {
        return Value::Int(number);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && is_same(text, number) => Value::Double(number),
        _ => Value::String(text.to_owned()),
    }
}

/// Whether the shortest text that `number` has contains all digits of `text`.
fn is_same(text: &str, number: f64) -> bool {
    let written = format!("{number:e}");
    let both = (decimal(text), decimal(&written));
    matches!(both, (Some(text), Some(written)) if text == written)
}

/// The significant digits of a number, and the exponent of the last one. `None` if the exponent is
/// out of range.
fn decimal(text: &str) -> Option<(String, i64)> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: i64 = exponent.parse().ok()?;
    let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some((String::new(), 0));
    }
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    Some((significant.to_owned(), exponent.checked_add(zeros)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(raw: &str) -> Option<Value> {
        any_value(&Json::of(raw)).value
    }

    #[test]
    fn scalars_keep_type_and_value() {
        for (raw, expected) in [
            ("null", None),
            ("true", Some(Value::Bool(true))),
            ("false", Some(Value::Bool(false))),
            ("0", Some(Value::Int(0))),
            ("-9223372036854775808", Some(Value::Int(i64::MIN))),
            ("1655392000123456789", Some(Value::Int(1_655_392_000_123_456_789))),
            ("1.5", Some(Value::Double(1.5))),
            ("1.50", Some(Value::Double(1.5))),
            ("-0.001e3", Some(Value::Double(-1.0))),
            ("0.1", Some(Value::Double(0.1))),
            ("0.0", Some(Value::Double(0.0))),
            ("5e-324", Some(Value::Double(5e-324))),
            ("1e22", Some(Value::Double(1e22))),
            (r#""a\u00e4\n\"""#, Some(Value::String("aä\n\"".into()))),
            (r#""""#, Some(Value::String(String::new()))),
        ] {
            assert_eq!(value(raw), expected, "{raw}");
        }
        assert!(matches!(value("-0"), Some(Value::Double(zero)) if zero.is_sign_negative()));
    }

    #[test]
    fn a_number_that_would_lose_digits_is_text() {
        for raw in [
            "18446744073709551615",
            // Floating point represents it exactly, but its shortest text has other digits.
            "9223372036854775808",
            "9223372036854775809",
            "0.12345678901234567890123",
            "1e400",
            "1e-400",
            "1e99999999999999999999",
            "1655392000.123456789",
        ] {
            assert_eq!(value(raw), Some(Value::String(raw.into())), "{raw}");
        }
    }

    #[test]
    fn arrays_and_objects_keep_their_order() {
        let json = r#"{"b":[1,"x",null],"a":{"z":true},"b":[2]}"#;
        let int = |number| AnyValue { value: Some(Value::Int(number)) };
        let inner =
            KeyValueList { values: vec![pair("z", AnyValue { value: Some(Value::Bool(true)) })] };
        let expected = KeyValueList {
            values: vec![
                // The last of two members with one name, at the position of the first.
                pair(
                    "b",
                    AnyValue { value: Some(Value::Array(ArrayValue { values: vec![int(2)] })) },
                ),
                pair("a", AnyValue { value: Some(Value::Map(inner)) }),
            ],
        };
        assert_eq!(value(json), Some(Value::Map(expected)));
        let list = r#"[1,"x",null,[]]"#;
        let empty = Value::Array(ArrayValue::default());
        let values =
            vec![int(1), string("x"), AnyValue { value: None }, AnyValue { value: Some(empty) }];
        assert_eq!(value(list), Some(Value::Array(ArrayValue { values })));
    }

    #[test]
    fn what_is_too_deep_or_not_unicode_is_text() {
        let text = r#"{"\ud800":1}"#;
        assert_eq!(value(text), Some(Value::String(text.into())));
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        let mut read = value(&deep);
        let mut depth = 0;
        while let Some(Value::Array(list)) = read {
            depth += 1;
            read = list.values[0].value.clone();
        }
        let rest = format!("{}1{}", "[".repeat(200 - depth), "]".repeat(200 - depth));
        assert_eq!((depth, read), (MAX_DEPTH - 1, Some(Value::String(rest))));
    }

    proptest! {
        #[test]
        fn a_number_keeps_its_value(text in "-?(0|[1-9][0-9]{0,22})(\\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?") {
            match number(&text) {
                Value::Int(number) => prop_assert_eq!(number.to_string(), text),
                Value::Double(number) => prop_assert_eq!(decimal(&format!("{number:e}")), decimal(&text)),
                Value::String(same) => prop_assert_eq!(same, text),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
