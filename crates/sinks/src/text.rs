//! Formats a record as a readable line: the dataset, then `name=value` for each member.
//!
//! Values are as in the record, without unneeded quotes, and with control characters escaped.

use records::record::{self, Value};
use settings::printable;

/// Appends the line to `out`, with its line end.
pub(super) fn line(dataset: &str, record: &[u8], out: &mut String) {
    let start = out.len();
    out.push_str(dataset);
    let read = record::for_each_member(record, &mut |name, value| {
        out.push(' ');
        if is_word(&name) {
            out.push_str(&name);
        } else {
            harmless(&serde_json::Value::from(&*name).to_string(), out);
        }
        out.push('=');
        match Value::of(value) {
            Value::String(text) if is_word(&text) => out.push_str(&text),
            _ => harmless(value, out),
        }
    });
    if read.is_err() {
        // A name with an unpaired surrogate, which JSON allows: the record as it is.
        out.truncate(start);
        harmless(&String::from_utf8_lossy(record), out);
    }
    out.push('\n');
}

/// Whether the text is unambiguous without quotes.
fn is_word(text: &str) -> bool {
    let odd =
        |c: char| c.is_whitespace() || printable::is_hidden(c) || matches!(c, '"' | '=' | '\\');
    !text.is_empty() && !text.contains(odd)
}

/// Appends JSON on one line, with its invisible characters escaped. JSON allows some control
/// characters and all format characters in strings, and white space between tokens.
fn harmless(json: &str, out: &mut String) {
    let one_line = json.replace(['\n', '\r', '\t'], " ");
    printable::json(&one_line, out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(record: &str) -> String {
        let mut out = String::new();
        line("dns_logs", record.as_bytes(), &mut out);
        out
    }

    #[test]
    fn values_have_quotes_only_where_needed() {
        let cases = [
            ("{}", "dns_logs\n"),
            (
                r#"{"QueryName":"example.com","QueryType":28,"T":1763766522987654321}"#,
                "dns_logs QueryName=example.com QueryType=28 T=1763766522987654321\n",
            ),
            (
                r#"{"a b":"x y","q":"quote \"=\"","e":"","n":null,"t":true,"o":{"k": [1]}}"#,
                "dns_logs \"a b\"=\"x y\" q=\"quote \\\"=\\\"\" e=\"\" n=null t=true o={\"k\": [1]}\n",
            ),
            (
                "{\"c\":\"\u{9b}2J\u{7f}\",\"n\":\"a\\nb\"}",
                "dns_logs c=\"\\u009b2J\\u007f\" n=\"a\\nb\"\n",
            ),
            (
                "{\"\u{200b}\":\"\u{202e}\u{2028}\",\"o\":[\t\"\u{e0041}\"\r]}",
                "dns_logs \"\\u200b\"=\"\\u202e\\u2028\" o=[ \"\\udb40\\udc41\" ]\n",
            ),
            (r#"{"\ud800":1}"#, "{\"\\ud800\":1}\n"),
        ];
        for (record, expected) in cases {
            assert_eq!(of(record), expected, "{record}");
        }
    }

    proptest! {
        #[test]
        fn it_is_one_line_that_steers_no_terminal(name in "\\PC{0,9}|[\\x00-\\xff]{0,9}", text in any::<String>()) {
            let record = serde_json::json!({ name: text }).to_string();
            let line = of(&record);
            prop_assert!(line.ends_with('\n'));
            prop_assert_eq!(line.chars().filter(|c| printable::is_hidden(*c)).count(), 1);
        }
    }
}
