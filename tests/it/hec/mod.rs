//! An endpoint for Splunk's HTTP Event Collector protocol: the same guarantees, with Splunk's
//! texts.

mod answers;
mod clients;
mod killed;
mod replay;

use std::fs;

use crate::support::{
    Answer, Exit, Http, Setup, Upload, count_lines, finish, gzip, logpushd, names_in, numbered,
    wait_until,
};

const TOKEN: &str = "0b8a4a1e-token-of-the-tests";

const PREFIX: &str = "/services/collector";

const SUCCESS: &str = "{\"text\":\"Success\",\"code\":0}";

/// The path to which a Logpush job with a splunk:// destination posts.
const JOB: &str = "/services/collector/raw?channel=8e6ab7a7-9e32-4a7d-8a0c-6a3c0d1f5a31\
    &insecure-skip-verify=false&sourcetype=cloudflare:json";

/// A single endpoint of this type.
fn setup() -> Setup {
    let setup = Setup::new()
        .without("endpoint.main")
        .table("endpoint.hec", "protocol = \"splunk_hec\"\nsecret_file = \"tokens.txt\"");
    setup.write("tokens.txt", TOKEN);
    setup
}

/// A body for a path after the prefix, with the right token.
fn upload(path: &str, body: impl AsRef<[u8]>) -> Upload {
    with_token(Upload::of(body).to(&format!("{PREFIX}{path}")))
}

fn with_token(upload: Upload) -> Upload {
    upload.without_secret().header("authorization", &format!("Splunk {TOKEN}"))
}

impl Answer {
    /// Asserts Splunk's success, and returns the other members of the answer.
    #[track_caller]
    fn success(&self) -> String {
        assert_eq!((self.status, self.text.as_str()), (200, SUCCESS));
        assert_eq!(self.headers["content-type"], "application/json");
        self.headers["x-logpushd-result"].to_str().unwrap().to_owned()
    }
}

/// The log line of a committed batch.
fn committed(records: u64, quarantined: u64) -> String {
    format!("{{\"status\":\"committed\",\"records\":{records},\"quarantined\":{quarantined}}}")
}

/// Events in envelopes, one per line.
fn events(seed: u64, count: u64) -> String {
    let event = |number| {
        format!(
            "{{\"time\":1763755200.{number:03},\"host\":\"web-{seed}\",\"sourcetype\":\"_json\",\
             \"event\":{{\"number\":{number},\"text\":\"}}{{ \\\"quoted\\\" \\\\\"}}}}\n"
        )
    };
    (0..count).map(event).collect()
}

#[test]
fn a_logpush_job_with_a_splunk_destination_works() {
    let daemon = setup().start();
    let mut want = Vec::new();
    for http in Http::BOTH {
        let connection = daemon.connect(http);
        let job = |body: &[u8]| {
            with_token(Upload::of(body).to(JOB))
                .header("content-type", "text/plain; charset=utf-8")
                .gzipped()
        };
        let check = connection.send(job(b"{\"content\":\"test\"}"));
        let nothing = "{\"status\":\"destination_check\",\"records\":0,\"quarantined\":0}";
        assert_eq!(check.success(), nothing);
        for seed in 0..3 {
            let records = numbered(seed, 400);
            assert_eq!(connection.send(job(&records)).success(), committed(400, 0));
            want.extend(records);
        }
    }
    assert_eq!(count_lines(&want), 2400);
    daemon.wait_file("out/splunk_hec.ndjson", &want);
    let batches =
        |outcome| format!("logpushd_batches_total{{endpoint=\"hec\",outcome=\"{outcome}\"}}");
    assert_eq!(daemon.count(&batches("committed")), 6);
    assert_eq!(daemon.count(&batches("destination_check")), 2);
    let records = "logpushd_records_total{endpoint=\"hec\",dataset=\"splunk_hec\"}";
    assert_eq!(daemon.count(records), 2400);
    assert!(daemon.log().iter().all(|line| !line.to_string().contains(TOKEN)));
    daemon.stop().exited_cleanly();
}

#[test]
fn events_are_delivered_in_their_envelopes_however_they_are_concatenated_and_split() {
    let daemon = setup().start();
    let lines = events(1, 300);
    let strung = lines.replace("}\n{", "}{");
    let strung = strung.trim_end();
    let array = format!("[{}]", lines.trim_end().replace("}\n{", "},\n{"));
    let spread = lines.replace("}\n{", "}\r\n\r\n{").replace(",\"event\":{", ",\n \"event\":\r\n{");
    let spread_want = lines.replace(",\"event\":{", ",  \"event\":  {");
    let mut want = Vec::new();
    for http in Http::BOTH {
        let connection = daemon.connect(http);
        for (path, body, lines) in [
            ("", strung, &lines),
            ("/event", &lines, &lines),
            ("/event/1.0", &array, &lines),
            ("/event", &spread, &spread_want),
        ] {
            for body in [upload(path, body), upload(path, body).gzipped()] {
                assert_eq!(connection.send(body).success(), committed(300, 0), "{path}");
                want.extend(lines.as_bytes());
            }
            // In chunks of any length, without a declared length.
            let (slow, feed) = Upload::fed(None);
            let slow = with_token(slow.to(&format!("{PREFIX}{path}")));
            let answer = std::thread::scope(|scope| {
                let sending = scope.spawn(|| connection.send(slow));
                for piece in body.as_bytes().chunks(4099) {
                    assert!(feed.push(piece));
                }
                drop(feed);
                sending.join().unwrap()
            });
            assert_eq!(answer.success(), committed(300, 0), "{path}");
            want.extend(lines.as_bytes());
        }
    }
    daemon.wait_file("out/splunk_hec.ndjson", &want);
    daemon.stop().exited_cleanly();
}

#[test]
fn an_invalid_event_is_quarantined_alone_and_an_undecodable_body_as_a_whole() {
    let daemon = setup().start();
    let body = "{\"event\":1}{\"event\":tru}not json\n{\"event\":4} \"five\" {\"event\":\"six\"}";
    let answer = daemon.send(Http::Two, upload("/event", body));
    assert_eq!(answer.success(), committed(3, 3));
    let good = b"{\"event\":1}\n{\"event\":4}\n{\"event\":\"six\"}\n";
    daemon.wait_file("out/splunk_hec.ndjson", good);
    let count = |reason| format!("logpushd_quarantined_records_total{{reason=\"{reason}\"}}");
    daemon.wait_count(&count("not_json"), |records| records == 2);
    daemon.wait_count(&count("not_object"), |records| records == 1);

    let zipped = gzip(b"{\"event\":1}");
    let cut = upload("/event", &zipped[..20]).header("content-encoding", "gzip");
    let quarantined = "{\"status\":\"quarantined\",\"records\":0,\"quarantined\":1}";
    assert_eq!(daemon.send(Http::One, cut).success(), quarantined);
    assert_eq!(daemon.send(Http::One, upload("/raw", "nothing of it")).success(), quarantined);
    let bodies = names_in(&daemon.path("quarantine/bodies"));
    assert!(matches!(bodies.as_slice(), [body] if body.starts_with("hec.splunk_hec.")));
    daemon.stop().exited_cleanly();
}

#[test]
fn raw_events_are_decoded_in_the_format_of_the_endpoint() {
    let keys = "protocol = \"splunk_hec\"\npath = \"/hec\"\ndataset = \"access\"\n\
                secret_file = \"tokens.txt\"\nformat = \"text\"";
    let daemon = setup().table("endpoint.hec", keys).start();
    let post = |path: &str, body: &str| {
        daemon.send(Http::Two, with_token(Upload::of(body).to(&format!("/hec{path}"))))
    };
    assert_eq!(post("/raw?sourcetype=x", "GET / 200\nGET /a 404").success(), committed(2, 0));
    // The format applies to /raw: an event declares its own.
    assert_eq!(post("/event", "{\"event\":\"GET /b 200\"}").success(), committed(1, 0));
    let want = "{\"message\":\"GET / 200\"}\n{\"message\":\"GET /a 404\"}\n\
                {\"event\":\"GET /b 200\"}\n";
    daemon.wait_file("out/access.ndjson", want.as_bytes());
    daemon.stop().exited_cleanly();
}

#[test]
fn a_repeated_body_is_delivered_once() {
    let daemon = setup().table("spool", r#"dir = "spool""#).start();
    let body = events(2, 20);
    assert_eq!(daemon.send(Http::One, upload("/event", &body)).success(), committed(20, 0));
    let repeated = daemon.send(Http::Two, upload("/event", &body).gzipped());
    assert_eq!(repeated.success(), committed(20, 0).replace("committed", "duplicate"));
    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(stopped.file("out/splunk_hec.ndjson"), body.as_bytes());
}

#[test]
fn the_backlog_is_decoded_the_same_after_the_endpoint_changes_its_type() {
    let setup = setup();
    // A file has replaced the directory.
    setup.write("out", "in the way");
    let daemon = setup.start();
    let lines = events(3, 50);
    let strung = lines.replace("}\n{", "}{");
    daemon.send(Http::Two, upload("/event", &strung)).success();
    daemon.send(Http::Two, upload("/event", &strung).gzipped()).success();
    let names = names_in(&daemon.path("spool/batches"));
    let endings: Vec<_> = names.iter().map(|name| name.splitn(9, '.').last().unwrap()).collect();
    assert_eq!(endings, ["hec", "hec.gz"]);
    let logpush = "path = \"/logpush/{dataset}\"\nauth = \"none\"";
    let setup = daemon.kill().setup.table("endpoint.hec", logpush);
    let finished = finish(logpushd().args(["spool", "verify", "-c"]).arg(setup.write_config()));
    assert_eq!(finished.exit, Exit::Code(0), "{finished:?}");
    fs::remove_file(setup.path("out")).unwrap();
    let stopped = setup.start().stop().exited_cleanly();
    let file = stopped.file("out/splunk_hec.ndjson");
    assert_eq!(String::from_utf8_lossy(&file), lines.repeat(2));
}

/// The endpoint and an endpoint of the other protocol do not affect each other.
#[test]
fn a_logpush_endpoint_on_the_same_daemon_is_unaffected() {
    let daemon = setup()
        .table("endpoint.main", "path = \"/{dataset}\"\nsecret_file = \"secrets.txt\"")
        .start();
    let answer = daemon.send(Http::One, Upload::of("{\"a\":1}\n").to("/services"));
    assert_eq!(answer.committed(), 1);
    daemon.send(Http::One, upload("/raw", "{\"a\":2}\n")).success();
    let lost = daemon.send(Http::One, Upload::of("{}").to("/services/collectors"));
    assert_eq!(lost.status, 404);
    assert!(lost.text.starts_with("no endpoint has this path"), "{}", lost.text);
    wait_until("both", || names_in(&daemon.path("out")).len() == 2);
    let asked = Upload::of("").method(&hyper::Method::GET).to("/services");
    assert_eq!(daemon.send(Http::One, asked).status, 405);
    daemon.stop().exited_cleanly();
}

#[test]
fn the_time_of_an_event_comes_from_its_envelope() {
    let keys = "path = \"out/%Y-%m-%d.ndjson\"\ntime = \"event\"";
    let daemon = setup().table("sink.archive.file", keys).start();
    let time = jiff::Timestamp::now().as_second() - 2 * 24 * 60 * 60;
    let names: Vec<_> = [time, time - 24 * 60 * 60]
        .map(|time| jiff::Timestamp::from_second(time).unwrap().strftime("%Y-%m-%d.ndjson"))
        .map(|name| name.to_string())
        .into();
    let later = format!("{{\"time\":{time}.25,\"event\":1}}");
    let before = format!("{{\"time\":\"{}.125\",\"event\":2}}", time - 24 * 60 * 60);
    let body = [later.as_str(), before.as_str()].concat();
    assert_eq!(daemon.send(Http::Two, upload("/event", body)).success(), committed(2, 0));
    daemon.wait_file(&format!("out/{}", names[0]), format!("{later}\n").as_bytes());
    daemon.wait_file(&format!("out/{}", names[1]), format!("{before}\n").as_bytes());
    daemon.stop().exited_cleanly();
}
