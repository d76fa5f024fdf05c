use std::{collections::BTreeSet, env, fmt::Write as _, fs, path::PathBuf};

use proptest::prelude::*;
use serde_json::Value;
use settings::printable;

use super::{
    mapping::{ALL, Mapping},
    *,
};

mod documentation;
mod hidden;
mod limits;
mod mappings;

fn repository(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

fn message(message: Message, dataset: &str, record: &[u8]) -> String {
    let mut out = b"kept ".to_vec();
    render(message, dataset, record, &mut out);
    String::from_utf8(out).unwrap().strip_prefix("kept ").unwrap().to_owned()
}

/// A parsed message.
struct Read {
    header: Vec<String>,
    pairs: Vec<(String, String)>,
}

impl Read {
    fn value(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(own, _)| own == key).map(|(_, value)| value.as_str())
    }
}

/// Parses CEF by its standard. Panics if the message violates it.
fn read_cef(line: &str) -> Read {
    let rest = line.strip_prefix("CEF:0|").expect(line);
    let mut header = vec![String::new()];
    let mut letters = rest.chars();
    while header.len() < 7 {
        match letters.next().expect(line) {
            '\\' => match letters.next() {
                Some(letter @ ('\\' | '|')) => header.last_mut().unwrap().push(letter),
                other => panic!("{other:?} is escaped in the header of {line}"),
            },
            '|' => header.push(String::new()),
            letter => header.last_mut().unwrap().push(letter),
        }
    }
    assert_eq!(header.pop().as_deref(), Some(""));

    // The text before an unescaped equals sign, back to the space, is a key.
    let mut values: Vec<String> = vec![String::new()];
    let mut keys = Vec::new();
    while let Some(letter) = letters.next() {
        let value = values.last_mut().unwrap();
        match letter {
            '\\' => value.push(match letters.next() {
                Some(letter @ ('\\' | '=')) => letter,
                Some('n') => '\n',
                Some('r') => '\r',
                other => panic!("{other:?} is escaped in {line}"),
            }),
            '=' => {
                let start = value.rfind(' ').map_or(0, |space| space + 1);
                keys.push(value.split_off(start));
                value.truncate(start.saturating_sub(1));
                values.push(String::new());
            }
            letter => value.push(letter),
        }
    }
    assert_eq!(values.remove(0), "", "{line}");
    Read { header, pairs: keys.into_iter().zip(values).collect() }
}

/// Parses LEEF 2.0 or 1.0, by its header. LEEF has no escapes.
fn read_leef(line: &str) -> Read {
    if let Some(rest) = line.strip_prefix("LEEF:1.0|") {
        let fields: Vec<_> = rest.splitn(5, '|').collect();
        return read_leef(&format!("LEEF:2.0|{}|x09|{}", fields[..4].join("|"), fields[4]));
    }
    let rest = line.strip_prefix("LEEF:2.0|").expect(line);
    let mut header: Vec<_> = rest.splitn(6, '|').map(str::to_owned).collect();
    let attributes = header.pop().unwrap();
    assert_eq!(header.pop().as_deref(), Some("x09"), "{line}");
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').expect(line);
        (key.to_owned(), value.to_owned())
    };
    Read { header, pairs: attributes.split('\t').map(pair).collect() }
}

fn read(format: Message, line: &str) -> Read {
    match format {
        Message::Cef => read_cef(line),
        Message::Leef | Message::Leef1 => read_leef(line),
        Message::Json => panic!("JSON has no header"),
    }
}

const BOTH: [(Message, &str); 2] = [(Message::Cef, "cef"), (Message::Leef, "leef")];

/// `LOGPUSHD_BLESS=1 cargo test` writes the expected messages again; review the difference.
#[test]
fn messages_are_as_recorded() {
    let bless = env::var_os("LOGPUSHD_BLESS").is_some();
    let mut datasets = BTreeSet::new();
    let mut failures = Vec::new();
    for entry in fs::read_dir(repository("tests/data/message")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "ndjson") {
            continue;
        }
        let dataset = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let records = fs::read_to_string(&path).unwrap();
        for (format, extension) in BOTH {
            let lines: String = records
                .lines()
                .map(|record| message(format, &dataset, record.as_bytes()) + "\n")
                .collect();
            let recorded = path.with_extension(extension);
            if bless {
                fs::write(&recorded, &lines).unwrap();
            }
            let expected = fs::read_to_string(&recorded).unwrap_or_default();
            if lines != expected {
                failures.push(format!("{dataset}: expected\n{expected}\ngot\n{lines}"));
            }
        }
        datasets.insert(dataset);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let mapped = ALL.iter().map(|mapping| mapping.dataset).filter(|dataset| !dataset.is_empty());
    for dataset in mapped {
        assert!(datasets.contains(dataset), "{dataset} has no example");
    }
}

#[test]
fn json_is_the_record_itself() {
    let record = br#"{"b" : 1e400,"b":"\u0000"}"#;
    assert_eq!(message(Message::Json, "x", record).as_bytes(), record);
}

#[test]
fn special_characters_are_escaped() {
    let record = br#"{"Action":"a|b\\c\nd","Text":"=\\|\n\r\t\u0000\u007f ","Number":-1.50}"#;
    assert_eq!(
        message(Message::Cef, "one|two", record),
        "CEF:0|Cloudflare|Logpush|1|one\\|two:a\\|b\\\\c d|one\\|two|1| cat=one|two act=a|b\\\\c\\nd Text=\\=\\\\|\\n\\r \\\\u0000\\\\u007f  Number=-1.50"
    );
    assert_eq!(
        message(Message::Leef, "one|two", record),
        "LEEF:2.0|Cloudflare|Logpush|1|one_two:a_b\\c d|x09|cat=one|two\tsev=1\tAction=a|b\\c\\nd\tText==\\|\\n\\r\\t\\u0000\\u007f \tNumber=-1.50"
    );
}

/// A parser that reads `x09` as three characters splits LEEF 1.0 at its tabs.
#[test]
fn leef_1_differs_in_its_header_only() {
    let record = br#"{"ClientIP":"192.0.2.7","Action":"block","Text":"a|x09|b"}"#;
    let one = message(Message::Leef1, "firewall_events", record);
    let two = message(Message::Leef, "firewall_events", record);
    let attributes = two.strip_prefix("LEEF:2.0|Cloudflare|Logpush|1|firewall_events:block|x09|");
    let header = "LEEF:1.0|Cloudflare|Logpush|1|firewall_events:block|";
    assert_eq!(one, format!("{header}{}", attributes.unwrap()));
    assert!(one.strip_prefix(header).unwrap().contains("\tsrc=192.0.2.7\t"));
}

#[test]
fn the_event_id_has_the_maximum_length_of_leef() {
    let record = format!(r#"{{"Action":"{}"}}"#, "ä".repeat(300));
    let line = message(Message::Leef, "dns", record.as_bytes());
    assert_eq!(read_leef(&line).header[3].chars().count(), 255);
}

/// An algorithm with quadratic time would take minutes.
#[test]
fn very_many_unusual_names_take_little_time() {
    let names = ('\u{4e00}'..='\u{9fff}')
        .flat_map(|letter| ["", "a", "_", "-", "."].map(|end| (letter, end)));
    let members: Vec<_> = names.map(|(letter, end)| format!(r#""{letter}{end}":1"#)).collect();
    assert!(members.len() > 100_000);
    let record = format!("{{{}}}", members.join(","));
    let read = read_cef(&message(Message::Cef, "unknown_dataset", record.as_bytes()));
    let keys: BTreeSet<_> = read.pairs.iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), members.len() + 1);
}

#[test]
fn a_value_that_does_not_fit_its_key_keeps_its_name() {
    let record = br#"{"ClientIP":"nobody","ClientSrcPort":65536,"EdgeResponseStatus":"OK","WAFAttackScore":"NaN","ClientRequestBytes":1.5}"#;
    for (format, _) in BOTH {
        let read = read(format, &message(format, "http_requests", record));
        for key in ["src", "spt", "srcPort", "cn1", "cfp1", "in", "srcBytes"] {
            assert_eq!(read.value(key), None, "{format:?}");
        }
        assert_eq!(read.value("ClientIP"), Some("nobody"));
        assert_eq!(read.value("ClientSrcPort"), Some("65536"));
        assert_eq!(read.value("EdgeResponseStatus"), Some("OK"));
        assert_eq!(read.value("WAFAttackScore"), Some("NaN"));
        assert_eq!(read.value("ClientRequestBytes"), Some("1.5"));
    }
}

#[test]
fn severity_depends_on_action_and_status() {
    let cases = [
        ("firewall_events", r#"{"Action":"block"}"#, 7),
        ("firewall_events", r#"{"Action":"managedChallenge"}"#, 5),
        ("firewall_events", r#"{"Action":"jschallengesolved"}"#, 3),
        ("firewall_events", r#"{"Action":"log"}"#, 3),
        ("firewall_events", r#"{"Action":"unknown"}"#, 1),
        ("http_requests", r#"{"EdgeResponseStatus":200}"#, 1),
        ("http_requests", r#"{"EdgeResponseStatus":404}"#, 3),
        ("http_requests", r#"{"EdgeResponseStatus":"403"}"#, 4),
        ("http_requests", r#"{"EdgeResponseStatus":503}"#, 5),
        ("http_requests", r#"{"EdgeResponseStatus":503,"SecurityAction":"block"}"#, 7),
        ("dns_logs", r#"{"ResponseCode":0}"#, 1),
        ("dns_logs", r#"{"ResponseCode":3}"#, 2),
        ("dns_logs", r#"{"ResponseCode":2}"#, 4),
        ("audit_logs", r#"{"ActionResult":true}"#, 3),
        ("audit_logs", r#"{"ActionResult":false}"#, 6),
        ("gateway_network", r#"{"Action":"allowedOnNoRuleMatch"}"#, 1),
        ("nel_reports", "{}", 4),
        ("access_requests", r#"{"Action":"login","Allowed":true}"#, 1),
        ("access_requests", r#"{"Action":"login","Allowed":false}"#, 6),
    ];
    for (dataset, record, severity) in cases {
        let severity = severity.to_string();
        let cef = read_cef(&message(Message::Cef, dataset, record.as_bytes()));
        assert_eq!(cef.header[5], severity, "{dataset}: {record}");
        let leef = read_leef(&message(Message::Leef, dataset, record.as_bytes()));
        assert_eq!(leef.value("sev"), Some(severity.as_str()), "{dataset}: {record}");
    }
}

/// `fields` relies on it: it remembers the last key only.
#[test]
fn fields_with_the_same_key_are_consecutive() {
    for mapping in ALL {
        for (format, _) in BOTH {
            let key = |field: &Field| if format == Message::Cef { field.cef } else { field.leef };
            let mut keys: Vec<_> = mapping.fields.iter().map(key).collect();
            keys.retain(|key| !key.is_empty());
            keys.dedup();
            let unique: BTreeSet<_> = keys.iter().collect();
            assert_eq!(unique.len(), keys.len(), "{} in {format:?}", mapping.dataset);
        }
    }
}

/// A value as a parser returns it: invisible characters are escaped.
fn plain(format: Message, value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if ["", "[]", "{}"].contains(&text.as_str()) {
        return None;
    }
    let letter = |letter: char| match letter {
        '\n' | '\r' if format == Message::Cef => letter.to_string(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' if format == Message::Leef => "\\t".to_owned(),
        '\t' => " ".to_owned(),
        letter if printable::is_hidden(letter) => {
            let mut written = String::new();
            for unit in letter.encode_utf16(&mut [0; 2]) {
                write!(written, "\\u{unit:04x}").unwrap();
            }
            written
        }
        letter => letter.to_string(),
    };
    Some(text.chars().map(letter).collect())
}

fn names(mapping: &Mapping) -> Vec<String> {
    let named = mapping.fields.iter().flat_map(|field| match field.from {
        Source::Member(name) | Source::Time(name) | Source::List(name) => vec![name],
        Source::Url { scheme, host, path, query } => {
            vec![scheme, host, path, query.unwrap_or(host)]
        }
    });
    named.chain(["Timestamp", "src", "cat", "rt"]).map(str::to_owned).collect()
}

fn record(mapping: &Mapping) -> impl Strategy<Value = Vec<(String, Value)>> + use<> {
    let name = prop_oneof![
        6 => prop::sample::select(names(mapping)),
        1 => any::<String>(),
        2 => "[aA._2]{0,3}",
    ];
    let text = prop_oneof![
        any::<String>(),
        "[|=\\\\ \n\r\t^a]{0,8}",
        "192\\.0\\.2\\.[0-9]",
        "2001:db8::[1-9]"
    ];
    let value = prop_oneof![
        6 => text.prop_map(Value::from),
        2 => any::<i64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => prop_oneof![Just(Value::Null), Just(serde_json::json!([])), Just(serde_json::json!({}))],
        1 => any::<Vec<String>>().prop_map(Value::from),
    ];
    prop::collection::vec((name, value), 0..20)
}

proptest! {
    #[test]
    fn every_value_can_be_parsed_from_one_line(
        (mapping, members) in prop::sample::select(&ALL[..])
            .prop_flat_map(|mapping| (Just(mapping), record(mapping))),
        cef in any::<bool>(),
    ) {
        let format = if cef { Message::Cef } else { Message::Leef };
        let written: Vec<_> = members
            .iter()
            .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())))
            .collect();
        let line = message(format, mapping.dataset, format!("{{{}}}", written.join(",")).as_bytes());
        let is_hidden = |c: char| printable::is_hidden(c) && (cef || c != '\t');
        prop_assert!(!line.contains(is_hidden), "{}", line);

        let read = read(format, &line);
        let keys: BTreeSet<_> = read.pairs.iter().map(|(key, _)| key).collect();
        prop_assert_eq!(keys.len(), read.pairs.len(), "a key is in the message twice: {}", line);
        for key in keys {
            let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
            prop_assert!(is_key, "{} in {}", key, line);
        }
        for (position, (name, value)) in members.iter().enumerate() {
            if members.iter().skip(position + 1).any(|(later, _)| later == name) {
                continue;
            }
            let Some(text) = plain(format, value) else { continue };
            let outcome = matches!(text.as_str(), "true" | "false");
            let is_there = read.pairs.iter().any(|(key, found)| {
                *found == text
                    || matches!(key.as_str(), "request" | "url" | "requestContext") && found.contains(&text)
                    || outcome && key == "outcome"
            });
            prop_assert!(is_there, "{:?} of {} is not in {}", text, name, line);
        }
    }

    #[test]
    fn any_input_results_in_one_line(data in any::<Vec<u8>>(), text in "[{}\":a\\\\,0ud8\n]{0,30}") {
        for record in [data.as_slice(), text.as_bytes()] {
            for (format, _) in BOTH {
                let line = message(format, "http_requests", record);
                prop_assert!(!line.contains(['\n', '\r']));
                prop_assert!(read(format, &line).value("cat").is_some());
            }
        }
    }
}
