//! An endpoint that speaks Splunk's HTTP Event Collector: the same promises, in Splunk's words.

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

/// Where a Logpush job with a splunk:// destination posts.
const JOB: &str = "/services/collector/raw?channel=8e6ab7a7-9e32-4a7d-8a0c-6a3c0d1f5a31\
    &insecure-skip-verify=false&sourcetype=cloudflare:json";

/// One endpoint, without any other.
fn setup() -> Setup {
    let setup = Setup::new()
        .without("endpoint.main")
        .table("endpoint.hec", "protocol = \"splunk_hec\"\nsecret_file = \"tokens.txt\"");
    setup.write("tokens.txt", TOKEN);
    setup
}

/// A body for a path behind the prefix, with the right token.
fn upload(path: &str, body: impl AsRef<[u8]>) -> Upload {
    with_token(Upload::of(body).to(&format!("{PREFIX}{path}")))
}

fn with_token(upload: Upload) -> Upload {
    upload.without_secret().header("authorization", &format!("Splunk {TOKEN}"))
}

impl Answer {
    /// Demands Splunk's success, and gives back what we say of it beside.
    #[track_caller]
    fn success(&self) -> String {
        assert_eq!((self.status, self.text.as_str()), (200, SUCCESS));
        assert_eq!(self.headers["content-type"], "application/json");
        self.headers["x-logpushd-result"].to_str().unwrap().to_owned()
    }
}

/// What is said of a batch that was committed.
fn committed(records: u64, quarantined: u64) -> String {
    format!("{{\"status\":\"committed\",\"records\":{records},\"quarantined\":{quarantined}}}")
}

/// Events in envelopes, a line each.
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
fn a_logpush_job_with_a_splunk_destination_is_served() {
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
    daemon.stop().in_order();
}

#[test]
fn events_arrive_in_their_envelopes_however_they_are_strung_together_and_cut() {
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
            // In pieces of any length, of a length that is not said.
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
    daemon.stop().in_order();
}

#[test]
fn a_bad_event_goes_to_quarantine_alone_and_a_body_that_cannot_be_read_whole() {
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
    daemon.stop().in_order();
}

#[test]
fn raw_takes_the_form_that_the_endpoint_has() {
    let keys = "protocol = \"splunk_hec\"\npath = \"/hec\"\ndataset = \"access\"\n\
                secret_file = \"tokens.txt\"\nformat = \"text\"";
    let daemon = setup().table("endpoint.hec", keys).start();
    let post = |path: &str, body: &str| {
        daemon.send(Http::Two, with_token(Upload::of(body).to(&format!("/hec{path}"))))
    };
    assert_eq!(post("/raw?sourcetype=x", "GET / 200\nGET /a 404").success(), committed(2, 0));
    // The form is for /raw: an event says itself what it is.
    assert_eq!(post("/event", "{\"event\":\"GET /b 200\"}").success(), committed(1, 0));
    let want = "{\"message\":\"GET / 200\"}\n{\"message\":\"GET /a 404\"}\n\
                {\"event\":\"GET /b 200\"}\n";
    daemon.wait_file("out/access.ndjson", want.as_bytes());
    daemon.stop().in_order();
}

#[test]
fn a_body_that_comes_again_is_not_delivered_again() {
    let daemon = setup().table("spool", r#"dir = "spool""#).start();
    let body = events(2, 20);
    assert_eq!(daemon.send(Http::One, upload("/event", &body)).success(), committed(20, 0));
    let again = daemon.send(Http::Two, upload("/event", &body).gzipped());
    assert_eq!(again.success(), committed(20, 0).replace("committed", "duplicate"));
    let stopped = daemon.stop().in_order();
    assert_eq!(stopped.file("out/splunk_hec.ndjson"), body.as_bytes());
}

#[test]
fn what_waits_reads_the_same_after_the_endpoint_has_become_another() {
    let setup = setup();
    // A file stands where the folder should be.
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
    let stopped = setup.start().stop().in_order();
    let file = stopped.file("out/splunk_hec.ndjson");
    assert_eq!(String::from_utf8_lossy(&file), lines.repeat(2));
}

/// The endpoint and a neighbor of the other protocol do not get in each other's way.
#[test]
fn a_logpush_endpoint_beside_it_is_untouched() {
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
    daemon.stop().in_order();
}

#[test]
fn the_time_of_an_event_is_that_of_its_envelope() {
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
    daemon.stop().in_order();
}
