//! The answers of a receiver, and the requests that it sees.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    Call, FAILED, HEADER, finding,
    pki::{Leaf, Pki},
    server::{Seen, Server, answer},
};
use crate::support::Exit;

/// A server with a valid certificate, and the authority to trust.
struct ValidServer {
    server: Server,
    dir: TempDir,
}

impl ValidServer {
    fn answering(answer: impl Fn(&Seen) -> String + Send + Sync + 'static) -> Self {
        let (pki, dir) = (Pki::new(), TempDir::new().unwrap());
        fs::write(dir.path().join("ca.pem"), pki.root_pem()).unwrap();
        Self { server: Server::tls(pki.issue(&Leaf::default()), answer), dir }
    }

    fn destination(&self, query: &str) -> String {
        format!("https://{}/logs{query}", self.server.address)
    }

    #[track_caller]
    fn run(&self, query: &str) -> (Value, Exit) {
        let ca = self.dir.path().join("ca.pem");
        Call::trusting(&ca).run(&self.destination(query))
    }

    /// The findings of a step.
    #[track_caller]
    fn finding(&self, step: &str) -> (Value, Exit) {
        let (report, exit) = self.run(&format!("?{HEADER}"));
        (finding(&report, step).clone(), exit)
    }
}

/// 401, unless the right secret is sent.
fn guarded(seen: &Seen, good: &str) -> String {
    if seen.head.contains("x-logpush-secret: a-secret-of-the-tests\r\n") {
        return answer("200 OK", "", good);
    }
    answer("401 Unauthorized", "", "")
}

#[test]
fn requests_match_those_of_cloudflare() {
    let good = ValidServer::answering(|seen| guarded(seen, "thanks"));
    let (report, exit) = good.run(&format!("?tags=a%2Fb&{HEADER}&x"));
    assert_eq!(exit, Exit::Code(0), "{report:#}");
    assert_eq!(finding(&report, "check")["ours"], "200: thanks");
    let seen = good.server.seen();
    assert_eq!(seen.len(), 4);
    for seen in &seen {
        let wanted = format!(
            "post /logs?tags=a%2fb&x http/1.1\r\n|host: {}\r\n|user-agent: go-http-client/1.1\r\n|content-type: \
             text/plain; charset=utf-8\r\n|content-encoding: gzip\r\n",
            good.server.address
        );
        for line in wanted.split('|') {
            assert!(seen.head.contains(line), "{line:?} is not in {}", seen.head);
        }
    }
    let secrets: Vec<_> = seen
        .iter()
        .map(|seen| seen.head.lines().find_map(|line| line.strip_prefix("x-logpush-secret: ")))
        .collect();
    let right = Some("a-secret-of-the-tests");
    assert_eq!(secrets, [right, None, Some("logpushd-doctor-wrong-secret"), right]);
    for check in &seen[..3] {
        assert_eq!(check.body, br#"{"content":"test"}"#);
    }
    let record: Value = serde_json::from_slice(&seen[3].body).unwrap();
    assert!(record["logpushd_doctor"].is_string() && record["time"].is_string());
    assert!(seen[3].body.ends_with(b"}\n"));

    good.run("?header_Content-Type=application%2Fjson");
    let seen = good.server.seen();
    assert!(seen[4].head.contains("content-type: application/json\r\n"), "{}", seen[4].head);
}

#[test]
fn every_rejection_comes_with_advice() {
    for (status, headers, body, advice) in [
        (
            "301 Moved",
            "Location: https://b.example/x?token=1\r\n",
            "",
            "as the destination, https://b.example/x",
        ),
        ("302 Found", "Location: https://a.example/login\r\n", "", "Cloudflare Access"),
        ("400 Bad Request", "", "what?", "see its answer"),
        ("401 Unauthorized", "", "", "missing or wrong"),
        ("403 Forbidden", "", "", "allow_from"),
        ("404 Not Found", "", "", "endpoint.NAME.path"),
        ("405 Method Not Allowed", "", "", "does not accept POST"),
        ("408 Request Timeout", "", "", "did not arrive in time"),
        ("413 Content Too Large", "", "", "client_max_body_size"),
        (
            "415 Unsupported",
            "",
            "wrong Content-Type header",
            "header_Content-Type=application%2Fjson",
        ),
        ("418 Teapot", "", "", "any status but 200"),
        ("500 Internal Server Error", "", "", "failed internally"),
        ("502 Bad Gateway", "", "", "a proxy in front"),
        ("503 Service Unavailable", "", "the spool is full", "cannot store batches now"),
        ("522 Connection Timed Out", "", "", "Cloudflare's proxy"),
    ] {
        let good = ValidServer::answering(move |_| answer(status, headers, body));
        let (finding, exit) = good.finding("check");
        assert_eq!((&finding["outcome"], exit), (&Value::from("fail"), FAILED), "{status}");
        let number = status.split(' ').next().unwrap();
        let words =
            "error validating destination: error writing object: error uploading to https: status";
        assert_eq!(finding["cloudflare"], format!("{words}:{number}"));
        let text = finding["advice"].as_str().unwrap();
        assert!(
            text.contains(advice) && !text.contains("token"),
            "{status}: {advice:?} not in {text}"
        );
        let ours = finding["ours"].as_str().unwrap();
        assert!(ours.starts_with(number) && ours.contains(body), "{ours}");
        assert_eq!(good.server.seen().len(), 1, "nothing is sent after a rejection");
    }
}

#[test]
fn a_rejected_batch_is_reported_differently_from_a_rejected_check() {
    let good = ValidServer::answering(|seen| {
        if seen.body.starts_with(b"{\"content\"") {
            return guarded(seen, "");
        }
        answer("415 Unsupported", "", "{\"message\":\"expecting\n\tJSON\u{1b}[2J\"}")
    });
    let (finding, exit) = good.finding("batch");
    assert_eq!(exit, FAILED);
    assert_eq!(
        finding["cloudflare"],
        "error 415: error pushing: error uploading to https: 415 {\"message\":\"expecting JSON\\u{1b}[2J\"}"
    );
}

#[test]
fn a_receiver_that_accepts_unauthenticated_records_is_reported() {
    let good = ValidServer::answering(|_| answer("200 OK", "", ""));
    let (report, exit) = good.run(&format!("?{HEADER}"));
    assert_eq!(exit, Exit::Code(0));
    let steps = report["steps"].as_array().unwrap();
    let secret: Vec<_> = steps.iter().filter(|finding| finding["step"] == "secret").collect();
    for (finding, what) in secret.iter().zip(["without the secret", "with a wrong secret"]) {
        assert_eq!(finding["outcome"], "warn");
        let ours = finding["ours"].as_str().unwrap();
        assert_eq!(ours, format!("accepted {what}: anyone can post (200)"));
    }
    assert_eq!(secret.len(), 2);

    let (report, _) = good.run("?header_Content-Type=text%2Fplain");
    let finding = finding(&report, "secret");
    let ours = finding["ours"].as_str().unwrap();
    assert!(finding["outcome"] == "warn" && ours.starts_with("no header contains"), "{ours}");
}

#[test]
fn a_secret_in_the_answer_is_not_printed() {
    let good = ValidServer::answering(|seen| answer("403 Forbidden", "", &seen.head));
    let (finding, exit) = good.finding("check");
    let ours = finding["ours"].as_str().unwrap();
    assert!(exit == FAILED && ours.contains("x-logpush-secret: ***"), "{ours}");
    let query = "?header_Authorization=Splunk%20a-secret-of-the-tests";
    let (report, _) = good.run(query);
    assert!(!report.to_string().contains("a-secret-of-the-tests"), "{report:#}");
    // Nor in another form: percent-encoded, or in Base64 as of "x:a-secret-of-the-tests".
    for echo in ["a%2Dsecret%2dof-the-tests", "eDphLXNlY3JldC1vZi10aGUtdGVzdHM="] {
        let good =
            ValidServer::answering(move |_| answer("403 Forbidden", "", &format!("got {echo};")));
        let (finding, _) = good.finding("check");
        assert_eq!(finding["ours"], "403: got ***;");
    }
}

#[test]
fn a_splunk_collector_is_recognized_by_its_answers() {
    for (status, body, outcome, part) in [
        ("200 OK", r#"{"text":"Success","code":0}"#, "pass", "200: Success"),
        ("200 OK", "<html>", "warn", "200: <html>"),
        ("403 Forbidden", r#"{"text":"Invalid token","code":4}"#, "fail", "Invalid token"),
    ] {
        let good = ValidServer::answering(move |_| answer(status, "", body));
        let ca = good.dir.path().join("ca.pem");
        let destination = format!(
            "splunk://{}/services/collector/raw?channel=1&header_Authorization=Splunk%206f1c2d3e",
            good.server.address
        );
        let (report, exit) = Call::trusting(&ca).run(&destination);
        let finding = finding(&report, "check");
        assert_eq!((&finding["outcome"], exit == FAILED), (&outcome.into(), outcome == "fail"));
        assert!(finding["ours"].as_str().unwrap().contains(part), "{finding}");
        // Cloudflare's texts are those for HTTP destinations. Its text for this case is unknown.
        assert_eq!(finding["cloudflare"], Value::Null);
    }
}

#[test]
fn a_connection_that_closes_between_requests_is_reopened() {
    let good = ValidServer::answering(|seen| {
        guarded(seen, "").replacen("\r\n", "\r\nConnection: close\r\n", 1)
    });
    let (report, exit) = good.run(&format!("?{HEADER}"));
    assert_eq!((exit, good.server.seen().len()), (Exit::Code(0), 4), "{report:#}");
}

#[test]
fn a_slow_answer_is_a_warning() {
    let first = Arc::new(AtomicUsize::new(0));
    let good = ValidServer::answering(move |seen| {
        if first.fetch_add(1, Ordering::SeqCst) == 0 {
            thread::sleep(Duration::from_millis(5200));
        }
        guarded(seen, "")
    });
    let (finding, exit) = good.finding("check");
    assert_eq!((&finding["outcome"], exit), (&Value::from("warn"), Exit::Code(0)));
    assert!(finding["millis"].as_u64().unwrap() >= 5200, "{finding}");
    let text = finding["advice"].as_str().unwrap();
    assert!(text.contains("gives up after 10 s (`context deadline exceeded`)"), "{text}");
}

#[test]
fn a_missing_answer_is_reported_as_a_timeout() {
    let good = ValidServer::answering(|_| {
        thread::sleep(Duration::from_secs(20));
        String::new()
    });
    let (finding, exit) = good.finding("check");
    assert_eq!((&finding["outcome"], exit), (&Value::from("fail"), FAILED));
    assert_eq!(finding["cloudflare"], "context deadline exceeded (upload health: 1106 Timeout)");
    assert!(finding["ours"].as_str().unwrap().ends_with("no answer within 10 s"), "{finding}");
}

#[test]
fn a_truncated_answer_is_reported() {
    let good = ValidServer::answering(|_| {
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort".to_owned()
    });
    drop(good);
    let good = ValidServer::answering(|_| panic!("closes the connection"));
    let (finding, exit) = good.finding("check");
    assert_eq!((&finding["outcome"], exit), (&Value::from("fail"), FAILED));
    assert_eq!(finding["cloudflare"], "EOF", "{finding}");
}
