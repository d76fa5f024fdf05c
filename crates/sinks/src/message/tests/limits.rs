//! The limits of a whole message, and of values by their keys.

use super::*;

fn shortened(format: Message, dataset: &str, record: &str, max: usize) -> Option<String> {
    let mut out = b"kept ".to_vec();
    let fits = render_within(format, dataset, record.as_bytes(), max, &mut out);
    let line = String::from_utf8(out).unwrap().strip_prefix("kept ").unwrap().to_owned();
    assert!(line.len() <= max);
    assert!(fits || line.is_empty(), "{line}");
    fits.then_some(line)
}

#[test]
fn a_message_that_is_too_long_loses_its_longest_fields_and_lists_them() {
    let record = format!(
        r#"{{"ClientIP":"192.0.2.7","Cookies":"{}","Odd":"6f0a","WorkerSubrequest":"{}","LogpushdDropped":"mine"}}"#,
        "a=b\\\\ ".repeat(1000),
        "x".repeat(2000),
    );
    for (format, key) in [(Message::Cef, "requestCookies"), (Message::Leef, "Cookies")] {
        let whole = read(format, &message(format, "http_requests", record.as_bytes()));
        let read = read(format, &shortened(format, "http_requests", &record, 3000).unwrap());
        assert_eq!(read.header, whole.header);
        assert_eq!(read.value(key), None);
        assert_eq!(read.value("WorkerSubrequest").map(str::len), Some(2000));
        assert_eq!(read.value("LogpushdDropped"), Some("mine"));
        assert_eq!(read.value("LogpushdDropped2"), Some(key));
        let line = shortened(format, "http_requests", &record, 1000).unwrap();
        let read = super::read(format, &line);
        assert_eq!(read.value("LogpushdDropped2"), Some(&*format!("{key},WorkerSubrequest")));
        assert_eq!((read.value("src"), read.value("Odd")), (Some("192.0.2.7"), Some("6f0a")));
        assert_eq!(shortened(format, "http_requests", &record, 60), None);
    }
}

#[test]
fn json_that_is_too_long_loses_its_longest_members_and_lists_them() {
    let shortened = |record: &str, max| shortened(Message::Json, "x", record, max);
    let pad = "p".repeat(300);
    let record = format!(
        r#" {{ "Id" : 1669761187123456789, "a\"\u0062":["{pad}"], "\ud800":"{pad}ppppppppppppppp", "n":1e400, "LogpushdDropped":0}}"#
    );
    let kept = r#"{"Id":1669761187123456789,"n":1e400,"LogpushdDropped":0,"LogpushdDropped2":["#;
    let both = format!(r#"{kept}"\ud800","a\"\u0062"]}}"#);
    assert_eq!(shortened(&record, 300).as_deref(), Some(&*both));
    assert_eq!(shortened(&record, both.len()).as_deref(), Some(&*both));
    assert!(shortened(&record, both.len() - 1).unwrap().contains(r#","Id"]"#));
    let one = shortened(&record, 500).unwrap();
    assert!(one.contains(&pad) && one.ends_with(r#""LogpushdDropped2":["\ud800"]}"#), "{one}");
    // Parsers use the last of several members with one name: another one must not replace it.
    let record = format!(r#"{{"a":"mine","b":2,"\u0061":"{pad}"}}"#);
    let expected = r#"{"b":2,"LogpushdDropped":["a"]}"#;
    assert_eq!(shortened(&record, 100).as_deref(), Some(expected));
    assert_eq!(shortened(&record, 30), Some(r#"{"LogpushdDropped":["a","b"]}"#.to_owned()));
    assert_eq!(shortened(&record, 24), None);
    // A name may be as long as a value, and there may be very many.
    let expected = r#"{"b":2,"LogpushdDropped":["..."]}"#;
    assert_eq!(shortened(&format!(r#"{{"{pad}":1,"b":2}}"#), 100).as_deref(), Some(expected));
    let members: Vec<_> = (0..5000).map(|n| format!(r#""m{n}":"{n:05}""#)).collect();
    let line = shortened(&format!("{{{}}}", members.join(",")), 1024).unwrap();
    assert!(line.len() > 800 && line.ends_with(r#","..."]}"#), "{line}");
}

/// A label has no meaning without its value, nor a value without its label.
#[test]
fn a_label_is_removed_together_with_its_value() {
    let record = format!(r#"{{"RuleID":"{}","RayID":"6f0a"}}"#, "r".repeat(500));
    let read = read_cef(&shortened(Message::Cef, "firewall_events", &record, 300).unwrap());
    assert_eq!((read.value("cs1"), read.value("cs1Label")), (None, None));
    assert_eq!(read.value("LogpushdDropped"), Some("cs1"));
}

#[test]
fn the_list_of_removed_fields_has_a_maximum_length() {
    let members: Vec<_> = (0..5000).map(|n| format!(r#""Member{n}":"{n:05}""#)).collect();
    let record = format!("{{{}}}", members.join(","));
    for (format, _) in BOTH {
        let read = read(format, &shortened(format, "x", &record, 1024).unwrap());
        let names = read.value("LogpushdDropped").unwrap();
        assert!(names.len() < 210 && names.ends_with(",..."), "{names}");
    }
    // A record that cannot be read is one field.
    let record = format!(r#"{{"\ud800":"{}"}}"#, "x".repeat(1000));
    let read = read_cef(&shortened(Message::Cef, "x", &record, 500).unwrap());
    assert_eq!(read.value("LogpushdDropped"), Some("msg"));
}

/// In the dictionary of CEF, `in`, `out` and `fsize` are integers of 32 bits.
#[test]
fn a_number_of_more_than_32_bits_has_the_name_of_its_member() {
    let dataset = "http_requests";
    for (bytes, is_short) in [("2147483647", true), ("2147483648", false), ("5000000000", false)] {
        let record = format!(r#"{{"EdgeResponseBytes":{bytes},"ClientRequestBytes":"{bytes}"}}"#);
        let cef = read_cef(&message(Message::Cef, dataset, record.as_bytes()));
        for (key, member) in [("out", "EdgeResponseBytes"), ("in", "ClientRequestBytes")] {
            assert_eq!(cef.value(if is_short { key } else { member }), Some(bytes));
            assert_eq!(cef.value(if is_short { member } else { key }), None);
        }
        let leef = read_leef(&message(Message::Leef, dataset, record.as_bytes()));
        assert_eq!((leef.value("dstBytes"), leef.value("srcBytes")), (Some(bytes), Some(bytes)));
    }
    let record = br#"{"BlockedFileSize":3000000000}"#;
    let cef = read_cef(&message(Message::Cef, "gateway_http", record));
    assert_eq!((cef.value("fsize"), cef.value("BlockedFileSize")), (None, Some("3000000000")));
}

proptest! {
    #[test]
    fn a_message_of_any_length_is_valid_and_contains_only_whole_fields(
        (mapping, members) in prop::sample::select(&ALL[..])
            .prop_flat_map(|mapping| (Just(mapping), record(mapping))),
        cef in any::<bool>(),
        max in 60_usize..1500,
    ) {
        let format = if cef { Message::Cef } else { Message::Leef };
        let written: Vec<_> = members
            .iter()
            .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())))
            .collect();
        let record = format!("{{{}}}", written.join(","));
        let whole = message(format, mapping.dataset, record.as_bytes());
        prop_assume!(whole.len() > max);
        let Some(line) = shortened(format, mapping.dataset, &record, max) else { return Ok(()) };
        let (whole, read) = (read(format, &whole), read(format, &line));
        prop_assert_eq!(&read.header, &whole.header);
        let (note, kept) = read.pairs.split_last().unwrap();
        prop_assert!(note.0.starts_with("LogpushdDropped"), "{}", line);
        prop_assert!(kept.iter().all(|pair| whole.pairs.contains(pair)), "{}", line);
        prop_assert_eq!(&kept[0].0, "cat");
        let missing = |key: &str| read.value(key).is_none() && whole.value(key).is_some();
        for name in note.1.split(',').filter(|name| *name != "...") {
            prop_assert!(missing(name), "{} in {}", name, line);
        }
    }

    #[test]
    fn json_of_any_length_is_valid_and_contains_only_whole_members(
        members in prop::collection::vec(("\\PC{0,12}|[ab]", json()), 0..12),
        spaces in "[ \t]{0,2}",
        max in 30_usize..400,
    ) {
        let member = |(name, value): &(String, Value)| {
            format!("{}{spaces}:{value}{spaces}", Value::from(name.as_str()))
        };
        let record = format!("{spaces}{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","));
        prop_assume!(record.len() > max);
        let Some(line) = shortened(Message::Json, "x", &record, max) else { return Ok(()) };
        let whole: serde_json::Map<String, Value> = serde_json::from_str(&record).unwrap();
        let mut read: serde_json::Map<String, Value> = serde_json::from_str(&line).unwrap();
        let Some(Value::Array(names)) = read.remove("LogpushdDropped") else { panic!("{line}") };
        for (name, value) in &read {
            prop_assert_eq!(Some(value), whole.get(name), "{}", line);
        }
        for name in names.iter().map(|name| name.as_str().unwrap()).filter(|name| *name != "...") {
            prop_assert!(whole.contains_key(name) && !read.contains_key(name), "{} in {}", name, line);
        }
        let missing = whole.keys().filter(|name| !read.contains_key(*name)).count();
        prop_assert!(missing == names.len() || names.last().unwrap() == "...", "{}", line);
    }
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,80}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| prop::collection::vec(inner, 0..3).prop_map(Value::from))
}
