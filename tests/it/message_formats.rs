//! CEF and LEEF, read back by liblognorm, the parser of rsyslog, and by none of our code.

use std::{
    collections::BTreeMap,
    io::Write as _,
    process::{Command, Stdio},
};

use logpushd::sink::message::{Message, render};
use serde_json::{Map, Value, value::RawValue};

use crate::support::{names_in, repository, require};

/// Numbers with their original text.
type Members = BTreeMap<String, Box<RawValue>>;

const RULES_CEF: &str = "version=2\nrule=:%message:cef%\n";
/// liblognorm has no parser for LEEF, but the means to define one.
const RULES_LEEF: &str = concat!(
    "version=2\n",
    "rule=:LEEF:2.0|%vendor:char-to:|%|%product:char-to:|%|%version:char-to:|%|%event:char-to:|%|x09|",
    r#"%{"name":"attributes","type":"repeat","parser":["#,
    r#"{"name":"key","type":"char-to","extradata":"="},{"type":"literal","text":"="},"#,
    r#"{"name":"value","type":"char-sep","extradata":"\t"}],"#,
    r#""while":[{"type":"literal","text":"\t"}]}%"#,
    "\n"
);

fn normalized(rules: &str, lines: &str) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let rulebase = directory.path().join("rules");
    std::fs::write(&rulebase, rules).unwrap();
    let mut child = Command::new("lognormalizer")
        .arg("-r")
        .arg(&rulebase)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Less than the capacity of a pipe, so neither waits for the other.
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The datasets of the examples, and each record with its message.
fn examples(format: Message) -> Vec<(String, Members, String)> {
    let directory = repository("tests/data/message");
    let files = names_in(&directory).into_iter().filter(|name| name.ends_with(".ndjson"));
    let examples = files.flat_map(|name| {
        let text = std::fs::read_to_string(directory.join(&name)).unwrap();
        let dataset = name.trim_end_matches(".ndjson").to_owned();
        let records = text.lines().filter_map(|record| {
            let mut out = Vec::new();
            render(format, &dataset, record.as_bytes(), &mut out);
            // Half of a surrogate pair in a name: no JSON parser accepts it.
            let members = serde_json::from_str(record).ok()?;
            Some((dataset.clone(), members, String::from_utf8(out).unwrap()))
        });
        records.collect::<Vec<_>>()
    });
    examples.collect()
}

/// The keys of a CEF message, in their order: the text between a space and an equals sign that is
/// not escaped.
fn cef_keys(line: &str) -> Vec<String> {
    let plain = line.replace("\\\\", "..").replace("\\=", "..").replace("\\|", "..");
    let extension = plain.splitn(8, '|').nth(7).unwrap();
    let mut parts: Vec<_> = extension.split('=').collect();
    parts.pop();
    parts.iter().map(|part| part.rsplit(' ').next().unwrap().to_owned()).collect()
}

/// The header of LEEF 1.0 has one field fewer.
fn leef_keys(line: &str) -> Vec<String> {
    let parts = if line.starts_with("LEEF:1.0|") { 6 } else { 7 };
    let attributes = line.splitn(parts, '|').nth(parts - 1).unwrap().split('\t');
    attributes.map(|pair| pair.split_once('=').unwrap().0.to_owned()).collect()
}

/// Asserts that the parsed message has these keys, and no others.
fn check_keys(mut keys: Vec<String>, line: &str, read: &Map<String, Value>) {
    keys.sort_unstable();
    let mut found: Vec<_> = read.keys().cloned().collect();
    found.sort_unstable();
    assert_eq!(found, keys, "{line}");
}

/// Asserts that the parsed message has each value of a record.
fn check(format: Message, line: &str, members: &Members, read: &Map<String, Value>) {
    let values: Vec<_> = read.values().map(|value| value.as_str().unwrap()).collect();
    for (name, value) in members {
        let text = match value.get().as_bytes().first() {
            Some(b'"') => serde_json::from_str::<String>(value.get()).unwrap(),
            // Its parts are within JSON, which may be spaced otherwise.
            Some(b'[' | b'{' | b'n') => continue,
            _ => value.get().to_owned(),
        };
        // No reader of lines may interpret it as the end of a line.
        let text = text.replace('\u{2028}', "\\u2028");
        let text = match format {
            Message::Cef => text.replace('\t', " "),
            _ => text.replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r"),
        };
        let outcome = match text.as_str() {
            "" => continue,
            "true" => "success",
            "false" => "failure",
            text => text,
        };
        let is_there = values.iter().any(|found| {
            // A scheme or a path is within the URL.
            *found == text || *found == outcome || found.contains("://") && found.contains(&text)
        });
        assert!(is_there, "{text:?} of {name} was not read from {line}\n{read:?}");
    }
}

fn there_is_no_lognormalizer() -> bool {
    !require::has(&[&require::LOGNORMALIZER])
}

#[test]
fn cef_is_read_by_liblognorm() {
    if there_is_no_lognormalizer() {
        return;
    }
    let examples = examples(Message::Cef);
    assert!(examples.len() > 20);
    let lines: String = examples.iter().map(|(_, _, line)| line.clone() + "\n").collect();
    let read = normalized(RULES_CEF, &lines);
    assert_eq!(read.len(), examples.len());
    for ((dataset, members, line), read) in examples.iter().zip(read) {
        let message = read["message"].as_object().unwrap_or_else(|| panic!("{line}: {read}"));
        assert_eq!(message["DeviceVendor"], "Cloudflare");
        assert_eq!(message["DeviceProduct"], "Logpush");
        assert!(message["SignatureID"].as_str().unwrap().starts_with(dataset.as_str()));
        let severity: u8 = message["Severity"].as_str().unwrap().parse().unwrap();
        assert!((1..=10).contains(&severity), "{line}");
        let extensions = message["Extensions"].as_object().unwrap();
        check_keys(cef_keys(line), line, extensions);
        assert_eq!(extensions["cat"], dataset.as_str());
        assert!(extensions["rt"].as_str().unwrap().starts_with("1763766522"), "{line}");
        check(Message::Cef, line, members, extensions);
    }
}

#[test]
fn leef_is_read_by_liblognorm() {
    if there_is_no_lognormalizer() {
        return;
    }
    leef_is_read(Message::Leef, RULES_LEEF);
}

/// liblognorm's rules know tabs only, and no `x09`.
#[test]
fn leef_1_is_read_by_liblognorm() {
    if there_is_no_lognormalizer() {
        return;
    }
    let rules = RULES_LEEF.replace("LEEF:2.0|", "LEEF:1.0|").replace("|x09|", "|");
    leef_is_read(Message::Leef1, &rules);
}

fn leef_is_read(format: Message, rules: &str) {
    let examples = examples(format);
    assert!(examples.len() > 20);
    let lines: String = examples.iter().map(|(_, _, line)| line.clone() + "\n").collect();
    let read = normalized(rules, &lines);
    assert_eq!(read.len(), examples.len());
    for ((dataset, members, line), read) in examples.iter().zip(read) {
        assert_eq!(read["vendor"], "Cloudflare", "{line}");
        assert!(read["event"].as_str().unwrap().starts_with(dataset.as_str()), "{line}");
        let attributes: Map<_, _> = read["attributes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| (pair["key"].as_str().unwrap().to_owned(), pair["value"].clone()))
            .collect();
        check_keys(leef_keys(line), line, &attributes);
        assert_eq!(attributes["cat"], dataset.as_str());
        assert!(attributes["devTime"].as_str().unwrap().starts_with("1763766522"), "{line}");
        check(format, line, members, &attributes);
    }
}
