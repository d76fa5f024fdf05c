//! Messages for a SIEM: any record becomes one line.

use logpushd::{
    printable::is_hidden,
    sink::message::{Message, render, render_within},
};

/// Reads each line of `data` as a record.
pub fn message(data: &[u8]) {
    for record in data.split(|byte| *byte == b'\n') {
        for dataset in ["http_requests", "audit_logs", "any|dataset"] {
            for (message, beginning) in [
                (Message::Cef, "CEF:0|"),
                (Message::Leef, "LEEF:2.0|"),
                (Message::Leef1, "LEEF:1.0|"),
            ] {
                let mut out = Vec::new();
                render(message, dataset, record, &mut out);
                let line = std::str::from_utf8(&out).expect("a message is text");
                assert!(line.starts_with(beginning), "{line:?}");
                let steers = |letter: char| is_hidden(letter) && letter != '\t';
                assert!(!line.contains(steers), "{line:?} steers a reader");
                check(message, line);
                let max = line.len().saturating_sub(1 + record.len() % 251);
                let mut short = Vec::new();
                if render_within(message, dataset, record, max, &mut short) {
                    assert!(short.len() <= max, "{short:?} is longer than {max}");
                    check(message, std::str::from_utf8(&short).expect("a message is text"));
                }
            }
        }
    }
}

/// Reads a message strictly: only pairs follow the header, and only permitted characters are
/// escaped.
fn check(message: Message, line: &str) {
    let keys = match message {
        Message::Leef => leef_keys(line, 7),
        Message::Leef1 => leef_keys(line, 6),
        Message::Cef | Message::Json => cef_keys(line),
    };
    for key in &keys {
        let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
        assert!(is_key, "{key:?} in {line:?}");
    }
    let unique: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(unique.len(), keys.len(), "a key is repeated in {line:?}");
}

/// The header of LEEF 1.0 has one field fewer.
fn leef_keys(line: &str, parts: usize) -> Vec<&str> {
    let attributes = line.splitn(parts, '|').nth(parts - 1).expect("there are attributes");
    attributes.split('\t').map(|pair| pair.split_once('=').expect("it is a pair").0).collect()
}

fn cef_keys(line: &str) -> Vec<&str> {
    let mut parts = unescaped_equals(after_cef_header(line).expect("there is an extension"));
    parts.pop();
    parts.into_iter().map(|part| part.rsplit(' ').next().unwrap_or_default()).collect()
}

/// Returns the text after the seventh unescaped bar.
fn after_cef_header(line: &str) -> Option<&str> {
    let mut bars = 0;
    let mut letters = line.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => assert!(matches!(letters.next(), Some((_, '\\' | '|'))), "{line:?}"),
            '|' => bars += 1,
            _ => {}
        }
        if bars == 7 {
            return line.get(at + 1..);
        }
    }
    None
}

fn unescaped_equals(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => {
                assert!(matches!(letters.next(), Some((_, '\\' | '=' | 'n' | 'r'))), "{text:?}");
            }
            '=' => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}
