//! Rows of CSV and lines of text become records, the same ones at each decoding.

use std::fs;

use crate::support::{Exit, Http, Setup, Upload, finish, gzip, logpushd, names_in, wait_until};

const ROWS: &str =
    "\"192.0.2.1\",1506702504433000200,\"a\r\n\"\"b\"\"\"\n\"192.0.2.2\",7,\"\"\nbad\n";

const RECORDS: &str = "\
{\"ClientIP\":\"192.0.2.1\",\"EdgeStartTimestamp\":1506702504433000200,\"UserAgent\":\"a\\r\\n\\\"b\\\"\"}
{\"ClientIP\":\"192.0.2.2\",\"EdgeStartTimestamp\":7,\"UserAgent\":\"\"}
";

const HEADER: &str = "ClientIP,EdgeStartTimestamp,UserAgent\n";

fn setup() -> Setup {
    let endpoint =
        |path: &str, keys: &str| format!("path = \"/{path}/{{dataset}}\"\nauth = \"none\"\n{keys}");
    let columns = r#"columns = ["ClientIP", "EdgeStartTimestamp", "UserAgent"]"#;
    Setup::new()
        .table("endpoint.headed", &endpoint("headed", "format = \"csv\"\nheader = true"))
        .table("endpoint.named", &endpoint("named", &format!("format = \"csv\"\n{columns}")))
        .table("endpoint.renamed", &endpoint("renamed", &format!("format = \"csv\"\n{columns}")))
        .table(
            "endpoint.tabs",
            &endpoint("tabs", &format!("format = \"csv\"\ndelimiter = \"\\t\"\n{columns}")),
        )
        .table("endpoint.text", &endpoint("text", "format = \"text\""))
        .table("sink.archive.file", r#"path = "out/{endpoint}.ndjson""#)
}

/// The bodies sent to each endpoint, and the resulting records.
fn uploads() -> [(&'static str, String, String, u64); 5] {
    [
        ("headed", HEADER.to_owned() + ROWS, RECORDS.to_owned(), 1),
        ("named", ROWS.to_owned(), RECORDS.to_owned(), 1),
        // The names repeated in a row of the body: no record.
        ("renamed", format!("\u{feff}{HEADER}{ROWS}"), RECORDS.to_owned(), 1),
        ("tabs", ROWS.replace(',', "\t"), RECORDS.to_owned(), 1),
        (
            "text",
            "one\r\n\ntwo \"2\"\n".into(),
            "{\"message\":\"one\"}\n{\"message\":\"two \\\"2\\\"\"}\n".into(),
            0,
        ),
    ]
}

#[test]
fn rows_and_lines_become_records_and_invalid_ones_are_quarantined() {
    let daemon = setup().start();
    let connection = daemon.connect(Http::Two);
    for (endpoint, body, records, bad) in uploads() {
        let to = format!("/{endpoint}/http_requests");
        let answer = connection.send(Upload::of(body.clone()).to(&to).gzipped());
        assert_eq!(answer.ok(), ("committed".into(), 2, bad), "{endpoint}");
        let answer = connection.send(Upload::of(body).to(&to));
        assert_eq!(answer.ok(), ("committed".into(), 2, bad), "{endpoint}, plain");
        daemon.wait_file(&format!("out/{endpoint}.ndjson"), records.repeat(2).as_bytes());
        for check in ["{\"content\":\"test\"}", "test"] {
            let answer = connection.send(Upload::of(check).to(&to).gzipped());
            assert_eq!(answer.ok().0, "destination_check", "{endpoint} {check}");
        }
        let empty = connection.send(Upload::of("\n").to(&to));
        assert_eq!(empty.ok().0, "empty", "{endpoint}");
    }
    daemon.wait_count("logpushd_quarantined_records_total{reason=\"not_csv\"}", |count| count == 8);
    wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());

    // Without its columns a row has another meaning, so no row is sent again.
    let finished = finish(
        logpushd().args(["quarantine", "replay", "--dry-run", "-c"]).arg(daemon.setup().config()),
    );
    assert_eq!(finished.exit, Exit::Code(65), "{finished:?}");
    assert!(finished.stdout.contains("does not take JSON"), "{finished:?}");
    daemon.stop().exited_cleanly();
}

#[test]
fn column_names_over_the_limit_quarantine_all_rows() {
    let daemon = setup().start();
    let connection = daemon.connect(Http::Two);
    let send = |bytes: usize| {
        let body = format!("{}\n1\n2\n", "x".repeat(bytes));
        connection.send(Upload::of(body).to("/headed/http_requests").gzipped()).ok()
    };
    assert_eq!(send(64 * 1024), ("committed".into(), 2, 0));
    assert_eq!(send(64 * 1024 + 1), ("quarantined".into(), 0, 3));
    for (reason, want) in [("too_long", 1), ("not_csv", 2)] {
        let metric = format!("logpushd_quarantined_records_total{{reason=\"{reason}\"}}");
        daemon.wait_count(&metric, |count| count == want);
    }
    daemon.stop().exited_cleanly();
}

#[test]
fn the_backlog_is_decoded_the_same_after_a_configuration_change() {
    let setup = setup();
    // A file has replaced the directory.
    setup.write("out", "in the way");
    let daemon = setup.start();
    let connection = daemon.connect(Http::One);
    for (endpoint, body, ..) in uploads() {
        let to = format!("/{endpoint}/http_requests");
        connection
            .send(Upload::of(gzip(body.as_bytes())).to(&to).header("content-encoding", "gzip"))
            .ok();
        connection.send(Upload::of(body).to(&to)).ok();
    }
    let mut endings: Vec<_> = names_in(&daemon.path("spool/batches"))
        .iter()
        .map(|name| name.splitn(9, '.').last().unwrap().to_owned())
        .collect();
    endings.sort();
    assert_eq!(
        endings,
        ["csv", "csv", "csv.gz", "csv.gz", "csv2", "csv2.gz", "tsv", "tsv.gz", "txt", "txt.gz"]
    );
    let mut setup = daemon.kill().setup;
    for endpoint in ["headed", "named", "tabs", "text"] {
        let keys = format!("path = \"/{endpoint}/{{dataset}}\"\nauth = \"none\"");
        setup.set(&format!("endpoint.{endpoint}"), &keys);
    }
    let finished = finish(logpushd().args(["spool", "verify", "-c"]).arg(setup.write_config()));
    assert_eq!(finished.exit, Exit::Code(0), "{finished:?}");
    fs::remove_file(setup.path("out")).unwrap();
    let stopped = setup.start().stop().exited_cleanly();
    for (endpoint, _, records, _) in uploads() {
        let file = stopped.file(&format!("out/{endpoint}.ndjson"));
        assert_eq!(String::from_utf8_lossy(&file), records.repeat(2), "{endpoint}");
    }
}
