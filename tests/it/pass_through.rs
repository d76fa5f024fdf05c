//! Records are delivered byte for byte.

use std::{collections::HashMap, thread};

use serde_json::Value;

use crate::support::{
    Http, Setup, Upload, count_lines, gzip, http_requests, numbered, same_bytes, samples::samples,
    small_records,
};

/// Odd, but each is one JSON object.
const ODD: [&str; 20] = [
    r"{}",
    r#"{"a":1506702504433000200,"b":9223372036854775807,"c":-9223372036854775808}"#,
    r#"{"beyond 64 bits":18446744073709551616,"c":123456789012345678901234567890}"#,
    r#"{"huge":1e400,"tiny":1e-400,"minus zero":-0,"exact":0.1000000000000000055511151231257827}"#,
    r#"{"a":1.0,"b":1.00,"c":1E5,"d":1e+5,"e":0e0}"#,
    r#"{"twice":1,"twice":2,"twice":{"twice":[]}}"#,
    r#"{"escapes":"\" \\ \/ \b \f \n \r \t \u0041 \u00e9 \u20AC"}"#,
    r#"{"lone surrogates":"\ud800","\udc00":"\ud83e and \udd80"}"#,
    r#"{"a pair":"\ud83e\udd80","raw":"🦀","nul":"\u0000","del":"","bom":"﻿"}"#,
    r#"{"line separators":"  "}"#,
    r#"{"z":1,"y":2,"a":3,"Z":4,"10":5,"9":6,"":7}"#,
    r#"{"null":null,"true":true,"false":false,"empty":[{},[],""]}"#,
    r#"{ "spaces" :  [ 1 , 2 ]	, "tab":	1 }"#,
    r#" {"leading":"space"}"#,
    r#"{"trailing":"space"}  	"#,
    r#"{"nested":{"a":{"b":{"c":[[[[[[[[{"d":1}]]]]]]]]}}}}"#,
    r#"{"quoted number":"1506702504433000200","rfc3339":"2026-02-03T04:05:06.789012345Z"}"#,
    r#"{"html":"<script>&amp;</script>","${jndi":"x{jndi:ldap://}"}"#,
    r#"{"content":"test"}"#,
    r#"{"ünïcödé":"ключ","日本":"語"}"#,
];

fn odd_lines() -> Vec<u8> {
    let mut lines = ODD.join("\n").into_bytes();
    lines.push(b'\n');
    lines
}

#[test]
fn every_record_is_delivered_byte_for_byte_however_it_is_sent() {
    let long = format!("{{\"Long\":\"{}\"}}\n", "long \\u00e9 ".repeat(110 * 1024));
    assert!(long.len() > 1_100_000);
    let mut bodies = vec![
        ("odd".to_owned(), odd_lines()),
        ("long".to_owned(), [b"{\"a\":1}\n", long.as_bytes(), b"{\"b\":2}\n"].concat()),
        ("one".to_owned(), b"{\"a\":1}\n".to_vec()),
        ("small".to_owned(), small_records(1, 3000)),
        ("http_requests".to_owned(), http_requests(2, 1000)),
    ];
    bodies.extend(samples().map(|(name, body)| (format!("sample_{name}"), body)));

    let daemon = Setup::new().start();
    for (name, body) in &bodies {
        let body = if body.ends_with(b"\n") { body.clone() } else { [body, &b"\n"[..]].concat() };
        let records = count_lines(&body);
        for http in Http::BOTH {
            let connection = daemon.connect(http);
            for (encoding, upload) in
                [("gzip", Upload::of(&body).gzipped()), ("identity", Upload::of(&body))]
            {
                let dataset = format!("{name}_{http:?}_{encoding}").to_lowercase();
                let answer = connection.send(upload.to(&format!("/logpush/{dataset}")));
                assert_eq!(answer.committed(), records, "{dataset}");
                daemon.wait_file(&format!("out/{dataset}.ndjson"), &body);
            }
        }
    }
    daemon.stop().exited_cleanly();
}

#[test]
fn every_framing_gives_the_same_lines() {
    let lines: &[u8] = b"{\"a\":1}\n{\"b\":\"\xc3\xa9\"}\n{\"c\":[1,{}]}\n";
    let members = [gzip(b"{\"a\":1}\n{\"b\":"), gzip(b""), gzip(b"\"\xc3\xa9\"}\n{\"c\":[1,{}]}")];
    let bodies: &[(&str, &[u8])] = &[
        ("lines", lines),
        ("no_last_newline", b"{\"a\":1}\n{\"b\":\"\xc3\xa9\"}\n{\"c\":[1,{}]}"),
        ("crlf", b"{\"a\":1}\r\n{\"b\":\"\xc3\xa9\"}\r\n{\"c\":[1,{}]}\r\n"),
        ("crlf_no_last_newline", b"{\"a\":1}\r\n{\"b\":\"\xc3\xa9\"}\r\n{\"c\":[1,{}]}\r"),
        ("blank_lines", b"\n\r\n{\"a\":1}\n\n \t\n{\"b\":\"\xc3\xa9\"}\n\r\n{\"c\":[1,{}]}\n\n\n"),
        ("array", b"[{\"a\":1},{\"b\":\"\xc3\xa9\"},{\"c\":[1,{}]}]"),
        ("spaced_array", b" [\n {\"a\":1},\n {\"b\":\"\xc3\xa9\"} ,\r\n {\"c\":[1,{}]}\n]\n"),
        ("envelope", b"{\"events\":[{\"a\":1},{\"b\":\"\xc3\xa9\"},{\"c\":[1,{}]}]}\n"),
        (
            "other_envelope",
            b"{\"logs\":[\n  {\"a\":1},\n  {\"b\":\"\xc3\xa9\"},\n{\"c\":[1,{}]}\n]}\n",
        ),
        ("members", &members.concat()),
    ];
    let daemon = Setup::new().start();
    let connection = daemon.connect(Http::Two);
    for (dataset, body) in bodies {
        let path = format!("/logpush/{dataset}");
        for gzipped in [false, true] {
            let upload = Upload::of(body).to(&path);
            // Two layers of gzip are no valid framing.
            let upload = if gzipped && *dataset != "members" { upload.gzipped() } else { upload };
            assert_eq!(connection.send(upload).committed(), 3, "{dataset}");
        }
        daemon.wait_file(&format!("out/{dataset}.ndjson"), &lines.repeat(2));
    }
    daemon.stop().exited_cleanly();
}

#[test]
fn unknown_headers_and_query_parameters_change_nothing() {
    let daemon = Setup::new().start();
    let record = b"{\"a\":1}\n";
    let mut count = 0;
    for http in Http::BOTH {
        let connection = daemon.connect(http);
        let mut send = |upload: Upload| {
            assert_eq!(connection.send(upload).committed(), 1);
            count += 1;
        };
        for content_type in [
            "text/plain; charset=utf-8",
            "application/json",
            "application/x-ndjson",
            "application/octet-stream",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "no type at all",
            "",
        ] {
            send(Upload::of(record).gzipped().header("content-type", content_type));
        }
        for query in ["?", "?a=b", "?header_X=y&channel=1&insecure-skip-verify=true", "?%00=%zz&&"]
        {
            send(Upload::of(record).gzipped().to(&format!("/logpush/http_requests{query}")));
        }
        // Gzip is detected by its bytes, whatever the header declares.
        send(Upload::of(gzip(record)));
        send(Upload::of(gzip(record)).header("content-encoding", "identity"));
        send(Upload::of(record).header("content-encoding", "gzip"));
        send(Upload::of(gzip(record)).header("content-encoding", "X-GZIP"));
        send(
            Upload::of(record).header("user-agent", "Go-http-client/2.0").header("te", "trailers"),
        );
    }
    daemon.wait_file("out/http_requests.ndjson", &record.repeat(count));
    daemon.stop().exited_cleanly();
}

#[test]
fn a_batch_of_a_hundred_thousand_records_is_delivered_intact() {
    let daemon = Setup::new().start();
    let records = small_records(3, 100_000);
    daemon.commit(&records);
    daemon.wait_file("out/http_requests.ndjson", &records);
    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(stopped.file("out/http_requests.ndjson").len(), records.len(), "and no more");
}

#[test]
fn concurrent_batches_do_not_mix() {
    const SENDERS: u64 = 8;
    const BATCHES: u64 = 12;
    const RECORDS: usize = 400;

    let daemon = Setup::new().start();
    let connection = daemon.connect(Http::Two);
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let connection = connection.clone();
            scope.spawn(move || {
                for batch in 0..BATCHES {
                    let records = numbered(sender * BATCHES + batch, RECORDS);
                    assert_eq!(connection.send(Upload::of(records).gzipped()).committed(), 400);
                }
            });
        }
    });
    let series = r#"logpushd_sink_delivered_records_total{sink="archive"}"#;
    let all = SENDERS * BATCHES * RECORDS as u64;
    daemon.wait_count(series, |delivered| delivered == all);

    let text = daemon.stop().exited_cleanly().file("out/http_requests.ndjson");
    let places = whole_batches(&text);
    assert_eq!(places.len() as u64, SENDERS * BATCHES);
}

/// Asserts that each batch of [`numbered`] records is intact, and returns the position of each.
pub(crate) fn whole_batches(text: &[u8]) -> HashMap<u64, usize> {
    assert!(text.is_empty() || text.ends_with(b"\n"), "the last line is torn");
    let mut begins = HashMap::new();
    let mut lines = text.split_inclusive(|byte| *byte == b'\n').enumerate();
    while let Some((number, first)) = lines.next() {
        let record: Value = serde_json::from_slice(first).expect("a complete record");
        let (batch, count) = (record["batch"].as_u64().unwrap(), record["of"].as_u64().unwrap());
        let count = usize::try_from(count).unwrap();
        let want = numbered(batch, count);
        let mut got = first.to_vec();
        for (_, line) in lines.by_ref().take(count - 1) {
            got.extend_from_slice(line);
        }
        same_bytes(&format!("batch {batch}"), &got, &want);
        assert_eq!(begins.insert(batch, number), None, "batch {batch} occurs twice");
    }
    begins
}
