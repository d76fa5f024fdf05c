//! An API that refuses, or is none.

use std::fs;

use super::{Desk, destination_of};
use crate::support::{
    Exit, SECRET, Setup,
    cloudflare::{TOKEN, ZONE},
    finish, logpushd,
};

/// Whoever may name a job, or answers in the API's place, does not steer the terminal of an operator.
#[test]
fn what_the_api_answers_steers_no_terminal() {
    let hidden = "\u{9b}2J\u{202e}\u{2028}\u{200b}\u{e0041}\u{7f}";
    let desk = Desk::new(None);
    let job = serde_json::json!({
        "id": 1, "dataset": "dns_logs", "name": hidden, "destination_conf": "https://h/p",
        "error_message": hidden, "output_options": { "batch_prefix": hidden },
    });
    let answer = serde_json::json!({ "success": true, "result": job }).to_string();
    for (words, is_json) in [(&["show", "1"][..], false), (&["show", "1", "--json"], true)] {
        desk.api.answer_next(200, &[], &answer);
        let shown = desk.ok(words);
        let hides = |c: char| logpushd::printable::is_hidden(c) && c != '\n';
        assert!(!shown.contains(hides), "{shown:?}");
        if is_json {
            let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
            assert_eq!(read["name"], hidden);
        }
    }
    desk.api.answer_next(502, &[], hidden);
    let said = desk.fails(&["list"], 69, &[r"\u{9b}2J\u{202e}"]);
    assert!(!said.contains('\u{2028}'), "{said:?}");
}

#[test]
fn refusals_come_with_their_words_and_with_advice() {
    let desk = Desk::new(None);
    desk.setup.write("token", "another-token");
    desk.fails(&["list"], 69, &["403 Forbidden: 10000 Authentication error", "Logs: Edit"]);
    desk.setup.write("token", TOKEN);
    // Go quotes the URL that it could not reach, secrets and all.
    let url = "https://127.0.0.1:1/x?key=hunter2-hunter2";
    let quoting = format!(
        r#"{{"success":false,"errors":[{{"code":1002,"message":"Post \"{url}\": EOF\u001b[2J"}}]}}"#
    );
    desk.api.answer_next(400, &[], &quoting);
    let said = desk.fails(
        &["validate", "--destination", url],
        69,
        &[r#"1002 Post "https://127.0.0.1:1/x?key=***": EOF\u{1b}[2J"#],
    );
    assert!(!said.contains("hunter2"), "{said}");

    // Cut behind the first letters of a secret, which nobody would know again.
    desk.api.answer_next(502, &[], &format!("{} hunter2-hunter2", "x".repeat(190)));
    let said = desk.fails(&["validate", "--destination", url], 69, &["xxx ***"]);
    assert!(!said.contains("hunter"), "{said}");
    // What it quotes is not always what it was sent, and not always in its own form.
    let unsent = r#"Post "https://h.example/p?header_X-Logpush-Secret=hunter2-hunter2": EOF"#;
    let chain =
        serde_json::json!({ "success": false, "errors": [{ "code": 1, "message": unsent }] });
    for words in [&["enable", "1"][..], &["disable", "1"], &["update", "1", "--name", "x"]] {
        desk.api.answer_next(400, &[], &chain.to_string());
        let said = desk.fails(words, 69, &[r#"header_X-Logpush-Secret=***": EOF"#]);
        assert!(!said.contains("hunter2"), "{said}");
        desk.api.answer_next(502, &[], &format!("{}{unsent}", "x".repeat(140)));
        let said = desk.fails(words, 69, &["not from Cloudflare's API: xxx"]);
        assert!(!said.contains("hunt"), "{said}");
    }
    // It was read before, so its secret is known wherever it stands.
    let job = r#"{"id":1,"dataset":"dns_logs","destination_conf":"https://h/p?header_X=hunter2-hunter2","output_options":{}}"#;
    desk.api.answer_next(200, &[], &format!(r#"{{"success":true,"result":{job}}}"#));
    let bare = r#"{"success":false,"errors":[{"code":1,"message":"got hunter2-hunter2"}]}"#;
    desk.api.answer_next(400, &[], bare);
    desk.fails(&["update", "1", "--timestamp-format", "unix"], 69, &["1 got ***"]);
    desk.api.answer_next(400, &[], &chain.to_string());
    let words = ["enable", "1", "--show-secrets"];
    desk.fails(&words, 69, &["Secret=hunter2-hunter2"]);

    let refused = r#"{"success":false,"errors":[{"code":971,"message":"slow down"}]}"#;
    desk.api.answer_next(429, &[("Retry-After", "42")], refused);
    desk.fails(&["list"], 69, &["971 slow down", "retry in 42 s"]);
    desk.api.answer_next(502, &[], "<html>\u{1b}[2Jbad gateway");
    desk.fails(&["list"], 69, &["502 Bad Gateway", r"API: <html>\u{1b}[2Jbad", "cloudflarestatus"]);
    desk.api.answer_next(200, &[], r#"{"success":true,"result":{"id":"x"}}"#);
    desk.fails(&["show", "1"], 69, &["cannot parse the response", "--json"]);
    let other = "f".repeat(32);
    let finished = finish(
        desk.command(&["list", "--zone", &other]).arg("--token-file").arg(desk.setup.path("token")),
    );
    assert_eq!(finished.exit, Exit::Code(69));
    assert!(finished.stderr.contains("9109"), "{}", finished.stderr);
}

#[test]
fn a_verdict_shows_no_secret_either() {
    let desk = Desk::new(None);
    // Nobody listens there, and the API says so with the URL.
    let url = "https://127.0.0.1:1/x?header_X-A=hunter2-hunter2";
    let valid = serde_json::json!({
        "success": true,
        "result": { "valid": false, "message": format!("Post \"{url}\": hunter2-hunter2") }
    });
    for (more, is_shown) in [(None, false), (Some("--show-secrets"), true)] {
        desk.api.answer_next(200, &[], &valid.to_string());
        let words = ["validate", "--json", "--destination", url];
        let finished = desk.job(&words.into_iter().chain(more).collect::<Vec<_>>());
        assert_eq!(finished.exit, Exit::Code(69), "{finished:?}");
        assert_eq!(finished.stdout.contains("hunter2"), is_shown, "{}", finished.stdout);
        assert!(finished.stdout.contains("header_X-A="), "{}", finished.stdout);
    }
}

#[test]
fn a_token_that_is_echoed_is_shown_in_no_form() {
    let desk = Desk::new(None);
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
        // An error page, a refusal of the API, and an answer that is none.
        let page = format!("<h1>Bad gateway</h1><pre>you sent: {echoed}</pre>");
        let refusal = serde_json::json!({
            "success": false, "errors": [{ "code": 7, "message": format!("you sent: {echoed}") }]
        });
        for (status, body) in [(502, page), (400, refusal.to_string())] {
            for words in [&["list"][..], &["list", "--json"], &["list", "--json", "--show-secrets"]]
            {
                desk.api.answer_next(status, &[], &body);
                let said = desk.fails(words, 69, &["you sent: "]);
                assert!(said.contains("***"), "{said}");
                let shown =
                    [percent.as_str(), base64, basic].iter().any(|form| said.contains(form));
                assert!(!shown && !said.contains("stand-in") && !said.contains("a\\n -"), "{said}");
            }
        }
        // In a result too, whose members are printed as they are.
        let result = serde_json::json!({ "success": true, "result": [{ "id": 1, "name": echoed, "dataset": "x" }] });
        for words in [&["list"][..], &["list", "--json"], &["list", "--json", "--show-secrets"]] {
            desk.api.answer_next(200, &[], &result.to_string());
            let said = desk.ok(words);
            assert!(
                said.contains("***") && !said.contains(base64) && !said.contains(basic),
                "{said}"
            );
        }
        desk.api.answer_next(200, &[], &format!(r#"{{"success":true,"result":"{TOKEN}"}}"#));
        desk.fails(&["show", "1"], 69, &["cannot parse the response", "***"]);
    }
}

#[test]
fn a_zone_has_room_for_four() {
    let daemon = Setup::new().start();
    let desk = Desk::new(Some(&daemon));
    for _ in 0..4 {
        desk.create(&daemon);
    }
    let file = desk.destination(&destination_of(&daemon, SECRET));
    let fifth =
        ["create", "--dataset", "dns_logs", "--fields", "ColoCode", "--destination-file", &file];
    desk.fails(&fifth, 69, &["403 Forbidden: 1004 ", "exceeded max jobs allowed", "4 for a zone"]);
}

#[test]
fn who_is_not_trusted_gets_no_token() {
    let desk = Desk::new(None);
    let token = desk.setup.path("token");
    let list = |url: &str, ca: Option<&str>| {
        let mut command = logpushd();
        command
            .args(["job", "list", "--zone", ZONE, "--api-url", url])
            .arg("--token-file")
            .arg(&token);
        if let Some(ca) = ca {
            command.arg("--ca").arg(desk.setup.path(ca));
        }
        finish(&mut command)
    };
    let stranger = list(&desk.api.url(), None);
    assert_eq!(stranger.exit, Exit::Code(69), "{stranger:?}");
    assert!(stranger.stderr.contains("UnknownIssuer"), "{}", stranger.stderr);
    assert_eq!(desk.api.requests(), [""; 0]);
    let closed = list("https://127.0.0.1:1", Some("ca.pem"));
    assert_eq!(closed.exit, Exit::Code(69), "{closed:?}");
    assert!(closed.stderr.contains("cannot reach Cloudflare's API"), "{}", closed.stderr);
    let plain = list("http://127.0.0.1:1", Some("ca.pem"));
    assert_eq!(plain.exit, Exit::Code(64), "{plain:?}");
    let missing = list(&desk.api.url(), Some("gone.pem"));
    assert_eq!(missing.exit, Exit::Code(74), "{missing:?}");

    let without = finish(desk.command(&["list"]).args(["--zone", ZONE]));
    assert_eq!(without.exit, Exit::Code(64), "{without:?}");
    assert!(without.stderr.contains("CLOUDFLARE_API_TOKEN"), "{}", without.stderr);
    fs::write(&token, "Bearer x").unwrap();
    let said = desk.fails(&["list"], 64, &["without \"Bearer\""]);
    assert!(!said.contains("Bearer x"), "{said}");
}
