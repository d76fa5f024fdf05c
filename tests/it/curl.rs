//! Uploads of real clients are delivered, and these clients see the answers.

use std::{fs, path::Path, process::Command};

use crate::support::{
    DEADLINE, Daemon, Exit, Finished, SECRET, Setup, finish, gzip, http_requests, names_in,
    require, small_records,
};

/// Runs curl against the daemon, with its secret.
fn curl(daemon: &Daemon, arguments: &[&str]) -> Finished {
    let secret = format!("X-Logpush-Secret: {SECRET}");
    let arguments = [&["--header", &secret], arguments].concat();
    curl_at(daemon, "/logpush/http_requests?tags=a", &arguments)
}

const PROTOCOLS: [&str; 2] = ["--http1.1", "--http2"];

#[test]
fn uploads_by_curl_are_delivered() {
    if !require::has(&[&require::CURL]) {
        return;
    }
    let daemon = Setup::new().start();
    let records = http_requests(10, 700);
    // Large enough for curl to ask first: Expect: 100-continue.
    assert!(records.len() > 1 << 20);
    daemon.setup().write("batch.ndjson", &records);
    daemon.setup().write("batch.ndjson.gz", gzip(&records));
    let (encoding, chunked) = ("Content-Encoding: gzip", "Transfer-Encoding: chunked");
    let mut sent = 0;
    for protocol in PROTOCOLS {
        for arguments in [
            &["--data-binary", "@batch.ndjson.gz", "--header", encoding][..],
            &["--upload-file", "batch.ndjson.gz", "--header", encoding],
            &["--data-binary", "@batch.ndjson"],
            &["--upload-file", "batch.ndjson", "--header", "Expect: 100-continue"],
            &["--data-binary", "@batch.ndjson", "--header", "Expect:"],
            &["--upload-file", "batch.ndjson", "--header", chunked],
        ] {
            let finished = curl(&daemon, &[&[protocol], arguments].concat());
            let want = "{\"status\":\"committed\",\"records\":700,\"quarantined\":0}\n 200";
            assert_eq!(finished.stdout, want, "{protocol} {arguments:?} {}", finished.stderr);
            sent += 1;
        }
    }
    daemon.wait_file("out/http_requests.ndjson", &records.repeat(sent));
    daemon.stop().exited_cleanly();
}

#[test]
fn curl_prints_why_an_upload_is_rejected() {
    if !require::has(&[&require::CURL]) {
        return;
    }
    let limits = "max_body_bytes = \"64KiB\"\nmax_record_bytes = \"64KiB\"";
    let daemon = Setup::new().table("limits", limits).start();
    let records = small_records(11, 10_000);
    daemon.setup().write("batch.ndjson", &records[..3 << 20]);
    let chunked = "Transfer-Encoding: chunked";
    let wrong = "X-Logpush-Secret: wrong";
    for protocol in PROTOCOLS {
        for (arguments, status, says) in [
            (&["--data-binary", "@batch.ndjson"][..], "413", "limits.max_body_bytes"),
            // It asks, and does not wait for the answer.
            (&["--data-binary", "@batch.ndjson", "--expect100-timeout", "0.001"], "413", "raise"),
            (&["--data-binary", "@batch.ndjson", "--header", "Expect:"], "413", "raise"),
            (&["--upload-file", "batch.ndjson", "--header", chunked], "413", "raise"),
            (
                &["--upload-file", "batch.ndjson", "--header", chunked, "--header", "Expect:"],
                "413",
                "raise",
            ),
            (&["--upload-file", "batch.ndjson", "--header", "Content-Encoding: br"], "415", "gzip"),
            (
                &["--data-binary", "@batch.ndjson", "--header", "Expect:", "--header", wrong],
                "401",
                "",
            ),
            (&["--data-binary", "@batch.ndjson", "--request", "DELETE"], "405", "POST or PUT"),
        ] {
            // Two headers of one name are one too many: curl's own would be right.
            let finished = if arguments.contains(&wrong) {
                without_secret(&daemon, &[&[protocol], arguments].concat())
            } else {
                curl(&daemon, &[&[protocol], arguments].concat())
            };
            assert_eq!(finished.exit, Exit::Code(0), "{protocol} {arguments:?} {finished:?}");
            let (text, code) = finished.stdout.rsplit_once(' ').unwrap();
            assert_eq!(code, status, "{protocol} {arguments:?} {finished:?}");
            assert!(text.contains(says), "{text}");
        }
    }
    assert_eq!(names_in(&daemon.path("spool/batches")), [""; 0]);
    daemon.stop().exited_cleanly();
}

/// Runs curl against the daemon. Standard output: the body, a space and the status.
pub(crate) fn curl_at(daemon: &Daemon, path: &str, arguments: &[&str]) -> Finished {
    let mut command = Command::new("curl");
    command
        .current_dir(daemon.setup().directory())
        .args(["--silent", "--show-error", "--cacert", "fullchain.pem"])
        .args(["--max-time", &DEADLINE.as_secs().to_string()])
        .args(["--write-out", " %{http_code}", "--noproxy", "*"])
        .args(arguments)
        .arg(format!("https://{}{path}", daemon.address));
    finish(&mut command)
}

fn without_secret(daemon: &Daemon, arguments: &[&str]) -> Finished {
    curl_at(daemon, "/logpush/http_requests", arguments)
}

#[test]
fn uploads_by_h2load_are_delivered() {
    const RECORDS: usize = 100;

    if !require::has(&[&require::H2LOAD]) {
        return;
    }
    let daemon = Setup::new().start();
    let records = small_records(12, RECORDS);
    let file = daemon.path("batch.ndjson.gz");
    fs::write(&file, gzip(&records)).unwrap();
    let finished = h2load(&daemon, &file);
    assert_eq!(finished.exit, Exit::Code(0), "{finished:?}");
    assert!(finished.stdout.contains("status codes: 200 2xx, 0 3xx, 0 4xx, 0 5xx"), "{finished:?}");
    daemon.wait_file("out/http_requests.ndjson", &records.repeat(200));
    daemon.stop().exited_cleanly();
}

fn h2load(daemon: &Daemon, file: &Path) -> Finished {
    let mut command = Command::new("h2load");
    command
        .args(["-n", "200", "-c", "4", "-m", "8", "-d"])
        .arg(file)
        .args(["-H", "content-encoding: gzip"])
        .args(["-H", &format!("x-logpush-secret: {SECRET}")])
        .arg(format!("https://{}/logpush/http_requests", daemon.address));
    finish(&mut command)
}
