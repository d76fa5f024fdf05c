//! Inputs that other receivers reject, lose or change: docs/odd-inputs.md describes the result of
//! each, and these tests check it.

use std::{env, fs, path::Path};

use serde_json::{Value, json};

use crate::support::{
    Connection, Daemon, Http, Setup, Upload, count_lines, gzip, http_requests, names_in, numbered,
    same_bytes, wait_for,
};

/// A body, and its results.
struct Odd {
    name: &'static str,
    body: Vec<u8>,
    wire: Wire,
    /// The answer: status, records, quarantined.
    answer: (&'static str, u64, u64),
    /// The content of the sink's file.
    lines: Vec<u8>,
    /// The content of the quarantine: the reason, and the record as text or in hexadecimal.
    rejects: Vec<(&'static str, Value)>,
}

/// How the body is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wire {
    /// Unchanged, and gzipped.
    PlainAndGzip,
    /// It is gzip, valid or not.
    Gzip,
}

impl Odd {
    /// All of it is delivered, as these lines.
    fn whole(name: &'static str, body: impl Into<Vec<u8>>, lines: impl Into<Vec<u8>>) -> Self {
        let (body, lines) = (body.into(), lines.into());
        let answer = ("committed", count_lines(&lines), 0);
        Self { name, body, wire: Wire::PlainAndGzip, answer, lines, rejects: Vec::new() }
    }

    /// Delivered byte for byte.
    fn unchanged(name: &'static str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self::whole(name, body.clone(), body)
    }

    /// One record of it is invalid.
    fn except(mut self, reason: &'static str, record: Value) -> Self {
        self.rejects.push((reason, record));
        self.answer.2 += 1;
        self
    }

    /// Two members: the second starts in the middle of a record.
    fn two_members(lines: &[u8]) -> Self {
        let (first, second) = lines.split_at(lines.len() / 2 + 3);
        let body = [gzip(first), gzip(second)].concat();
        Self { body, wire: Wire::Gzip, ..Self::unchanged("two_members", lines) }
    }

    /// It cannot be decompressed.
    fn broken(name: &'static str, body: Vec<u8>) -> Self {
        let answer = ("quarantined", 0, 1);
        Self { name, body, wire: Wire::Gzip, answer, lines: Vec::new(), rejects: Vec::new() }
    }
}

const GOOD: &[u8] = b"{\"a\":1}\n{\"b\":\"\xc3\xa9\"}\n{\"c\":[1,{}]}\n";

/// Numbers out of the range of `f64`, and objects with repeated members.
const NUMBERS: &str = concat!(
    r#"{"digits":12345678901234567890123,"negative":-0,"precise":0.1000000000000000055511151231257827}"#,
    "\n",
    r#"{"huge":1e400,"tiny":1e-400,"forms":[1.0,1.00,1E5,1e+5]}"#,
    "\n",
    r#"{"twice":1,"twice":2,"z":0,"a":1,"Z":{"twice":[],"twice":{}}}"#,
    "\n",
);

fn odd_inputs() -> Vec<Odd> {
    let record_of = |bytes: usize| {
        let long = format!("{{\"Long\":\"{}\"}}\n", "long \\u00e9 ".repeat(bytes / 12));
        [b"{\"a\":1}\n", long.as_bytes(), b"{\"b\":2}\n"].concat()
    };
    let whole = gzip(&numbered(7, 500));
    let mut corrupt = whole.clone();
    corrupt[whole.len() / 2] ^= 0x55;
    vec![
        Odd::unchanged("as_usual", GOOD),
        Odd::whole("no_final_newline", &GOOD[..GOOD.len() - 1], GOOD),
        Odd::whole("crlf", b"{\"a\":1}\r\n{\"b\":\"\xc3\xa9\"}\r\n{\"c\":[1,{}]}\r\n", GOOD),
        Odd::whole(
            "blank_lines",
            b"\n{\"a\":1}\n\n\r\n{\"b\":\"\xc3\xa9\"}\n \t\n{\"c\":[1,{}]}\n\n",
            GOOD,
        ),
        Odd::whole("byte_order_mark", "\u{feff}{\"a\":1}\n{\"b\":2}\n", "{\"a\":1}\n{\"b\":2}\n"),
        Odd::whole(
            "several_in_a_line",
            "{\"a\":1}{\"b\":2}\n{\"c\":3}\n",
            "{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n",
        ),
        Odd::whole(
            "cr_in_a_record",
            "{\"x\":[\r{\"forged\":\"record\"}\r]}\n",
            "{\"x\":[ {\"forged\":\"record\"} ]}\n",
        ),
        Odd::whole("bad_line", "{\"a\":1}\n{\"cut\":\n{\"b\":2}\n", "{\"a\":1}\n{\"b\":2}\n")
            .except("not_json", json!("{\"cut\":")),
        Odd::whole(
            "not_utf8",
            b"{\"a\":1}\n{\"u\":\"\xff\xfe\"}\n{\"b\":2}\n",
            "{\"a\":1}\n{\"b\":2}\n",
        )
        .except("not_utf8", json!("7b2275223a22fffe227d")),
        Odd::unchanged("numbers", NUMBERS),
        Odd::two_members(GOOD),
        Odd::broken("corrupt_gzip", corrupt),
        Odd::broken("truncated_gzip", whole[..whole.len() - 9].to_vec()),
        Odd::unchanged("record_of_20_kb", record_of(20_000)),
        Odd::unchanged("record_of_70_kb", record_of(70_000)),
        Odd::unchanged("record_of_1100_kb", record_of(1_100_000)),
        Odd::unchanged("order", numbered(5, 3000)),
    ]
}

/// Sends it in every form, and returns the datasets that it was sent to.
fn send(connections: &[(&'static str, Connection)], odd: &Odd) -> Vec<String> {
    let mut datasets = Vec::new();
    for (http, connection) in connections {
        let mut forms = vec![("gzip", Upload::of(&odd.body).header("content-encoding", "gzip"))];
        if odd.wire == Wire::PlainAndGzip {
            forms =
                vec![("plain", Upload::of(&odd.body)), ("gzip", Upload::of(&odd.body).gzipped())];
        }
        for (form, upload) in forms {
            let dataset = format!("{}_{http}_{form}", odd.name);
            let answer = connection.send(upload.to(&format!("/logpush/{dataset}")));
            let (status, records, quarantined) = answer.ok();
            assert_eq!((status.as_str(), records, quarantined), odd.answer, "{dataset}");
            datasets.push(dataset);
        }
    }
    datasets
}

/// The content of the quarantine for a dataset: reasons and records.
fn rejects(directory: &Path, dataset: &str) -> Vec<(String, Value)> {
    let names = names_in(directory).into_iter().filter(|name| name.starts_with("records-"));
    let text: String =
        names.map(|name| fs::read_to_string(directory.join(name)).unwrap()).collect();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_it = lines.filter(|line| line["dataset"] == dataset);
    let kept = of_it.map(|mut line| {
        let record = line["record"].take();
        let record = if record.is_null() { line["record_hex"].take() } else { record };
        (line["reason"].as_str().unwrap().to_owned(), record)
    });
    kept.collect()
}

/// Asserts every result.
#[track_caller]
fn check(daemon: &Daemon, odd: &Odd, dataset: &str) {
    let file = format!("out/{dataset}.ndjson");
    if odd.lines.is_empty() {
        assert!(!daemon.path(&file).exists(), "{dataset}");
        let directory = daemon.path("quarantine/bodies");
        let mut names = names_in(&directory);
        names.retain(|name| name.starts_with(&format!("main.{dataset}.")));
        assert_eq!(names.len(), 1, "{dataset}");
        same_bytes(dataset, &fs::read(directory.join(&names[0])).unwrap(), &odd.body);
    } else {
        daemon.wait_file(&file, &odd.lines);
    }
    let want: Vec<_> =
        odd.rejects.iter().map(|(reason, record)| ((*reason).to_owned(), record.clone())).collect();
    let kept = wait_for("the quarantined records", || {
        Some(rejects(&daemon.path("quarantine"), dataset)).filter(|kept| kept.len() >= want.len())
    });
    assert_eq!(kept, want, "{dataset}");
}

#[test]
fn an_odd_record_affects_no_other_record() {
    let daemon = Setup::new().start();
    let connections = [("h1", daemon.connect(Http::One)), ("h2", daemon.connect(Http::Two))];
    for odd in odd_inputs() {
        for dataset in send(&connections, &odd) {
            check(&daemon, &odd, &dataset);
        }
    }
    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(names_in(&stopped.setup.path("spool/batches")), [""; 0]);
}

#[test]
fn the_answer_is_200_for_every_content_type() {
    let daemon = Setup::new().start();
    let mut sent = 0;
    for http in Http::BOTH {
        let connection = daemon.connect(http);
        assert_eq!(connection.send(Upload::of(GOOD).gzipped()).committed(), 3, "none");
        for content_type in [
            "application/json",
            "application/x-ndjson",
            "text/plain",
            "text/plain; charset=utf-8",
            "application/x-www-form-urlencoded",
        ] {
            for upload in [Upload::of(GOOD), Upload::of(GOOD).gzipped()] {
                let answer = connection.send(upload.header("content-type", content_type));
                assert_eq!(answer.committed(), 3, "{content_type}");
            }
        }
        sent += 11;
    }
    daemon.wait_file("out/http_requests.ndjson", &GOOD.repeat(sent));
    daemon.stop().exited_cleanly();
}

#[test]
fn a_body_over_a_limit_is_rejected_with_its_key_and_accepted_after_raising_it() {
    let limits = |body: &str, inflated: &str| {
        format!(
            "max_record_bytes = \"64KiB\"\nmax_body_bytes = \"{body}\"\n\
             max_inflated_bytes = \"{inflated}\""
        )
    };
    let body = numbered(3, 12_000);
    assert!(body.len() > 1 << 20 && gzip(&body).len() > 64 << 10);
    let mut setup = Setup::new().table("limits", &limits("64KiB", "1MiB"));
    for (key, raised) in [
        ("limits.max_body_bytes", limits("2MiB", "1MiB")),
        ("limits.max_inflated_bytes", limits("2MiB", "2MiB")),
    ] {
        let daemon = setup.start();
        for http in Http::BOTH {
            let answer = daemon.send(http, Upload::of(&body).gzipped());
            assert_eq!(answer.status, 413, "{key}: {}", answer.text);
            assert!(answer.text.contains(key), "{}", answer.text);
        }
        let stopped = daemon.stop().exited_cleanly();
        assert_eq!(names_in(&stopped.setup.path("spool/batches")), [""; 0]);
        setup = stopped.setup.table("limits", &raised);
    }
    let daemon = setup.start();
    for http in Http::BOTH {
        daemon.send(http, Upload::of(&body).gzipped()).committed();
    }
    daemon.wait_file("out/http_requests.ndjson", &body.repeat(2));
    daemon.stop().exited_cleanly();
}

/// `LOGPUSHD_BODY_MB` has a list of other sizes.
#[test]
fn a_large_body_is_delivered_intact() {
    let sizes = env::var("LOGPUSHD_BODY_MB").unwrap_or_else(|_| "20".to_owned());
    let some = http_requests(9, 1000);
    for megabytes in sizes.split(',') {
        let megabytes: usize = megabytes.trim().parse().expect("megabytes, as in 20,60,120");
        let body = some.repeat(megabytes * 1_000_000 / some.len() + 1);
        let daemon = Setup::new().start();
        for http in Http::BOTH {
            let answer = daemon.connect(http).patient().send(Upload::of(&body).gzipped());
            assert_eq!(answer.committed(), count_lines(&body));
        }
        daemon.wait_file("out/http_requests.ndjson", &body.repeat(2));
        daemon.stop().exited_cleanly();
    }
}
