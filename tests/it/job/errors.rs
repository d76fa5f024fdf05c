//! An API that rejects requests, and servers that are not the API.

use std::fs;

use super::{Harness, destination_of};
use crate::support::{
    Exit, SECRET, Setup,
    cloudflare::{TOKEN, ZONE},
    finish, logpushd,
};

/// A person who may name a job, or a server in the middle, does not control an operator's terminal.
#[test]
fn control_characters_of_the_api_do_not_reach_the_terminal() {
    let hidden = "\u{9b}2J\u{202e}\u{2028}\u{200b}\u{e0041}\u{7f}";
    let harness = Harness::new(None);
    let job = serde_json::json!({
        "id": 1, "dataset": "dns_logs", "name": hidden, "destination_conf": "https://h/p",
        "error_message": hidden, "output_options": { "batch_prefix": hidden },
    });
    let answer = serde_json::json!({ "success": true, "result": job }).to_string();
    for (words, is_json) in [(&["show", "1"][..], false), (&["show", "1", "--json"], true)] {
        harness.api.answer_next(200, &[], &answer);
        let shown = harness.ok(words);
        let hides = |c: char| logpushd::printable::is_hidden(c) && c != '\n';
        assert!(!shown.contains(hides), "{shown:?}");
        if is_json {
            let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
            assert_eq!(read["name"], hidden);
        }
    }
    harness.api.answer_next(502, &[], hidden);
    let output = harness.fails(&["list"], 69, &[r"\u{9b}2J\u{202e}"]);
    assert!(!output.contains('\u{2028}'), "{output:?}");
}

#[test]
fn api_errors_are_printed_with_advice() {
    let harness = Harness::new(None);
    harness.setup.write("token", "another-token");
    harness.fails(&["list"], 69, &["403 Forbidden: 10000 Authentication error", "Logs: Edit"]);
    harness.setup.write("token", TOKEN);
    // Go quotes the URL that it could not reach, with its secrets.
    let url = "https://127.0.0.1:1/x?key=hunter2-hunter2";
    let quoting = format!(
        r#"{{"success":false,"errors":[{{"code":1002,"message":"Post \"{url}\": EOF\u001b[2J"}}]}}"#
    );
    harness.api.answer_next(400, &[], &quoting);
    let output = harness.fails(
        &["validate", "--destination", url],
        69,
        &[r#"1002 Post "https://127.0.0.1:1/x?key=***": EOF\u{1b}[2J"#],
    );
    assert!(!output.contains("hunter2"), "{output}");

    // Truncated after the first letters of a secret, which cannot be recognized then.
    harness.api.answer_next(502, &[], &format!("{} hunter2-hunter2", "x".repeat(190)));
    let output = harness.fails(&["validate", "--destination", url], 69, &["xxx ***"]);
    assert!(!output.contains("hunter"), "{output}");
    // The API may quote something else than was sent, and in another form.
    let unsent = r#"Post "https://h.example/p?header_X-Logpush-Secret=hunter2-hunter2": EOF"#;
    let chain =
        serde_json::json!({ "success": false, "errors": [{ "code": 1, "message": unsent }] });
    for words in [&["enable", "1"][..], &["disable", "1"], &["update", "1", "--name", "x"]] {
        harness.api.answer_next(400, &[], &chain.to_string());
        let output = harness.fails(words, 69, &[r#"header_X-Logpush-Secret=***": EOF"#]);
        assert!(!output.contains("hunter2"), "{output}");
        harness.api.answer_next(502, &[], &format!("{}{unsent}", "x".repeat(140)));
        let output = harness.fails(words, 69, &["not from Cloudflare's API: xxx"]);
        assert!(!output.contains("hunt"), "{output}");
    }
    // The command has read the job, so it recognizes the secret everywhere.
    let job = r#"{"id":1,"dataset":"dns_logs","destination_conf":"https://h/p?header_X=hunter2-hunter2","output_options":{}}"#;
    harness.api.answer_next(200, &[], &format!(r#"{{"success":true,"result":{job}}}"#));
    let bare = r#"{"success":false,"errors":[{"code":1,"message":"got hunter2-hunter2"}]}"#;
    harness.api.answer_next(400, &[], bare);
    harness.fails(&["update", "1", "--timestamp-format", "unix"], 69, &["1 got ***"]);
    harness.api.answer_next(400, &[], &chain.to_string());
    let words = ["enable", "1", "--show-secrets"];
    harness.fails(&words, 69, &["Secret=hunter2-hunter2"]);

    let refused = r#"{"success":false,"errors":[{"code":971,"message":"slow down"}]}"#;
    harness.api.answer_next(429, &[("Retry-After", "42")], refused);
    harness.fails(&["list"], 69, &["971 slow down", "retry in 42 s"]);
    harness.api.answer_next(502, &[], "<html>\u{1b}[2Jbad gateway");
    harness.fails(
        &["list"],
        69,
        &["502 Bad Gateway", r"API: <html>\u{1b}[2Jbad", "cloudflarestatus"],
    );
    harness.api.answer_next(200, &[], r#"{"success":true,"result":{"id":"x"}}"#);
    harness.fails(&["show", "1"], 69, &["cannot parse the response", "--json"]);
    let other = "f".repeat(32);
    let finished = finish(
        harness
            .command(&["list", "--zone", &other])
            .arg("--token-file")
            .arg(harness.setup.path("token")),
    );
    assert_eq!(finished.exit, Exit::Code(69));
    assert!(finished.stderr.contains("9109"), "{}", finished.stderr);
}

#[test]
fn a_failed_validation_prints_no_secret() {
    let harness = Harness::new(None);
    // No server listens at that address, and the API reports that with the URL.
    let url = "https://127.0.0.1:1/x?header_X-A=hunter2-hunter2";
    let valid = serde_json::json!({
        "success": true,
        "result": { "valid": false, "message": format!("Post \"{url}\": hunter2-hunter2") }
    });
    for (more, is_shown) in [(None, false), (Some("--show-secrets"), true)] {
        harness.api.answer_next(200, &[], &valid.to_string());
        let words = ["validate", "--json", "--destination", url];
        let finished = harness.job(&words.into_iter().chain(more).collect::<Vec<_>>());
        assert_eq!(finished.exit, Exit::Code(69), "{finished:?}");
        assert_eq!(finished.stdout.contains("hunter2"), is_shown, "{}", finished.stdout);
        assert!(finished.stdout.contains("header_X-A="), "{}", finished.stdout);
    }
}

#[test]
fn an_echoed_token_is_not_printed_in_any_form() {
    let harness = Harness::new(None);
    let percent = TOKEN.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    let wrapped: String = TOKEN.chars().flat_map(|letter| [letter, '\n', ' ']).collect();
    // Of "Authorization: Bearer a-token-of-the-stand-in" and of "user:a-token-of-the-stand-in".
    let base64 = "QXV0aG9yaXphdGlvbjogQmVhcmVyIGEtdG9rZW4tb2YtdGhlLXN0YW5kLWlu";
    let basic = "dXNlcjphLXRva2VuLW9mLXRoZS1zdGFuZC1pbg==";
    for echoed in [
        "{authorization}",
        TOKEN,
        percent.as_str(),
        wrapped.as_str(),
        base64,
        &format!("Basic {basic}"),
    ] {
        // An error page, a rejection by the API, and an invalid answer.
        let page = format!("<h1>Bad gateway</h1><pre>you sent: {echoed}</pre>");
        let refusal = serde_json::json!({
            "success": false, "errors": [{ "code": 7, "message": format!("you sent: {echoed}") }]
        });
        for (status, body) in [(502, page), (400, refusal.to_string())] {
            for words in [&["list"][..], &["list", "--json"], &["list", "--json", "--show-secrets"]]
            {
                harness.api.answer_next(status, &[], &body);
                let output = harness.fails(words, 69, &["you sent: "]);
                assert!(output.contains("***"), "{output}");
                let shown =
                    [percent.as_str(), base64, basic].iter().any(|form| output.contains(form));
                assert!(
                    !shown && !output.contains("stand-in") && !output.contains("a\\n -"),
                    "{output}"
                );
            }
        }
        // In a result as well, whose members are printed unchanged.
        let result = serde_json::json!({ "success": true, "result": [{ "id": 1, "name": echoed, "dataset": "x" }] });
        for words in [&["list"][..], &["list", "--json"], &["list", "--json", "--show-secrets"]] {
            harness.api.answer_next(200, &[], &result.to_string());
            let output = harness.ok(words);
            assert!(
                output.contains("***") && !output.contains(base64) && !output.contains(basic),
                "{output}"
            );
        }
        harness.api.answer_next(200, &[], &format!(r#"{{"success":true,"result":"{TOKEN}"}}"#));
        harness.fails(&["show", "1"], 69, &["cannot parse the response", "***"]);
    }
}

#[test]
fn the_limit_of_four_jobs_in_a_zone_is_reported() {
    let daemon = Setup::new().start();
    let harness = Harness::new(Some(&daemon));
    for _ in 0..4 {
        harness.create(&daemon);
    }
    let file = harness.destination(&destination_of(&daemon, SECRET));
    let fifth =
        ["create", "--dataset", "dns_logs", "--fields", "ColoCode", "--destination-file", &file];
    harness.fails(
        &fifth,
        69,
        &["403 Forbidden: 1004 ", "exceeded max jobs allowed", "4 for a zone"],
    );
}

#[test]
fn an_untrusted_server_gets_no_token() {
    let harness = Harness::new(None);
    let token = harness.setup.path("token");
    let list = |url: &str, ca: Option<&str>| {
        let mut command = logpushd();
        command
            .args(["job", "list", "--zone", ZONE, "--api-url", url])
            .arg("--token-file")
            .arg(&token);
        if let Some(ca) = ca {
            command.arg("--ca").arg(harness.setup.path(ca));
        }
        finish(&mut command)
    };
    let stranger = list(&harness.api.url(), None);
    assert_eq!(stranger.exit, Exit::Code(69), "{stranger:?}");
    assert!(stranger.stderr.contains("UnknownIssuer"), "{}", stranger.stderr);
    assert_eq!(harness.api.requests(), [""; 0]);
    let closed = list("https://127.0.0.1:1", Some("ca.pem"));
    assert_eq!(closed.exit, Exit::Code(69), "{closed:?}");
    assert!(closed.stderr.contains("cannot reach Cloudflare's API"), "{}", closed.stderr);
    let plain = list("http://127.0.0.1:1", Some("ca.pem"));
    assert_eq!(plain.exit, Exit::Code(64), "{plain:?}");
    let missing = list(&harness.api.url(), Some("gone.pem"));
    assert_eq!(missing.exit, Exit::Code(74), "{missing:?}");

    let without = finish(harness.command(&["list"]).args(["--zone", ZONE]));
    assert_eq!(without.exit, Exit::Code(64), "{without:?}");
    assert!(without.stderr.contains("CLOUDFLARE_API_TOKEN"), "{}", without.stderr);
    fs::write(&token, "Bearer x").unwrap();
    let output = harness.fails(&["list"], 64, &["without \"Bearer\""]);
    assert!(!output.contains("Bearer x"), "{output}");
}
