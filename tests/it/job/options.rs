//! Every option of a job is sent under Cloudflare's name, and jobs that Cloudflare would reject are
//! not.

use std::{io::Write as _, process::Stdio};

use serde_json::{Value, json};

use super::{Harness, SCOPE, destination_of};
use crate::support::{
    Exit, SECRET, Setup,
    cloudflare::{ACCOUNT, TOKEN, ZONE},
    finish,
};

const ALL: [&str; 36] = [
    "create",
    "--dataset",
    "http_requests",
    "--name",
    "everything",
    "--fields",
    "ClientIP,RayID",
    "--filter",
    r#"{ "where": { "key": "RayID", "operator": "!eq", "value": "0" } }"#,
    "--output-type",
    "csv",
    "--batch-prefix",
    r"ClientIP\tRayID\n",
    "--batch-suffix",
    r"\\end",
    "--record-prefix",
    "<",
    "--record-suffix",
    r">\r\n",
    "--record-delimiter",
    ";",
    "--record-template",
    "{{.ClientIP}} {{.RayID}}",
    "--field-delimiter",
    r"\t",
    "--timestamp-format",
    "rfc3339ms",
    "--sample-rate",
    "0.25",
    "--cve-2021-44228",
    "--merge-subrequests=false",
    "--max-upload-bytes=5MB",
    "--max-upload-records=1000",
    "--max-upload-interval=1m30s",
    "--kind=edge",
    "--disabled",
];

fn everything(destination: &str) -> Value {
    json!({
        "dataset": "http_requests", "name": "everything", "enabled": false, "kind": "edge",
        "destination_conf": destination,
        "filter": r#"{"where":{"key":"RayID","operator":"!eq","value":"0"}}"#,
        "max_upload_bytes": 5_000_000, "max_upload_records": 1000, "max_upload_interval_seconds": 90,
        "output_options": {
            "field_names": ["ClientIP", "RayID"], "output_type": "csv",
            "batch_prefix": "ClientIP\tRayID\n", "batch_suffix": "\\end", "record_prefix": "<",
            "record_suffix": ">\r\n", "record_delimiter": ";", "field_delimiter": "\t",
            "record_template": "{{.ClientIP}} {{.RayID}}", "timestamp_format": "rfc3339ms",
            "sample_rate": 0.25, "CVE-2021-44228": true, "merge_subrequests": false
        }
    })
}

#[test]
fn every_option_is_sent() {
    let daemon = Setup::new().start();
    let harness = Harness::new(Some(&daemon));
    let destination = destination_of(&daemon, SECRET);
    let file = harness.destination(&destination);
    let created = harness.ok(&[&ALL[..], &["--destination-file", &file]].concat());
    assert!(created.contains("logpushd job enable 146"), "{created}");
    let requests = harness.api.take_requests();
    let (_, body) = requests[0].split_once("jobs ").unwrap();
    assert_eq!(serde_json::from_str::<Value>(body).unwrap(), everything(&destination));
    assert_eq!(requests.len(), 1);

    // And back to Cloudflare's defaults.
    harness.setup.write("filter.json", "\n");
    let filter = format!("@{}", harness.setup.path("filter.json").display());
    harness.ok(&[
        "update",
        "146",
        "--filter",
        &filter,
        "--max-upload-bytes",
        "0",
        "--max-upload-records",
        "0",
        "--max-upload-interval",
        "0",
        "--cve-2021-44228=false",
        "--all-fields",
    ]);
    let job = harness.api.job(SCOPE, 146);
    for (name, value) in [
        ("filter", json!("")),
        ("max_upload_bytes", json!(0)),
        ("max_upload_records", json!(0)),
        ("max_upload_interval_seconds", json!(0)),
    ] {
        assert_eq!(job[name], value, "{name}");
    }
    assert_eq!(job["output_options"]["CVE-2021-44228"], false);
    assert_eq!(job["output_options"]["batch_suffix"], "\\end");
    assert_eq!(job["output_options"]["field_names"].as_array().unwrap().len(), 7);
}

#[test]
fn a_dry_run_prints_the_request_and_sends_nothing() {
    let harness = Harness::new(None);
    let destination = format!("https://logs.example.com/x?header_X-Logpush-Secret={SECRET}");
    let file = harness.destination(&destination);
    let words = [&ALL[..], &["--destination-file", &file, "--dry-run"]].concat();
    let printed = harness.ok(&words);
    let (head, body) = printed.split_once("\n\n").unwrap();
    let want = format!(
        "POST {}/zones/{ZONE}/logpush/jobs\nauthorization: Bearer ***\naccept: application/json\n\
         user-agent: logpushd/{}\ncontent-type: application/json",
        harness.api.url(),
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(head, want);
    let masked = everything("https://logs.example.com/x?header_X-Logpush-Secret=***");
    assert_eq!(serde_json::from_str::<Value>(body).unwrap(), masked);
    let printed = harness.ok(&[&words[..], &["--show-secrets"]].concat());
    assert!(printed.contains(&destination), "{printed}");

    // Without a token. Options that need an answer of the API first report that.
    let words = ["update", "7", "--dry-run", "--fields", "RayID"];
    let finished = finish(harness.command(&words).args(["--account", ACCOUNT]));
    assert_eq!(finished.exit, Exit::Code(0), "{}", finished.stderr);
    for part in [
        format!("GET {}/accounts/{ACCOUNT}/logpush/jobs/7\n", harness.api.url()),
        format!("PUT {}/accounts/{ACCOUNT}/logpush/jobs/7\n", harness.api.url()),
        "(plus the other output_options from the first response)".to_owned(),
    ] {
        assert!(finished.stdout.contains(&part), "{part:?} not in {}", finished.stdout);
    }
    for words in [
        &["list"][..],
        &["show", "1"],
        &["enable", "1"],
        &["delete", "1"],
        &["fields", "--dataset", "dns_logs"],
    ] {
        assert!(
            harness.ok(&[words, &["--dry-run"]].concat()).contains("authorization: Bearer ***")
        );
    }
    assert_eq!(harness.api.requests(), [""; 0]);
}

#[test]
fn fields_are_checked_against_the_dataset() {
    let daemon = Setup::new().start();
    let harness = Harness::new(Some(&daemon));
    let listed = harness.ok(&["fields", "--dataset", "dns_logs"]);
    assert_eq!(
        listed,
        "FIELD      DESCRIPTION\nColoCode   string; what ColoCode holds\n\
         QueryName  string; what QueryName holds\nTimestamp  string; what Timestamp holds\n"
    );
    let listed = harness.ok(&["fields", "--dataset", "dns_logs", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["ColoCode"], "string; what ColoCode holds");

    let file = harness.destination(&destination_of(&daemon, SECRET));
    let token = harness.setup.path("token");
    let create =
        ["create", "--dataset", "audit_logs_v2", "--all-fields", "--destination-file", &file];
    let mut command = harness.command(&create);
    command.args(["--account", ACCOUNT]).env(
        "CLOUDFLARE_API_TOKEN",
        std::fs::read(token).map(|t| String::from_utf8(t).unwrap()).unwrap(),
    );
    let finished = finish(&mut command);
    assert_eq!(finished.exit, Exit::Code(0), "{}", finished.stderr);
    let job = harness.api.job(&format!("accounts/{ACCOUNT}"), 146);
    assert_eq!(job["output_options"]["field_names"], json!(["ActionTimestamp", "AuditLogID"]));
    // The zone has no such job.
    harness.fails(&create, 69, &["1002 unknown dataset: audit_logs_v2"]);
}

#[test]
fn an_unknown_dataset_or_wrong_scope_is_warned_of() {
    let harness = Harness::new(None);
    let words = |dataset: &'static str| {
        [
            "create",
            "--dataset",
            dataset,
            "--destination",
            "https://h.example/x",
            "--fields",
            "A",
            "--dry-run",
        ]
    };
    for (dataset, says) in [
        ("http_request", Some("warning: Cloudflare has no dataset `http_request`: did you mean")),
        ("audit_logs_v2", Some("warning: `audit_logs_v2` is a dataset of accounts: use --account")),
        ("http_requests", None),
        ("websocket_analytics", None),
    ] {
        let printed = harness.ok(&words(dataset));
        assert_eq!(printed.contains("warning"), says.is_some(), "{printed}");
        assert!(printed.contains(says.unwrap_or_default()), "{printed}");
    }
    let named = harness.ok(&[&words("dns_logs")[..], &["--name", "a_b"]].concat());
    assert!(named.contains("warning: the name contains `_`"), "{named}");
    // Cloudflare decides, with the same explanation.
    let fields = ["fields", "--dataset", "audit_logs_v2"];
    harness.fails(&fields, 69, &["unknown dataset", "is a dataset of accounts: use --account"]);
}

#[test]
fn a_destination_and_a_token_may_come_from_standard_input() {
    let harness = Harness::new(None);
    let url = format!("https://logs.example.com/x?header_X-Logpush-Secret={SECRET}\n");
    let dry =
        ["create", "--dataset", "dns_logs", "--fields", "A", "--destination", "-", "--dry-run"];
    for (words, input, says) in [
        (&dry[..], url.as_str(), "header_X-Logpush-Secret=***"),
        (&["list", "--token-file", "-"], TOKEN, "no jobs"),
    ] {
        let mut command = harness.command(words);
        command.args(["--zone", ZONE]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains(says), "{text}");
    }
}

#[test]
fn a_job_that_cloudflare_would_reject_is_not_sent() {
    let harness = Harness::new(None);
    let good = [
        "create",
        "--dataset",
        "dns_logs",
        "--destination",
        "https://h.example/x",
        "--fields",
        "ColoCode",
    ];
    for (more, says) in [
        (&["--max-upload-bytes", "4MB"][..], "5MB to 1GB"),
        (&["--max-upload-records", "999"], "1000 to 1000000"),
        (&["--max-upload-interval", "10s"], "30s to 5m"),
        (&["--sample-rate", "0"], "above 0 and up to 1"),
        (&["--filter", "{}"], "--filter: a filter is an object whose only key is \"where\""),
        (&["--filter", "@/nowhere"], "/nowhere"),
        (&["--filter", r#"{"where":{"key":"A","operator":"in","value":"x"}}"#], "takes an array"),
        (&["--name", "a job"], "not ' '"),
        (&["--kind", "edge"], "edge is only for http_requests"),
        (&["--merge-subrequests"], "is only for http_requests"),
        (&["--record-template", "{{.Other}}"], "uses Other"),
        (&["--all-fields"], "cannot be used with"),
        (&["--destination-file", "x"], "cannot be used with"),
        (&["--account", ACCOUNT], "cannot be used with"),
        (&["--timestamp-format", "iso"], "rfc3339ns"),
        (&["--output-type", "json"], "ndjson, csv"),
        (&["--batch-prefix", r"\x"], "the escapes are"),
    ] {
        let code = if more.contains(&"@/nowhere") { 74 } else { 64 };
        harness.fails(&[&good[..], more].concat(), code, &[says]);
    }
    // All at once, except those that single options test.
    let output = harness.fails(
        &["create", "--dataset", "dns_logs", "--destination", "http://h/ x", "--filter", "x"],
        64,
        &[
            "cannot contain a space",
            "write https://",
            "the fields are missing: add --fields",
            "--filter: the filter is not valid JSON",
        ],
    );
    assert_eq!(output.matches("logpushd: ").count(), 3, "{output}");
    harness.fails(
        &["create", "--dataset", "dns_logs", "--fields", "A"],
        64,
        &["--destination with a URL, @FILE or -"],
    );
    harness.fails(&["create", "--dataset", "a/b"], 64, &["a-z, 0-9 and _"]);
    harness.fails(&["update", "7"], 64, &["nothing to change"]);
    harness.fails(&["validate"], 64, &["--destination with a URL, @FILE or -"]);
    for scope in [&["--zone", "example.com"][..], &[]] {
        let finished = finish(harness.command(&["list"]).args(scope));
        assert_eq!(finished.exit, Exit::Code(64), "{finished:?}");
    }
    assert_eq!(harness.api.requests(), [""; 0]);
}

/// The job must send what the endpoint decodes.
#[test]
fn a_job_for_a_csv_endpoint_sends_its_columns() {
    let keys = "path = \"/rows/{dataset}\"\nformat = \"csv\"\nsecret_file = \"secrets.txt\"\n\
                columns = [\"ClientIP\", \"RayID\"]";
    let daemon = Setup::new().table("endpoint.rows", keys).start();
    let harness = Harness::new(Some(&daemon));
    let config = daemon.setup().config().to_str().unwrap().to_owned();
    let host = format!("localhost:{}", daemon.address.port());
    let create = [
        "create",
        "--dataset",
        "http_requests",
        "--endpoint",
        "rows",
        "-c",
        &config,
        "--host",
        &host,
    ];
    for (words, want) in [
        (&["--fields", "ClientIP,RayID"][..], "expects CSV: add --output-type csv"),
        (&["--fields", "RayID,ClientIP", "--output-type", "csv"], "add --fields ClientIP,RayID"),
        (
            &["--fields", "ClientIP,RayID", "--output-type", "csv", "--field-delimiter", ";"],
            "add --field-delimiter \",\"",
        ),
    ] {
        let refused = harness.job(&[&create[..], words].concat());
        assert_eq!(refused.exit, Exit::Code(64), "{refused:?}");
        assert!(refused.stderr.contains(want), "{refused:?}");
    }
    assert!(harness.api.take_requests().is_empty());
    harness.ok(&[&create[..], &["--fields", "ClientIP,RayID", "--output-type", "csv"]].concat());

    let to_rows =
        ["--dataset", "http_requests", "--endpoint", "rows", "-c", &config, "--host", &host];
    harness.api.take_requests();
    let update = |words: &[&str]| harness.job(&[&["update", "146"], words, &to_rows].concat());
    let refused = update(&["--fields", "RayID"]);
    assert_eq!(refused.exit, Exit::Code(64), "{refused:?}");
    assert!(refused.stderr.contains("add --fields ClientIP,RayID"), "{refused:?}");
    assert!(harness.api.take_requests().iter().all(|request| request.starts_with("GET ")));
    for words in [&[][..], &["--timestamp-format", "unix"]] {
        let updated = update(words);
        assert_eq!(updated.exit, Exit::Code(0), "{updated:?}");
    }
    // A job that sent JSON to another destination.
    harness.ok(&["update", "146", "--output-type", "ndjson"]);
    let refused = update(&[]);
    assert_eq!(refused.exit, Exit::Code(64), "{refused:?}");
    assert!(refused.stderr.contains("expects CSV: add --output-type csv"), "{refused:?}");
    let updated = update(&["--output-type", "csv"]);
    assert_eq!(updated.exit, Exit::Code(0), "{updated:?}");
}
