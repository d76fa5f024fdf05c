//! Tests that `config/logpushd.toml` has every key, and is valid with all of them set.

use super::*;
use crate::config::{check_text, reference};

/// Keys that exclude other keys of the file.
const EXCLUDED: &[&str] = &[
    // The path has `{dataset}`.
    "endpoint.main.dataset",
    // There is a `secret_file`.
    "endpoint.main.auth",
    // The records are JSON.
    "endpoint.main.delimiter",
    "endpoint.main.columns",
    "endpoint.main.header",
    // There is `keep_fields`.
    "sink.archive.file.drop_fields",
    // The messages are JSON.
    "sink.my_syslog.syslog.leef_version",
    // The URL has no `{secret}`.
    "sink.my_http.http.url_secret_file",
    // There is `index`.
    "sink.my_elasticsearch.elasticsearch.data_stream",
    // There is a password.
    "sink.my_elasticsearch.elasticsearch.api_key_file",
    "sink.my_loki.loki.token_file",
];

const FILES: &[&str] = &["server.tls.cert_file", "server.tls.key_file", "server.tls.self_signed"];

/// A line of the sample with a key or a header, also in a comment.
struct Setting {
    /// The full name of the key, such as `server.tls.cert_file`, or of the table.
    name: String,
    line: String,
}

fn settings() -> Vec<Setting> {
    let mut table = String::new();
    let mut settings = Vec::new();
    for line in shipped("logpushd.toml").lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        let is_key = |key: &str| key.bytes().all(|b| b.is_ascii_lowercase() || b"_.".contains(&b));
        if let Some(header) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            header.clone_into(&mut table);
            settings.push(Setting { name: table.clone(), line: line.to_owned() });
        } else if let Some((key, _)) = line.split_once(" = ")
            && is_key(key)
        {
            settings.push(Setting { name: format!("{table}.{key}"), line: line.to_owned() });
        }
    }
    settings
}

/// Returns the sample with all keys that `is_chosen` accepts, including those in comments.
fn with(is_chosen: impl Fn(&str) -> bool) -> String {
    let chosen = settings().into_iter().filter(|setting| is_chosen(&setting.name));
    chosen.map(|setting| setting.line + "\n").collect()
}

#[test]
fn set_keys_are_those_of_a_minimal_configuration() {
    let folder = Folder::new();
    assert_eq!(folder.load(&shipped("logpushd.toml")).unwrap(), folder.load(MINIMAL).unwrap());
}

#[test]
fn sample_has_every_key_and_no_other() {
    let general = |name: &str| {
        let mut names: Vec<_> = name.split('.').collect();
        if matches!(names[0], "endpoint" | "sink") {
            names[1] = "*";
        }
        names.join(".")
    };
    let keys_alone = settings().into_iter().filter(|setting| !setting.line.starts_with('['));
    let mut named: BTreeSet<_> = keys_alone.map(|setting| general(&setting.name)).collect();
    // The keys for every kind of sink are there once.
    let every_key = super::reference::every_key();
    for name in every_key.iter().filter(|name| name.starts_with("sink.*.")) {
        let of_archive = name.splitn(4, '.').nth(3).map(|key| format!("sink.*.file.{key}"));
        let is_common = |key: &String| {
            SinkKind::names()
                .all(|kind| every_key.contains(&key.replace(".file.", &format!(".{kind}."))))
        };
        if of_archive.is_some_and(|key| is_common(&key) && named.contains(&key)) {
            named.insert(name.clone());
        }
    }
    // Tables within tables are written as `table.key`.
    let keys: BTreeSet<_> = every_key
        .iter()
        .filter(|name| !every_key.iter().any(|other| other.starts_with(&format!("{name}."))))
        .cloned()
        .collect();
    assert_eq!(named, keys);
}

#[test]
fn sample_is_valid_with_every_key_set() {
    for kind in SinkKind::names() {
        let own = if kind == "file" {
            "sink.archive.file".to_owned()
        } else {
            format!("sink.my_{kind}.")
        };
        for uses_acme in [false, true] {
            let text = with(|name| {
                let is_of_sink = !name.starts_with("sink.my_") || name.starts_with(&own);
                let is_of_acme = name.starts_with("server.tls.acme");
                let is_certificate = if uses_acme { !FILES.contains(&name) } else { !is_of_acme };
                is_of_sink && is_certificate && !EXCLUDED.contains(&name)
            });
            // Without TLS, its keys are refused.
            let text = text.replace("\"tcp://", "\"tls://");
            let config = check_text(Path::new("/etc/logpushd/logpushd.toml"), &text);
            let config = config.unwrap_or_else(|problems| panic!("{problems}"));
            assert_eq!(config.sinks.len(), if kind == "file" { 1 } else { 2 });
            assert_eq!(config.server.tls.acme.is_some(), uses_acme);
        }
    }
}

#[test]
fn lines_and_comments_of_the_sample_are_short() {
    let text = shipped("logpushd.toml");
    for (number, line) in text.lines().enumerate() {
        assert!(line.chars().count() <= 100, "line {}: {line}", number + 1);
    }
    assert!(!text.contains("\n\n\n") && !text.contains("#\n\n"));
    for key in reference::tables().iter().flat_map(|table| table.table.keys()) {
        let about = key.1.text();
        let first = ::settings::reference::first_paragraph(&about);
        let hint = "end the first paragraph of its doc comment, which is what the sample shows";
        assert!(first.len() <= 280, "{}: {hint}: {first}", key.0);
    }
}
