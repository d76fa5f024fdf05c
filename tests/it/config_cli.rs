//! The command line: exit codes, problems with line and column, shipped configurations.

use std::{fs, net::TcpListener, path::Path, process::Command};

use serde_json::{Value, json};

use crate::support::{
    Daemon, Exit, Finished, Http, Setup, Upload, finish, logpushd, names_in, repository, require,
    tls::{Authority, Pair},
};

fn run(command: &str, config: &Path) -> Finished {
    finish(logpushd().args([command, "-c"]).arg(config))
}

#[track_caller]
fn fails(finished: &Finished, code: i32, says: &[&str]) {
    assert_eq!(finished.exit, Exit::Code(code), "{finished:?}");
    assert_eq!(finished.stdout, "", "standard output is for records");
    for part in says {
        assert!(finished.stderr.contains(part), "{part:?} not in {}", finished.stderr);
    }
}

const BAD: &str = r#"[server]
adress = "127.0.0.1:0"
[server.tls]
self_signed = "yes"
[endpoint.main]
path = "logpush/{dataset}"
auth = "none"
[sink.a.file]
path = "/%J"
"#;

#[test]
fn a_valid_configuration_is_reported_as_valid() {
    let setup = Setup::new();
    let finished = run("validate", &setup.write_config());
    assert_eq!(finished.exit, Exit::Code(0), "{finished:?}");
    assert!(finished.stdout.contains("logpushd.toml: ok\n"), "{finished:?}");
    for part in ["  endpoint main ", "  sink archive ", "  spool ", "out/{dataset}.ndjson\n"] {
        assert!(finished.stdout.contains(part), "{part:?} not in {}", finished.stdout);
    }
    assert_eq!(names_in(setup.directory()), ["logpushd.toml", "secrets.txt"], "nothing is created");
}

/// The file may be named as an argument or in the environment, or be standard input.
#[test]
fn the_configuration_file_can_be_given_in_four_ways() {
    let setup = Setup::new();
    let config = setup.write_config();
    let good = |finished: &Finished, name: &str| {
        assert_eq!(finished.exit, Exit::Code(0), "{finished:?}");
        let first = finished.stdout.lines().next().unwrap_or_default();
        assert_eq!(first, format!("{name}: ok"), "{finished:?}");
    };
    let name = config.to_str().unwrap();
    good(&finish(logpushd().args(["validate", name])), name);
    good(&finish(logpushd().args(["validate", "-c", name])), name);
    good(&finish(logpushd().arg("validate").env("LOGPUSHD_CONFIG", name)), name);
    let other = logpushd().args(["validate", name]).env("LOGPUSHD_CONFIG", "gone.toml").output();
    assert!(other.unwrap().status.success(), "the argument wins");
    let from_stdin = |text: &str| {
        setup.write("stdin", text);
        let script = "exec \"$0\" validate -c - < stdin";
        // Relative paths start at the current directory.
        let shell = Command::new("sh")
            .args(["-c", script])
            .arg(logpushd().get_program())
            .current_dir(setup.directory())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Finished {
            exit: shell.status.into(),
            stdout: text(shell.stdout),
            stderr: text(shell.stderr),
        }
    };
    good(&from_stdin(&fs::read_to_string(&config).unwrap()), "<stdin>");
    fails(&from_stdin(BAD), 78, &["<stdin>:2:1: "]);
}

#[test]
fn strict_fails_on_warnings() {
    let setup = Setup::new()
        .table("sink.archive.file", "path = \"out/%H%M%S\"\ndatasets = [\"http_request\"]");
    let config = setup.write_config();
    let name = config.to_str().unwrap();
    let warned = finish(logpushd().args(["validate", name]));
    assert_eq!(warned.exit, Exit::Code(0), "{warned:?}");
    let output =
        |kind: &str| [format!(": {kind}this path changes"), format!(": {kind}Cloudflare has no")];
    for part in output("warning: ") {
        assert!(warned.stderr.contains(&part), "{part:?} not in {}", warned.stderr);
    }
    assert!(warned.stdout.contains(": ok, 2 warnings\n"), "{warned:?}");
    let strict = finish(logpushd().args(["validate", "--strict", name]));
    fails(&strict, 78, &output("").each_ref().map(String::as_str));

    // The daemon logs them, with their positions.
    let daemon = setup.start_as_written();
    let line = daemon.wait_log("configuration: this path changes every second");
    assert!(line.to_string().contains("logpushd.toml:"), "{line:?}");
    daemon.stop().exited_cleanly();
}

/// Root may write everywhere, so the question is what the daemon's user may.
#[test]
fn validate_checks_permissions_for_another_user() {
    let setup = Setup::new();
    let config = setup.write_config();
    let name = config.to_str().unwrap();
    // The user owns nothing, and other users have no access.
    let shut = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o700);
    fs::set_permissions(setup.directory(), shut).unwrap();
    let judged = finish(logpushd().args(["validate", name, "--user", "nobody"]));
    assert_eq!(judged.exit, Exit::Code(0), "{judged:?}");
    let directory = setup.directory().canonicalize().unwrap();
    for part in [
        "warning: the daemon's user `nobody` cannot create `".to_owned(),
        format!(
            "warning: the daemon's user `nobody` cannot reach `{}/secrets.txt`",
            directory.display()
        ),
    ] {
        assert!(judged.stderr.contains(&part), "{part:?} not in {}", judged.stderr);
    }
    assert!(judged.stdout.contains(", for the user nobody by owners and modes\n"), "{judged:?}");
    let strict = finish(logpushd().args(["validate", "--strict", name, "--user", "nobody"]));
    assert_eq!(strict.exit, Exit::Code(78), "{strict:?}");
    let unknown = finish(logpushd().args(["validate", name, "--user", "no-such-user"]));
    fails(&unknown, 64, &["--user no-such-user: no such user"]);
    let root = finish(logpushd().args(["validate", name, "--user", "root"]));
    assert!(!root.stderr.contains("daemon's user"), "{root:?}");
}

#[test]
fn validate_reports_in_json() {
    fn report(config: &Path, words: &[&str], code: i32) -> Value {
        let finished = finish(logpushd().args(["validate", "--json"]).args(words).arg(config));
        assert_eq!(finished.exit, Exit::Code(code), "{finished:?}");
        assert_eq!(finished.stderr, "", "nothing is printed besides the object");
        serde_json::from_str(&finished.stdout).unwrap()
    }

    let setup = Setup::new();
    let good = report(&setup.write_config(), &[], 0);
    assert_eq!((&good["ok"], &good["problems"]), (&json!(true), &json!([])), "{good}");
    let summary = &good["summary"];
    assert_eq!(summary["endpoints"][0]["name"], "main", "{good}");
    assert_eq!(summary["endpoints"][0]["format"], "JSON", "{good}");
    assert_eq!(summary["sinks"][0]["name"], "archive", "{good}");
    let target = summary["sinks"][0]["target"].as_str().unwrap();
    assert!(target.ends_with("out/{dataset}.ndjson"), "{good}");
    assert!(summary["listen"][0].as_str().unwrap().starts_with("https://"), "{good}");
    assert!(summary["spool"]["max_bytes"].is_u64(), "{good}");

    let setup = Setup::new()
        .table("sink.archive.file", "path = \"out/%s\"\ndatasets = [\"http_requests\"]");
    let config = setup.write_config();
    let warned = report(&config, &[], 0);
    assert_eq!(warned["ok"], true, "{warned}");
    assert!(warned["summary"].is_object(), "{warned}");
    let problem = &warned["problems"][0];
    assert_eq!(problem["severity"], "warning", "{warned}");
    assert_eq!(problem["path"], config.to_str().unwrap(), "{warned}");
    assert!(problem["message"].as_str().unwrap().starts_with("this path changes"), "{warned}");
    let strict = report(&config, &["--strict"], 78);
    assert_eq!((&strict["ok"], &strict["summary"]), (&json!(false), &Value::Null), "{strict}");
    assert_eq!(strict["problems"][0]["severity"], "error", "{strict}");

    setup.write("logpushd.toml", BAD);
    let bad = report(&config, &[], 78);
    assert_eq!((&bad["ok"], &bad["summary"]), (&json!(false), &Value::Null), "{bad}");
    let problem = &bad["problems"][0];
    assert_eq!((&problem["line"], &problem["column"]), (&json!(2), &json!(1)), "{bad}");
    assert_eq!(problem["severity"], "error", "{bad}");
    assert!(problem["help"].as_str().unwrap().contains("address"), "{bad}");

    let missing = report(&setup.path("missing.toml"), &[], 78);
    assert_eq!(missing["problems"][0]["line"], Value::Null, "{missing}");
}

#[test]
fn every_problem_is_reported_with_line_and_column() {
    let setup = Setup::new();
    setup.write("logpushd.toml", BAD);
    let config = setup.config();
    for command in ["validate", "run"] {
        let finished = run(command, &config);
        let at = |place: &str| format!("{}:{place}: ", config.display());
        let places = [at("2:1"), at("4:15"), at("6:8"), at("9:8")];
        fails(&finished, 78, &places.each_ref().map(String::as_str));
        fails(&finished, 78, &["address", "^^^"]);
    }
    assert_eq!(names_in(setup.directory()), ["logpushd.toml", "secrets.txt"], "nothing is created");

    let missing = setup.path("missing.toml");
    fails(&run("run", &missing), 78, &["missing.toml"]);
}

#[test]
fn an_invalid_command_line_exits_with_64() {
    for arguments in [&[][..], &["no-such-command"], &["run", "--no-such-option"], &["run", "-c"]] {
        let finished = finish(logpushd().args(arguments));
        fails(&finished, 64, &["--help"]);
    }
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"]] {
        let finished = finish(logpushd().args(arguments));
        assert_eq!(finished.exit, Exit::Code(0));
        assert!(finished.stdout.contains("logpushd"), "{finished:?}");
    }
}

#[test]
fn a_certificate_that_does_not_match_its_key_exits_with_78() {
    let setup =
        Setup::new().table("server.tls", "cert_file = \"cert.pem\"\nkey_file = \"key.pem\"");
    setup.write("cert.pem", Pair::self_signed().cert);
    setup.write("key.pem", Pair::self_signed().key);
    let config = setup.write_config();
    for command in ["validate", "run"] {
        let finished = run(command, &config);
        fails(&finished, 78, &["cert.pem", "key.pem", "does not belong"]);
    }
}

#[test]
fn an_address_in_use_exits_with_69() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let keys = format!("address = \"{address}\"");
    for table in ["server", "admin"] {
        let setup = Setup::new().table(table, &keys);
        let finished = run("run", &setup.write_config());
        let last = format!("logpushd: cannot listen on {address}");
        fails(&finished, 69, &[&last, "another process listens there"]);
    }
}

#[test]
fn a_spool_that_is_in_use_or_unusable_exits_with_74() {
    let first = Setup::new().start();
    let spool = first.path("spool");
    let keys = format!("dir = \"{}\"", spool.display());
    let second = Setup::new().table("spool", &keys);
    let finished = run("run", &second.write_config());
    fails(&finished, 74, &[") uses this spool.dir"]);
    // The first daemon is not affected.
    first.commit(b"{\"a\":1}\n");
    first.stop().exited_cleanly();

    let setup = Setup::new();
    setup.write("spool", "no directory");
    fails(&run("run", &setup.write_config()), 74, &["spool"]);
}

/// A copy of the shipped configurations, so that nothing is written into the repository.
fn shipped() -> Setup {
    let setup = Setup::new();
    fs::create_dir(setup.path("config")).unwrap();
    for name in names_in(&repository("config")) {
        fs::copy(repository("config").join(&name), setup.path("config").join(&name)).unwrap();
    }
    setup
}

#[test]
fn the_shipped_configurations_are_valid_once_their_files_exist() {
    let setup = shipped();
    let configs = ["logpushd.toml", "network-analytics.toml"];
    let configs = configs.map(|name| setup.path("config").join(name));
    for config in &configs {
        fails(&run("validate", config), 78, &["fullchain.pem", "privkey.pem", "secrets.txt"]);
    }

    let authority = Authority::new();
    let pair = authority.sign();
    setup.write("config/fullchain.pem", pair.cert + &authority.pem());
    setup.write("config/privkey.pem", pair.key);
    setup.write("config/secrets.txt", "0123456789abcdef\n");
    for config in &configs {
        let finished = run("validate", config);
        assert_eq!(finished.exit, Exit::Code(0), "{finished:?}");
        // The authority is one of this test.
        let output = &finished.stderr;
        assert!(output.contains("warning: Cloudflare refuses this certificate"), "{output}");
    }
}

/// The daemon of the quickstart, except for its ports, which another test may use, and a log that
/// this test can read.
fn quickstart(setup: Setup) -> Daemon {
    let text = fs::read_to_string(setup.path("config/quickstart.toml")).unwrap();
    assert!(text.contains("\"127.0.0.1:8443\""));
    let text = text.replace("\"127.0.0.1:8443\"", "\"127.0.0.1:0\"");
    let text = text + "[admin]\naddress = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n";
    // In a parent directory, so that its paths lead out of the tree.
    fs::create_dir(setup.path("certs")).unwrap();
    setup.write("logpushd.toml", text.replace("\"../", "\""));
    setup.start_as_written()
}

#[test]
fn the_quickstart_works_as_documented() {
    let setup = shipped();
    let config = setup.path("config/quickstart.toml");
    let finished = run("validate", &config);
    assert_eq!(finished.exit, Exit::Code(0), "{finished:?}");
    assert_eq!(names_in(setup.directory()), ["config", "secrets.txt"], "nothing is created");

    let daemon = quickstart(setup);
    fs::copy(daemon.path("certs/dev-fullchain.pem"), daemon.path("fullchain.pem")).unwrap();
    let record = "{\"ClientIP\":\"192.0.2.1\"}";
    let upload = Upload::of(record).without_secret();
    let upload = upload.header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(daemon.send(Http::Two, upload).committed(), 1);
    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(stopped.stdout, format!("{record}\n").as_bytes());
    assert_eq!(names_in(&stopped.setup.path("data/logs")), ["http_requests"]);
}

/// The commands of a page that send something, each with the output that is printed below it.
fn sends(page: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(repository(page)).unwrap();
    let blocks: Vec<_> = text.split("```").skip(1).step_by(2).map(str::to_owned).collect();
    let pairs = blocks.windows(2).filter_map(|pair| {
        let command = pair[0].strip_prefix("sh\n").filter(|command| command.contains("curl"))?;
        Some((command.to_owned(), pair[1].strip_prefix('\n')?.to_owned()))
    });
    pairs.collect()
}

#[test]
fn the_commands_of_the_quickstart_print_the_documented_output() {
    if !require::has(&[&require::CURL]) {
        return;
    }
    for (page, count) in [("README.md", 1), ("docs/quickstart.md", 3)] {
        let daemon = quickstart(shipped());
        let sends = sends(page);
        assert_eq!(sends.len(), count, "{page}: {sends:?}");
        for (command, output) in sends {
            assert!(command.contains("https://127.0.0.1:8443/"), "{command}");
            let at = format!("https://{}/", daemon.address);
            let command = command.replace("https://127.0.0.1:8443/", &at);
            let finished = finish(Command::new("bash").args(["-c", &command]).env("NO_PROXY", "*"));
            assert_eq!(finished.stdout, output, "{command} {}", finished.stderr);
        }
        daemon.stop().exited_cleanly();
    }
}
