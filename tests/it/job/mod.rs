//! `logpushd job` against a stand-in for Cloudflare's API that checks what it is sent, and that sends the
//! destination check to a real daemon.

mod options;
mod trouble;

use std::{fs, net::SocketAddr, process::Command};

use serde_json::{Value, json};

use crate::support::{
    Daemon, Exit, Finished, SECRET, Setup, closed_port,
    cloudflare::{BASE, Cloudflare, TOKEN, ZONE},
    finish, logpushd,
    tls::Authority,
};

const SCOPE: &str = "zones/0123456789abcdef0123456789abcdef";

/// The API, and a folder with what it takes to talk to it.
struct Desk {
    setup: Setup,
    api: Cloudflare,
}

impl Desk {
    /// The API trusts the certificate of `daemon`, or nobody that there is.
    fn new(daemon: Option<&Daemon>) -> Self {
        let setup = Setup::new();
        let authority = Authority::new();
        let pair = authority.sign_server();
        setup.write("api.pem", &pair.cert);
        setup.write("api-key.pem", &pair.key);
        setup.write("ca.pem", authority.pem());
        setup.write("token", format!("{TOKEN}\n"));
        let roots = match daemon {
            Some(daemon) => daemon.path("fullchain.pem"),
            None => setup.path("ca.pem"),
        };
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (cert, key) = (setup.path("api.pem"), setup.path("api-key.pem"));
        let api = Cloudflare::start(any, &cert, &key, &roots).unwrap();
        Self { setup, api }
    }

    /// `logpushd job` with these words, up to where the API is.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = logpushd();
        command.arg("job").args(words).args(["--api-url", &self.api.url()]);
        command.arg("--ca").arg(self.setup.path("ca.pem"));
        command.env_remove("CLOUDFLARE_API_TOKEN");
        command
    }

    /// The same for the zone, with the token. Whatever comes out, no secret does.
    #[track_caller]
    fn job(&self, words: &[&str]) -> Finished {
        let mut command = self.command(words);
        command.args(["--zone", ZONE]).arg("--token-file").arg(self.setup.path("token"));
        let finished = finish(&mut command);
        for text in [&finished.stdout, &finished.stderr] {
            assert!(!text.contains(TOKEN), "{text}");
            assert!(!text.contains(SECRET) || words.contains(&"--show-secrets"), "{text}");
        }
        finished
    }

    /// The same, and it must work.
    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let finished = self.job(words);
        assert_eq!(finished.exit, Exit::Code(0), "{}", finished.stderr);
        assert_eq!(finished.stderr, "");
        finished.stdout
    }

    /// The same, and it must fail that way and say that.
    #[track_caller]
    fn fails(&self, words: &[&str], code: i32, says: &[&str]) -> String {
        let finished = self.job(words);
        assert_eq!(finished.exit, Exit::Code(code), "{finished:?}");
        for part in says {
            assert!(finished.stderr.contains(part), "{part:?} not in {}", finished.stderr);
        }
        finished.stderr
    }

    /// A file that holds a destination.
    fn destination(&self, text: &str) -> String {
        self.setup.write("destination", format!("{text}\n"));
        self.setup.path("destination").display().to_string()
    }

    /// Makes a job, and gives back its number. The daemon must be running.
    fn create(&self, daemon: &Daemon) -> u64 {
        let file = self.destination(&destination_of(daemon, SECRET));
        self.ok(&[
            "create",
            "--dataset",
            "http_requests",
            "--destination-file",
            &file,
            "--fields",
            "ClientIP,RayID",
        ]);
        let jobs = self.ok(&["list", "--json"]);
        let jobs: Value = serde_json::from_str(&jobs).unwrap();
        jobs.as_array().unwrap().last().unwrap()["id"].as_u64().unwrap()
    }
}

fn destination_of(daemon: &Daemon, secret: &str) -> String {
    let address = daemon.address;
    format!("https://{address}/logpush/http_requests?header_X-Logpush-Secret={secret}")
}

#[test]
fn a_job_is_created_shown_changed_and_deleted() {
    let daemon = Setup::new().start();
    let desk = Desk::new(Some(&daemon));
    let file = desk.destination(&destination_of(&daemon, SECRET));
    let created = desk.ok(&[
        "create",
        "--dataset",
        "http_requests",
        "--destination-file",
        &file,
        "--fields",
        "RayID,ClientIP",
        "--name",
        "first-of-all",
    ]);
    assert!(created.contains("job 146 for http_requests: created"), "{created}");
    assert!(created.contains(&format!("logpushd job show 146 --zone {ZONE}")), "{created}");
    // Cloudflare's check came, and nothing else did.
    daemon.wait_log("answered Cloudflare's destination check");
    let job = desk.api.job(SCOPE, 146);
    assert_eq!(job["enabled"], true);
    assert_eq!(job["destination_conf"], destination_of(&daemon, SECRET));
    let output = json!({ "field_names": ["RayID", "ClientIP"], "timestamp_format": "rfc3339ns" });
    assert_eq!(job["output_options"], output);

    let listed = desk.ok(&["list"]);
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines.len(), 2, "{listed}");
    assert!(lines[1].starts_with("146  http_requests  new "), "{listed}");
    assert!(lines[1].ends_with("  first-of-all"), "{listed}");
    let shown = desk.ok(&["show", "146"]);
    assert!(shown.starts_with("job 146 \"first-of-all\": new\n"), "{shown}");
    let masked = destination_of(&daemon, "***");
    assert!(shown.contains(&format!("  destination       {masked}\n")), "{shown}");
    assert!(shown.contains("  field_names       2: RayID,ClientIP\n"), "{shown}");
    assert!(desk.ok(&["show", "146", "--show-secrets"]).contains(SECRET));

    assert_eq!(desk.ok(&["disable", "146"]), "job 146: disabled\n");
    assert_eq!(desk.api.job(SCOPE, 146)["enabled"], false);
    assert!(desk.ok(&["list"]).contains(" disabled "));
    assert_eq!(desk.ok(&["enable", "146"]), "job 146: enabled\n");
    desk.api.take_requests();
    desk.ok(&["update", "146", "--timestamp-format", "unix", "--max-upload-bytes", "16MB"]);
    let update = r#"{"max_upload_bytes":16000000,"output_options":{"field_names":["RayID","ClientIP"],"timestamp_format":"unix"}}"#;
    let path = format!("{BASE}/{SCOPE}/logpush/jobs/146");
    assert_eq!(desk.api.take_requests(), [format!("GET {path}"), format!("PUT {path} {update}")]);
    assert_eq!(desk.api.job(SCOPE, 146)["name"], "first-of-all");
    let shown = desk.ok(&["show", "146"]);
    assert!(shown.contains("  batches           at most 16000000 bytes uncompressed\n"), "{shown}");

    desk.api.take_requests();
    desk.fails(&["delete", "146"], 64, &["--yes"]);
    assert_eq!(desk.api.take_requests(), [""; 0]);
    assert_eq!(desk.ok(&["delete", "146", "--yes"]), "job 146: deleted\n");
    assert_eq!(desk.ok(&["list"]), "no jobs; create one with: logpushd job create\n");
    desk.fails(&["show", "146"], 69, &["404", "1001 job not found", "logpushd job list"]);
    assert_eq!(daemon.count("logpushd_spool_batches"), 0);
    daemon.stop().in_order();
}

#[test]
fn a_destination_that_does_not_work_makes_no_job() {
    let daemon = Setup::new().start();
    let desk = Desk::new(Some(&daemon));
    let create = |file: &str| {
        ["create", "--dataset", "http_requests", "--all-fields", "--destination-file", file]
            .map(str::to_owned)
    };
    let wrong = "wrong-and-not-to-be-shown";
    let file = desk.destination(&destination_of(&daemon, wrong));
    let words = create(&file);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let said = desk.fails(
        &words,
        69,
        &["400 Bad Request: 1002 error validating destination: ", "status:401", "secret_file"],
    );
    assert!(!said.contains(wrong), "{said}");
    let invalid = ["validate", "--destination-file", &file];
    let said =
        desk.fails(&invalid, 69, &["not valid: error validating", "status:401", "secret_file"]);
    assert!(!said.contains(wrong), "{said}");

    desk.destination(&destination_of(&daemon, SECRET));
    let valid = desk.ok(&invalid);
    assert_eq!(valid, "valid: Cloudflare's destination check succeeded\n");
    desk.create(&daemon);
    assert!(desk.ok(&invalid).contains("already uses this destination"));
    let both: Value =
        serde_json::from_str(&desk.ok(&["validate", "--json", "--destination-file", &file]))
            .unwrap();
    assert_eq!(both["destination"]["valid"], true);
    assert_eq!(both["exists"]["exists"], true);

    // Nobody knows its certificate; and then nobody is there.
    let stranger = Desk::new(None);
    let file = stranger.destination(&destination_of(&daemon, SECRET));
    let invalid = ["validate", "--destination-file", &file];
    stranger.fails(&invalid, 69, &["x509: certificate signed by unknown authority", "full chain"]);
    let (_socket, nobody) = closed_port();
    stranger.destination(&format!("https://{nobody}/x?header_X-Logpush-Secret={SECRET}"));
    stranger.fails(&invalid, 69, &["connection refused", "check that the daemon is running"]);
    daemon.stop().in_order();
    let jobs: Value = serde_json::from_str(&stranger.ok(&["list", "--json"])).unwrap();
    assert_eq!(jobs, json!([]));
}

#[test]
fn an_endpoint_is_a_destination() {
    let daemon = Setup::new().start();
    let desk = Desk::new(Some(&daemon));
    // The configuration knows neither the port nor that the name is not localhost.
    let (config, host) = (daemon.setup().config(), daemon.address.to_string());
    let endpoint = ["--endpoint", "main", "-c", config.to_str().unwrap(), "--host", &host];
    let dataset = ["--dataset", "http_requests"];
    let valid = desk.ok(&[&["validate"][..], &endpoint, &dataset].concat());
    assert_eq!(valid, "valid: Cloudflare's destination check succeeded\n");
    desk.ok(&[&["create", "--all-fields"][..], &endpoint, &dataset].concat());
    assert_eq!(desk.api.job(SCOPE, 146)["destination_conf"], destination_of(&daemon, SECRET));
    desk.ok(&[&["update", "146"][..], &endpoint, &dataset].concat());
    desk.fails(&[&["update", "146"][..], &endpoint].concat(), 64, &["add --dataset"]);
    let other = ["validate", "--endpoint", "other", "-c", config.to_str().unwrap()];
    desk.fails(&[&other[..], &dataset].concat(), 64, &["there is no endpoint `other`"]);
    let gone = ["validate", "--endpoint", "main", "-c", "gone.toml"];
    desk.fails(&[&gone[..], &dataset].concat(), 78, &["gone.toml"]);
}

#[test]
fn the_health_of_a_job_is_told_in_words() {
    let daemon = Setup::new().start();
    let desk = Desk::new(Some(&daemon));
    let id = desk.create(&daemon);
    let number = id.to_string();
    let set = |members: Value| desk.api.set(SCOPE, id, &members);
    let ago = |seconds: i64| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let second = i64::try_from(now.as_secs()).unwrap() - seconds;
        jiff::Timestamp::from_second(second).unwrap().to_string()
    };
    let cases: [(Value, &str, &[&str]); 4] = [
        (
            json!({ "last_complete": ago(130) }),
            "healthy",
            &["the job delivers", ", 2 minutes ago\n"],
        ),
        (json!({ "last_complete": ago(7300) }), "quiet", &["reports no failure", "2 hours ago"]),
        (
            json!({
                "last_error": ago(65),
                "error_message": format!("error 413: error pushing: error uploading to https: 413 {{\"error\":\"{SECRET}\u{1b}[0m\"}}"),
            }),
            "failing",
            &[
                "after 24 hours",
                "last failure",
                r#"413 {"error":"***\u{1b}[0m"}"#,
                "lower --max-upload-bytes",
            ],
        ),
        (
            json!({ "enabled": false }),
            "stopped",
            &["someone else disabled it", &format!("logpushd job enable {id} --zone")],
        ),
    ];
    for (members, state, says) in cases {
        set(members);
        let shown = desk.ok(&["show", &number]);
        assert!(shown.starts_with(&format!("job {id}: {state}\n")), "{shown}");
        for part in says {
            assert!(shown.contains(part), "{part:?} not in {shown}");
        }
        assert!(desk.ok(&["list"]).contains(&format!("  {state} ")), "{state}");
    }
    let shown: Value = serde_json::from_str(&desk.ok(&["show", &number, "--json"])).unwrap();
    assert_eq!(shown["destination_conf"], destination_of(&daemon, "***"));
    assert_eq!(shown["enabled"], false);
    fs::remove_file(desk.setup.path("token")).unwrap();
    desk.fails(&["show", &number], 74, &["token"]);
}
