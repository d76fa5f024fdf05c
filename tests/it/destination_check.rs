//! Cloudflare's destination check is answered and never stored.

use hyper::Method;

use crate::support::{Http, Setup, Upload, names_in};

/// The bodies by which Cloudflare checks a destination.
fn shapes() -> Vec<String> {
    serde_json::from_str(include_str!("../data/destination_checks.json")).unwrap()
}

const ANSWERED: &str = "answered Cloudflare's destination check";
const FIRST_USE: &str = "first use of a secret since it was loaded";

#[test]
fn every_form_of_check_is_answered_counted_and_logged_but_never_stored() {
    let daemon = Setup::new().table("sink.pipe.stdout", "").start();
    // The last log line of a start.
    daemon.wait_log("endpoint");
    let lines_before = daemon.log().len();
    let (shapes, mut checks) = (shapes(), 0);
    for http in Http::BOTH {
        let connection = daemon.connect(http);
        for shape in &shapes {
            for method in [Method::POST, Method::PUT] {
                for gzipped in [true, false] {
                    let upload = Upload::of(shape).method(&method);
                    let upload = if gzipped { upload.gzipped() } else { upload };
                    let answer = connection.send(upload);
                    let case = format!("{http:?} {method} {shape:?} gzipped: {gzipped}");
                    assert_eq!(answer.ok(), ("destination_check".to_owned(), 0, 0), "{case}");
                    checks += 1;
                }
            }
        }
    }
    let series = r#"logpushd_batches_total{endpoint="main",outcome="destination_check"}"#;
    assert_eq!(daemon.count(series), checks);
    assert_eq!(daemon.count("logpushd_spool_batches"), 0);

    // A record after them reaches both sinks, and nothing was before it.
    let record = b"{\"a\":1}\n";
    daemon.commit(record);
    daemon.wait_file("out/http_requests.ndjson", record);
    // Each line was written before its answer, but may be read later.
    daemon.wait_log("committed");
    let checks_logged = daemon.logged(ANSWERED).len();
    assert_eq!(checks_logged, usize::try_from(checks).unwrap());
    assert_eq!(daemon.logged(FIRST_USE).len(), 1);
    let all_logged = checks_logged + ["committed", FIRST_USE].len();
    assert_eq!(daemon.log().len(), lines_before + all_logged, "there is no other line");

    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(stopped.stdout, record);
    assert_eq!(stopped.file("out/http_requests.ndjson"), record);
    assert_eq!(names_in(&stopped.setup.path("spool/batches")), [""; 0]);
    assert_eq!(names_in(&stopped.setup.path("spool/set-aside")), [""; 0]);
    assert_eq!(names_in(&stopped.setup.path("quarantine")), ["bodies"]);
    assert_eq!(names_in(&stopped.setup.path("quarantine/bodies")), [""; 0]);
}

#[test]
fn a_body_that_only_resembles_a_check_is_stored() {
    let daemon = Setup::new().start();
    let connection = daemon.connect(Http::Two);
    let records = [
        "{\"content\":\"hello\"}\n",
        "{\"content\":\"test\",\"RayID\":\"3a6050bcbe121a87\"}\n",
        "{\"content\":\"test\"}\n{\"content\":\"test\"}\n",
        "{\"content\":[\"test\"]}\n",
        "{\"filename\":\"test.txt\"}\n",
        "{}\n",
    ];
    for record in records {
        let answer = connection.send(Upload::of(record).gzipped());
        assert_eq!(answer.committed(), record.lines().count() as u64, "{record}");
    }
    daemon.wait_file("out/http_requests.ndjson", records.concat().as_bytes());

    let answer = connection.send(Upload::of("testing").gzipped());
    assert_eq!(answer.ok(), ("quarantined".to_owned(), 0, 1));
    assert_eq!(daemon.logged(ANSWERED), [] as [serde_json::Value; 0]);
    daemon.stop().exited_cleanly();
}

#[test]
fn a_check_without_the_secret_is_refused() {
    let daemon = Setup::new().start();
    let check = || Upload::of(&shapes()[0]).gzipped();
    for http in Http::BOTH {
        let connection = daemon.connect(http);
        assert_eq!(connection.send(check().secret("wrong")).status, 401);
        assert_eq!(connection.send(check().without_secret()).status, 401);
        assert_eq!(connection.send(check()).ok().0, "destination_check");
    }
}
