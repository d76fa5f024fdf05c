//! `logpushd job` against a mock of Cloudflare's API that checks requests and sends the destination
//! check to a real daemon.

mod errors;
mod options;

use std::{fs, net::SocketAddr, process::Command};

use serde_json::{Value, json};

use crate::support::{
    Daemon, Exit, Finished, SECRET, Setup, closed_port,
    cloudflare::{BASE, Cloudflare, TOKEN, ZONE},
    finish, logpushd,
    tls::Authority,
};

const SCOPE: &str = "zones/0123456789abcdef0123456789abcdef";

/// The API, and a directory with the files needed to call it.
struct Harness {
    setup: Setup,
    api: Cloudflare,
}

impl Harness {
    /// The API trusts the certificate of `daemon`, or none.
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

    /// `logpushd job` with these arguments and the URL of the API.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = logpushd();
        command.arg("job").args(words).args(["--api-url", &self.api.url()]);
        command.arg("--ca").arg(self.setup.path("ca.pem"));
        command.env_remove("CLOUDFLARE_API_TOKEN");
        command
    }

    /// The same for the zone, with the token. The output must not contain the secret.
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

    /// The same, and it must succeed.
    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let finished = self.job(words);
        assert_eq!(finished.exit, Exit::Code(0), "{}", finished.stderr);
        assert_eq!(finished.stderr, "");
        finished.stdout
    }

    /// The same, and it must fail with this exit code and these texts.
    #[track_caller]
    fn fails(&self, words: &[&str], code: i32, says: &[&str]) -> String {
        let finished = self.job(words);
        assert_eq!(finished.exit, Exit::Code(code), "{finished:?}");
        for part in says {
            assert!(finished.stderr.contains(part), "{part:?} not in {}", finished.stderr);
        }
        finished.stderr
    }

    /// A file that contains a destination.
    fn destination(&self, text: &str) -> String {
        self.setup.write("destination", format!("{text}\n"));
        self.setup.path("destination").display().to_string()
    }

    /// Creates a job, and returns its number. The daemon must be running.
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
fn a_job_is_created_listed_updated_and_deleted() {
    let daemon = Setup::new().start();
    let harness = Harness::new(Some(&daemon));
    let file = harness.destination(&destination_of(&daemon, SECRET));
    let created = harness.ok(&[
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
    // Cloudflare's check was received, and nothing else.
    daemon.wait_log("answered Cloudflare's destination check");
    let job = harness.api.job(SCOPE, 146);
    assert_eq!(job["enabled"], true);
    assert_eq!(job["destination_conf"], destination_of(&daemon, SECRET));
    let output = json!({ "field_names": ["RayID", "ClientIP"], "timestamp_format": "rfc3339ns" });
    assert_eq!(job["output_options"], output);

    let listed = harness.ok(&["list"]);
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!(lines.len(), 2, "{listed}");
    assert!(lines[1].starts_with("146  http_requests  new "), "{listed}");
    assert!(lines[1].ends_with("  first-of-all"), "{listed}");
    let shown = harness.ok(&["show", "146"]);
    assert!(shown.starts_with("job 146 \"first-of-all\": new\n"), "{shown}");
    let masked = destination_of(&daemon, "***");
    assert!(shown.contains(&format!("  destination       {masked}\n")), "{shown}");
    assert!(shown.contains("  field_names       2: RayID,ClientIP\n"), "{shown}");
    assert!(harness.ok(&["show", "146", "--show-secrets"]).contains(SECRET));

    assert_eq!(harness.ok(&["disable", "146"]), "job 146: disabled\n");
    assert_eq!(harness.api.job(SCOPE, 146)["enabled"], false);
    assert!(harness.ok(&["list"]).contains(" disabled "));
    assert_eq!(harness.ok(&["enable", "146"]), "job 146: enabled\n");
    harness.api.take_requests();
    harness.ok(&["update", "146", "--timestamp-format", "unix", "--max-upload-bytes", "16MB"]);
    let update = r#"{"max_upload_bytes":16000000,"output_options":{"field_names":["RayID","ClientIP"],"timestamp_format":"unix"}}"#;
    let path = format!("{BASE}/{SCOPE}/logpush/jobs/146");
    assert_eq!(
        harness.api.take_requests(),
        [format!("GET {path}"), format!("PUT {path} {update}")]
    );
    assert_eq!(harness.api.job(SCOPE, 146)["name"], "first-of-all");
    let shown = harness.ok(&["show", "146"]);
    assert!(shown.contains("  batches           at most 16000000 bytes uncompressed\n"), "{shown}");

    harness.api.take_requests();
    harness.fails(&["delete", "146"], 64, &["--yes"]);
    assert_eq!(harness.api.take_requests(), [""; 0]);
    assert_eq!(harness.ok(&["delete", "146", "--yes"]), "job 146: deleted\n");
    assert_eq!(harness.ok(&["list"]), "no jobs; create one with: logpushd job create\n");
    harness.fails(&["show", "146"], 69, &["404", "1001 job not found", "logpushd job list"]);
    assert_eq!(daemon.count("logpushd_spool_batches"), 0);
    daemon.stop().exited_cleanly();
}

#[test]
fn no_job_is_created_for_a_destination_that_fails() {
    let daemon = Setup::new().start();
    let harness = Harness::new(Some(&daemon));
    let create = |file: &str| {
        ["create", "--dataset", "http_requests", "--all-fields", "--destination-file", file]
            .map(str::to_owned)
    };
    let wrong = "wrong-and-not-to-be-shown";
    let file = harness.destination(&destination_of(&daemon, wrong));
    let words = create(&file);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let output = harness.fails(
        &words,
        69,
        &["400 Bad Request: 1002 error validating destination: ", "status:401", "secret_file"],
    );
    assert!(!output.contains(wrong), "{output}");
    let invalid = ["validate", "--destination-file", &file];
    let output =
        harness.fails(&invalid, 69, &["not valid: error validating", "status:401", "secret_file"]);
    assert!(!output.contains(wrong), "{output}");

    harness.destination(&destination_of(&daemon, SECRET));
    let valid = harness.ok(&invalid);
    assert_eq!(valid, "valid: Cloudflare's destination check succeeded\n");
    harness.create(&daemon);
    assert!(harness.ok(&invalid).contains("already uses this destination"));
    let both: Value =
        serde_json::from_str(&harness.ok(&["validate", "--json", "--destination-file", &file]))
            .unwrap();
    assert_eq!(both["destination"]["valid"], true);
    assert_eq!(both["exists"]["exists"], true);

    // First its certificate is not trusted; then no server listens.
    let stranger = Harness::new(None);
    let file = stranger.destination(&destination_of(&daemon, SECRET));
    let invalid = ["validate", "--destination-file", &file];
    stranger.fails(&invalid, 69, &["x509: certificate signed by unknown authority", "full chain"]);
    let (_socket, nobody) = closed_port();
    stranger.destination(&format!("https://{nobody}/x?header_X-Logpush-Secret={SECRET}"));
    stranger.fails(&invalid, 69, &["connection refused", "check that the daemon is running"]);
    daemon.stop().exited_cleanly();
    let jobs: Value = serde_json::from_str(&stranger.ok(&["list", "--json"])).unwrap();
    assert_eq!(jobs, json!([]));
}

#[test]
fn an_endpoint_can_be_given_as_destination() {
    let daemon = Setup::new().start();
    let harness = Harness::new(Some(&daemon));
    // The configuration contains neither the port nor the host name, which is not localhost.
    let (config, host) = (daemon.setup().config(), daemon.address.to_string());
    let endpoint = ["--endpoint", "main", "-c", config.to_str().unwrap(), "--host", &host];
    let dataset = ["--dataset", "http_requests"];
    let valid = harness.ok(&[&["validate"][..], &endpoint, &dataset].concat());
    assert_eq!(valid, "valid: Cloudflare's destination check succeeded\n");
    harness.ok(&[&["create", "--all-fields"][..], &endpoint, &dataset].concat());
    assert_eq!(harness.api.job(SCOPE, 146)["destination_conf"], destination_of(&daemon, SECRET));
    harness.ok(&[&["update", "146"][..], &endpoint, &dataset].concat());
    harness.fails(&[&["update", "146"][..], &endpoint].concat(), 64, &["add --dataset"]);
    let other = ["validate", "--endpoint", "other", "-c", config.to_str().unwrap()];
    harness.fails(&[&other[..], &dataset].concat(), 64, &["no endpoint `other`"]);
    let gone = ["validate", "--endpoint", "main", "-c", "gone.toml"];
    harness.fails(&[&gone[..], &dataset].concat(), 78, &["gone.toml"]);
}

#[test]
fn the_health_of_a_job_is_printed_in_plain_words() {
    let daemon = Setup::new().start();
    let harness = Harness::new(Some(&daemon));
    let id = harness.create(&daemon);
    let number = id.to_string();
    let set = |members: Value| harness.api.set(SCOPE, id, &members);
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
        let shown = harness.ok(&["show", &number]);
        assert!(shown.starts_with(&format!("job {id}: {state}\n")), "{shown}");
        for part in says {
            assert!(shown.contains(part), "{part:?} not in {shown}");
        }
        assert!(harness.ok(&["list"]).contains(&format!("  {state} ")), "{state}");
    }
    let shown: Value = serde_json::from_str(&harness.ok(&["show", &number, "--json"])).unwrap();
    assert_eq!(shown["destination_conf"], destination_of(&daemon, "***"));
    assert_eq!(shown["enabled"], false);
    fs::remove_file(harness.setup.path("token")).unwrap();
    harness.fails(&["show", &number], 74, &["token"]);
}
