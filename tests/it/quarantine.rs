//! Rejected records are quarantined with the reason and block nothing.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::{Http, Setup, Upload, gzip, names_in, same_bytes, small_records, wait_for};

fn lines(quarantine: &Path) -> Vec<Value> {
    let files = names_in(quarantine);
    let files = files.iter().filter(|name| name.starts_with("records-"));
    let text: Vec<u8> = files.flat_map(|name| fs::read(quarantine.join(name)).unwrap()).collect();
    // The last one may be incomplete while the daemon writes it.
    let whole = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    whole.map(|line| serde_json::from_slice(line).expect("a line")).collect()
}

#[test]
fn invalid_records_are_quarantined_with_reason_and_position_and_the_rest_is_delivered() {
    let setup = Setup::new().table("limits", r#"max_record_bytes = "1KiB""#);
    let daemon = setup.start();
    let long = format!("{{\"long\":\"{}\"}}", "x".repeat(2000));
    let body = [
        &b"{\"good\":1}\n"[..],
        b"{\"cut\":\n",
        b"[1,2]\n",
        b"{\"good\":2}\n",
        b"{\"latin\":\"\xe9\"}\n",
        long.as_bytes(),
        b"\n\"text\"\n",
        b"{\"good\":3}\n",
    ]
    .concat();
    let answer = daemon.send(Http::Two, Upload::of(&body).to("/logpush/dns_logs").gzipped());
    assert_eq!(answer.ok(), ("committed".to_owned(), 3, 5));
    daemon.wait_file("out/dns_logs.ndjson", b"{\"good\":1}\n{\"good\":2}\n{\"good\":3}\n");

    let quarantine = daemon.path("quarantine");
    let kept = wait_for("five lines in quarantine", || {
        Some(lines(&quarantine)).filter(|lines| lines.len() >= 5)
    });
    let want = [
        ("not_json", 2, 7, json!("{\"cut\":"), Value::Null),
        ("not_object", 3, 5, json!("[1,2]"), Value::Null),
        ("not_utf8", 5, 13, Value::Null, json!("7b226c6174696e223a22e9227d")),
        ("too_long", 6, long.len(), json!(long), Value::Null),
        ("not_object", 7, 6, json!("\"text\""), Value::Null),
    ];
    assert_eq!(kept.len(), want.len());
    for (line, (reason, position, length, record, hex)) in kept.iter().zip(want) {
        assert_eq!(line["reason"], reason);
        assert_eq!(line["endpoint"], "main");
        assert_eq!(line["dataset"], "dns_logs");
        assert_eq!(line["batch"], 1);
        assert_eq!(line["position"], position, "{line}");
        assert_eq!(line["length"], length, "{line}");
        assert_eq!(line["record"], record, "{line}");
        assert_eq!(line["record_hex"], hex, "{line}");
    }
    // A body with a record over the limit is quarantined as a whole.
    let bodies = names_in(&daemon.path("quarantine/bodies"));
    assert_eq!(kept[3]["body"], bodies[0]);
    let kept_body = fs::read(daemon.path("quarantine/bodies").join(&bodies[0])).unwrap();
    same_bytes("the kept body", &kept_body, &gzip(&body));

    for (reason, count) in [("not_json", 1), ("not_object", 2), ("not_utf8", 1)] {
        let series = format!("logpushd_quarantined_records_total{{reason=\"{reason}\"}}");
        assert_eq!(daemon.count(&series), count);
    }
    // Neither is written again by the next daemon.
    let daemon = daemon.kill().start();
    daemon.send(Http::Two, Upload::of("nonsense\n").to("/logpush/dns_logs")).ok();
    let kept = wait_for("a sixth line", || Some(lines(&quarantine)).filter(|l| l.len() >= 6));
    assert_eq!(kept.len(), 6);
    assert_eq!((&kept[5]["record"], &kept[5]["batch"]), (&json!("nonsense"), &json!(2)));
    daemon.stop().exited_cleanly();
}

#[test]
fn an_undecodable_body_is_quarantined_once_and_unchanged() {
    let daemon = Setup::new().start();
    let good = gzip(&small_records(4, 2000));
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0x55;
    let mut wrong_checksum = good.clone();
    wrong_checksum[good.len() - 6] ^= 1;
    let bodies: [(&str, Vec<u8>); 6] = [
        ("truncated", good[..good.len() - 9].to_vec()),
        ("truncated_early", good[..12].to_vec()),
        ("flipped", flipped),
        ("wrong_checksum", wrong_checksum),
        ("followed", [&good[..], b"something else"].concat()),
        ("no_gzip", b"\x28\xb5\x2f\xfd zstd is not gzip".to_vec()),
    ];
    for (dataset, body) in &bodies {
        // Cloudflare retries: the same bytes are stored in the same file.
        for http in [Http::Two, Http::One, Http::Two] {
            let upload = Upload::of(body).header("content-encoding", "gzip");
            let answer = daemon.send(http, upload.to(&format!("/logpush/{dataset}")));
            assert_eq!(answer.ok(), ("quarantined".to_owned(), 0, 1), "{dataset}");
        }
        let directory = daemon.path("quarantine/bodies");
        let mut names = names_in(&directory);
        names.retain(|name| name.starts_with(&format!("main.{dataset}.")));
        assert_eq!(names.len(), 1, "{names:?}");
        same_bytes(dataset, &fs::read(directory.join(&names[0])).unwrap(), body);
    }
    let series = r#"logpushd_quarantined_records_total{reason="undecodable_body"}"#;
    assert_eq!(daemon.count(series), 18);

    // The endpoint continues, and nothing of the undecodable bodies was delivered.
    daemon.commit(b"{\"a\":1}\n");
    daemon.wait_file("out/http_requests.ndjson", b"{\"a\":1}\n");
    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(names_in(&stopped.setup.path("out")), ["http_requests.ndjson"]);
    assert_eq!(names_in(&stopped.setup.path("spool/batches")), [""; 0]);
}
