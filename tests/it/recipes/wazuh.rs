//! Messages as Wazuh reads them. No package registry has Wazuh itself: its pre-decoder's rules are
//! implemented here.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
};

use super::blocks;
use crate::support::Setup;

/// The longest message that Wazuh accepts, without its terminator.
const MAX_MESSAGE: usize = 65_536 - 4;

/// The parts that the pre-decoder extracts from a message: host, program and the rest, which the
/// JSON decoder reads.
fn decode(message: &str) -> (&str, &str, &str) {
    // The receiver removes the priority.
    let (_, text) = message.strip_prefix('<').and_then(|text| text.split_once('>')).unwrap();
    // It recognizes a date by the positions of spaces and colons: `Dec 29 10:00:01 `.
    let bytes = text.as_bytes();
    for (place, byte) in [(3, b' '), (6, b' '), (9, b':'), (12, b':'), (15, b' ')] {
        assert_eq!(bytes[place], byte, "{text}");
    }
    let (host, text) = text.split_at(16).1.split_once(' ').unwrap();
    let (program, text) = text.split_once(':').unwrap();
    for name in [host, program] {
        assert!(
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./@".contains(&byte)),
            "{name}"
        );
    }
    (host, program, text.strip_prefix(' ').unwrap_or(text))
}

#[test]
fn wazuh_extracts_host_program_and_record() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let page = &blocks("wazuh.md", "toml")[0];
    let (table, keys) = page.split_once('\n').unwrap();
    let address = listener.local_addr().unwrap().to_string();
    assert!(keys.contains("wazuh.example.com:514"));
    let keys = keys.replace("wazuh.example.com:514", &address) + "hostname = \"edge-1.example\"";
    let daemon = Setup::new().table(table.trim_matches(&['[', ']'][..]), &keys).start();

    let records = [
        r#"{"ClientIP":"192.0.2.1","ClientRequestURI":"/a: b [1]","EdgeResponseStatus":502}"#,
        r#"{"Nested":{"Path":"/é"},"List":[1,2]}"#,
    ];
    let long = format!("{{\"ClientIP\":\"192.0.2.2\",\"Pad\":\"{}\"}}", "x".repeat(100_000));
    daemon.commit(format!("{}\n{}\n{long}\n", records[0], records[1]).as_bytes());

    let (stream, _) = listener.accept().unwrap();
    let mut messages = BufReader::new(stream).lines().map(Result::unwrap);
    for record in records {
        let message = messages.next().unwrap();
        assert_eq!(decode(&message), ("edge-1.example", "cloudflare", record));
    }
    let message = messages.next().unwrap();
    assert!(message.len() <= MAX_MESSAGE, "{}", message.len());
    assert!(decode(&message).2.starts_with("{\"ClientIP\":\"192.0.2.2\""), "{message}");
}
