//! Tests of values that are not the default.

use std::time::Duration;

use super::*;
use crate::{
    config::{LogFormat, LogLevel, SinkConfig},
    select::{AddedField, AddedValue, FieldMask, HashKey, TextTemplate},
};

#[test]
fn reads_what_is_not_the_default() {
    let folder = Folder::new();
    let config = folder
        .load(
            r#"
            server.address = ["127.0.0.1:0", "[::1]:0"]
            server.tls = { self_signed = true, client_ca_file = "fullchain.pem", min_version = "1.3" }
            spool = { dir = "spool", max_bytes = 1048576, dedup_window = "90m" }
            [endpoint.b]
            path = "/b"
            dataset = "dns_logs"
            secret_header = "CF-Secret"
            secret_file = "secrets.txt"
            allow_from = ["192.0.2.7/24", "2001:db8::1"]
            sinks = ["y"]
            [endpoint.a]
            path = "/{dataset}/end"
            [endpoint.c]
            protocol = "splunk_hec"
            secret_file = "secrets.txt"
            [endpoint.d]
            protocol = "splunk_hec"
            path = "/hec"
            dataset = "dns_logs"
            auth = "none"
            [sink.y.file]
            path = "logs/./{endpoint}-%Y.ndjson"
            time = "event"
            mode = "0600"
            owner = "root"
            group = "4711"
            fsync = "batch"
            rotate = { max_bytes = "1MiB", max_age = "1d" }
            retain = { files = 3, age = "30d", bytes = "1GiB" }
            compress = "zstd"
            compress_after = "next"
            event_window = { past = "all", future = "2h" }
            [sink.x.stdout]
            [limits]
            max_body_bytes = "1MiB"
            max_inflated_bytes = "8 MiB"
            max_record_bytes = "1KiB"
            max_in_flight_bytes = "2MB"
            max_connections = 7
            max_connections_per_address = 5
            [admin]
            address = "[::1]:0"
            [log]
            level = "trace"
            format = "json"
        "#,
        )
        .unwrap();
    assert_eq!(config.server.addresses.len(), 2);
    assert_eq!(config.server.tls.key_file, folder.path("privkey.pem"));
    assert_eq!(config.server.tls.client_ca_file, Some(folder.path("fullchain.pem")));
    assert_eq!(config.server.tls.min_version, TlsVersion::V1_3);
    let names: Vec<&str> = config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    let [a, b, c, d] = config.endpoints.as_slice() else { unreachable!() };
    assert_eq!(a.auth, Auth::None, "the client certificate authenticates the sender");
    assert_eq!(a.path, PathPattern::Dataset { prefix: "/".into(), suffix: "/end".into() });
    assert_eq!(a.sinks, ["x", "y"]);
    let file = folder.path("secrets.txt");
    assert_eq!(b.auth, Auth::Secret { header: "cf-secret".into(), file: file.clone() });
    assert_eq!(c.auth, Auth::Token { file });
    let prefix = |prefix: &str, dataset: &str| PathPattern::Prefix {
        prefix: prefix.into(),
        dataset: dataset.into(),
    };
    assert_eq!(c.path, prefix("/services/collector", "splunk_hec"));
    assert_eq!((&d.path, &d.auth), (&prefix("/hec", "dns_logs"), &Auth::None));
    assert_eq!((b.protocol, d.protocol), (Protocol::Logpush, Protocol::SplunkHec));
    assert_eq!(b.path, PathPattern::Fixed { path: "/b".into(), dataset: "dns_logs".into() });
    assert_eq!(b.allow_from, ["192.0.2.0/24", "2001:db8::1/128"].map(|net| net.parse().unwrap()));
    assert_eq!(b.sinks, ["y"]);
    check_sinks(&config.sinks, &folder);
    assert_eq!((config.spool.dir, config.spool.max_bytes), (folder.path("spool"), 1 << 20));
    assert_eq!(config.spool.dedup_window, Duration::from_secs(5400));
    assert_eq!(config.quarantine.dir, folder.path("spool/quarantine"));
    let bounds = (config.limits.max_connections, config.limits.max_connections_per_address);
    assert_eq!((config.limits.max_in_flight_bytes, bounds), (2_000_000, (7, 5)));
    assert!(config.admin.asked_for);
    let Log { level, format, .. } = config.log;
    assert_eq!((level, format), (LogLevel::Trace, LogFormat::Json));
}

fn check_sinks(sinks: &[SinkConfig], folder: &Folder) {
    assert_eq!(sinks[0].kind, of_stdout());
    let path = format!("{}/logs/./{{endpoint}}-%Y.ndjson", folder.0.path().display());
    let settings = file::Settings {
        path,
        mode: 0o600,
        owner: Some(0),
        group: Some(4711),
        fsync: Fsync::Batch,
        rotate: Rotate { max_bytes: Some(1 << 20), max_age: Some(Duration::from_secs(86400)) },
        retain: Retain {
            files: Some(3),
            age: Some(Duration::from_secs(30 * 86400)),
            bytes: Some(1 << 30),
        },
        compress: Compress::Zstd,
        compress_after: CompressAfter::Next,
        time: RecordTime::Event,
        event_window: EventWindow { past: Duration::MAX, future: Duration::from_secs(7200) },
    };
    assert_eq!(sinks[1].kind, SinkKind::File(Box::new(settings)));
}

#[test]
fn reads_what_a_sink_takes() {
    let folder = Folder::new();
    let config = folder
        .load(&format!(
            r#"{MINIMAL}
            datasets = ["http_requests"]
            endpoints = ["main"]
            drop_fields = ["h.cookie", "x"]
            rename = {{ a = "b", b = "a" }}
            [sink.archive.file.where]
            Outcome = ["pass", 1, 2.50, true]
            Status = {{ ge = 5_00, lt = 0x258, gt = -1e3, le = +7, not = 503, exists = true }}
            "a.b" = false
            [sink.pipe.stdout]
            keep_fields = ["a"]
            rename = {{ a = "source.ip" }}
        "#
        ))
        .unwrap();
    let condition = |field: &str, test| Condition { field: field.to_owned(), test };
    let number = |text: &str| text.to_owned();
    let [archive, pipe] = config.sinks.as_slice() else { unreachable!() };
    assert_eq!(archive.choice.conditions.len(), 8);
    for expected in [
        condition(
            "Outcome",
            Test::OneOf(vec![
                Scalar::String("pass".into()),
                Scalar::Number("1".into()),
                Scalar::Number("2.50".into()),
                Scalar::Bool(true),
            ]),
        ),
        condition("Status", Test::Compare(Comparison::AtLeast, number("500"))),
        condition("Status", Test::Compare(Comparison::Below, number("600"))),
        condition("Status", Test::Compare(Comparison::Above, number("-1e3"))),
        condition("Status", Test::Compare(Comparison::AtMost, number("7"))),
        condition("Status", Test::NoneOf(vec![Scalar::Number("503".into())])),
        condition("Status", Test::Exists(true)),
        condition("a.b", Test::OneOf(vec![Scalar::Bool(false)])),
    ] {
        assert!(archive.choice.conditions.contains(&expected), "{expected:?}");
    }
    assert_eq!(archive.choice.datasets, ["http_requests"]);
    assert_eq!(archive.choice.endpoints, ["main"]);
    assert_eq!(archive.choice.fields, Fields::Drop(vec!["h.cookie".into(), "x".into()]));
    assert_eq!(archive.choice.rename, [("a", "b"), ("b", "a")].map(|(a, b)| (a.into(), b.into())));
    let expected = Choice {
        fields: Fields::Keep(vec!["a".into()]),
        rename: vec![("a".into(), "source.ip".into())],
        ..Choice::default()
    };
    assert_eq!(pipe.choice, expected);
}

#[test]
fn reads_masks_and_added_fields() {
    let folder = Folder::new();
    let text = format!(
        r#"{MINIMAL}
        mask = {{ "h.ip" = "truncate", UserAgent = "hash", Cookies = "redact" }}
        mask_key_file = "mask.key"
        add_fields = {{ d = "{{dataset}}", n = 0x1f, f = -1.50, b = true, "a.b" = "" }}
    "#
    );
    let load = |key: &str| {
        fs::write(folder.path("mask.key"), key).unwrap();
        folder.load(&text).map(|mut config| config.sinks.remove(0))
    };
    let sink = load("  0123456789abcdef\nmore\n").unwrap();
    assert_eq!(sink.mask_key_file, Some(folder.path("mask.key")));
    let mut masks = sink.choice.masks.clone();
    masks.sort_by(|(one, _), (other, _)| one.cmp(other));
    let expected = [
        ("Cookies", FieldMask::Redact),
        ("UserAgent", FieldMask::Hash(HashKey::new(b"0123456789abcdef"))),
        ("h.ip", FieldMask::Truncate),
    ];
    assert_eq!(masks, expected.map(|(field, mask)| (field.to_owned(), mask)));
    let template = |text| AddedValue::Text(TextTemplate::parse(text).unwrap());
    for (name, value) in [
        ("d", template("{dataset}")),
        ("n", AddedValue::Number("31".into())),
        ("f", AddedValue::Number("-1.50".into())),
        ("b", AddedValue::Bool(true)),
        ("a.b", template("")),
    ] {
        assert!(sink.choice.added.contains(&AddedField { name: name.into(), value }), "{name}");
    }
    // A reload compares the contents of the file, and nothing prints them.
    assert_eq!(load("0123456789abcdef").unwrap(), sink);
    assert_ne!(load("0123456789abcdeg").unwrap(), sink);
    assert!(!format!("{sink:?}").contains("0123456789abcdef"));
    for (key, expected) in
        [("", "the first line is empty"), ("\u{1}", "a character that no header")]
    {
        let problems = load(key).unwrap_err().to_string();
        assert!(problems.contains(expected), "{problems}");
    }
}

#[test]
fn the_names_of_columns_have_a_bound() {
    let folder = Folder::new();
    let load = |length: usize| {
        let name = "x".repeat(length);
        folder.load(&format!(
            "server.tls = {{ self_signed = true }}\n\
             [endpoint.rows]\npath = \"/{{dataset}}\"\nauth = \"none\"\n\
             format = \"csv\"\ncolumns = [\"{name}\"]\n[sink.x.stdout]\n"
        ))
    };
    // Quotes and a line feed are added to it.
    assert_eq!(load(64 * 1024 - 3).unwrap().endpoints.len(), 1);
    let problem = load(64 * 1024 - 2).unwrap_err().to_string();
    assert!(problem.contains("`endpoint.rows.columns` have more than 64 KiB"), "{problem}");
    assert!(problem.len() < 1000, "{problem}");
}
