//! Control characters and invisible characters in all parts of a message.

use super::*;

#[test]
fn no_hidden_character_is_in_a_message() {
    let hidden = ('\0'..=char::MAX).filter(|c| printable::is_hidden(*c));
    for c in hidden {
        let text = format!("a{c}b");
        let record = serde_json::json!({
            "Action": text, (text.clone()): "x", "Text": text, "List": [text],
        });
        for (format, _) in BOTH {
            let line = message(format, "dns_logs", record.to_string().as_bytes());
            let is_tab = |c: char| format == Message::Leef && c == '\t';
            assert!(!line.contains(|c| printable::is_hidden(c) && !is_tab(c)), "{line:?}");
            let read = read(format, &line);
            let found = read.value("Text").unwrap();
            if !matches!(c, '\n' | '\r' | '\t') {
                // Escaped as in JSON: within quotes, the text parses to the value.
                assert_eq!(serde_json::from_str::<String>(&format!("\"{found}\"")).unwrap(), text);
                let list = read.value("List").unwrap();
                assert_eq!(serde_json::from_str::<Vec<String>>(list).unwrap(), [&*text]);
            }
        }
    }
}

#[test]
fn all_other_text_is_unchanged() {
    let record = r#"{"Text":"é \u00a0 🦀 نص = ÿ","Plain":"a b"}"#;
    let cef = read_cef(&message(Message::Cef, "x", record.as_bytes()));
    let leef = read_leef(&message(Message::Leef, "x", record.as_bytes()));
    for read in [cef, leef] {
        assert_eq!(read.value("Text"), Some("é \u{a0} 🦀 نص = ÿ"));
        assert_eq!(read.value("Plain"), Some("a b"));
    }
}
