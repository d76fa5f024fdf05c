//! Messages for a SIEM: any record becomes one line.

use logpushd::sink::message::{Message, render};

/// Reads each line of `data` as a record.
pub fn message(data: &[u8]) {
    for record in data.split(|byte| *byte == b'\n') {
        for dataset in ["http_requests", "audit_logs", "any|thing"] {
            for (message, beginning) in [(Message::Cef, "CEF:0|"), (Message::Leef, "LEEF:2.0|")] {
                let mut out = Vec::new();
                render(message, dataset, record, &mut out);
                let line = std::str::from_utf8(&out).expect("a message is text");
                assert!(line.starts_with(beginning), "{line:?}");
                let is_control = |letter: char| letter.is_ascii_control() && letter != '\t';
                assert!(!line.contains(is_control), "{line:?} is no line");
            }
        }
    }
}
