use std::{fs, path::PathBuf};

use hyper::{Request, http::request::Builder};

use super::*;
use crate::{config::Auth, http::datasets::MAX_UNKNOWN_DATASETS, metrics::Names};

fn endpoint(name: &str, path: PathPattern, auth: Auth) -> Endpoint {
    Endpoint {
        name: name.into(),
        protocol: match path {
            PathPattern::Prefix { .. } => Protocol::SplunkHec,
            _ => Protocol::Logpush,
        },
        path,
        format: Format::Json,
        columns: vec![],
        auth,
        allow_from: vec![],
        datasets: vec![],
        sinks: vec!["s".into()],
    }
}

fn pattern(prefix: &str, suffix: &str) -> PathPattern {
    PathPattern::Dataset { prefix: prefix.into(), suffix: suffix.into() }
}

fn fixed(path: &str, dataset: &str) -> PathPattern {
    PathPattern::Fixed { path: path.into(), dataset: dataset.into() }
}

fn open(endpoints: &[Endpoint]) -> io::Result<Gate> {
    Gate::open(endpoints, &[], &Metrics::new(&Names::default()))
}

fn admit(gate: &Gate, request: Builder) -> Result<Admitted, Refusal> {
    match ask(gate, request)? {
        RequestKind::Upload(admitted) => Ok(admitted),
        other => panic!("{other:?}"),
    }
}

fn ask(gate: &Gate, request: Builder) -> Result<RequestKind, Refusal> {
    let (head, ()) = request.body(()).unwrap().into_parts();
    gate.admit(&head, "192.0.2.1".parse().unwrap()).outcome
}

#[test]
fn the_path_finds_the_endpoint_and_the_dataset() {
    let gate = open(&[
        endpoint("all", pattern("/logpush/", ""), Auth::None),
        endpoint("zone", pattern("/zone/", "/in"), Auth::None),
        endpoint("dns", fixed("/logpush/dns", "dns_logs"), Auth::None),
    ])
    .unwrap();
    let long = format!("/logpush/{}", "a".repeat(64));
    for (path, want) in [
        ("/logpush/http_requests", Some(("all", "http_requests"))),
        ("/logpush/http_requests?tags=a&b", Some(("all", "http_requests"))),
        ("/logpush/dns", Some(("dns", "dns_logs"))),
        ("/zone/x/in", Some(("zone", "x"))),
        (&long, Some(("all", &"a".repeat(64)))),
        (&format!("{long}a"), None),
        ("/logpush/", None),
        ("/logpush", None),
        ("/logpush/HTTP", None),
        ("/logpush/a/", None),
        ("/logpush/../etc", None),
        ("/logpush/%2e%2e", None),
        ("/logpush/a.b", None),
        ("/", None),
    ] {
        let got = match admit(&gate, Request::post(path)) {
            Ok(admitted) => Some((admitted.endpoint.name().to_owned(), admitted.dataset)),
            Err(refusal) => {
                assert!(matches!(refusal, Refusal::NotFound), "{path}: {refusal:?}");
                None
            }
        };
        let want = want.map(|(endpoint, dataset)| (endpoint.to_owned(), dataset.to_owned()));
        assert_eq!(got, want, "{path}");
    }
}

#[test]
fn post_and_put_are_accepted_from_allowed_networks() {
    let mut limited = endpoint("e", pattern("/", ""), Auth::None);
    limited.allow_from = vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let gate = open(&[limited]).unwrap();
    let from = |method: &str, address: &str| {
        let request = Request::builder().method(method).uri("/a").body(()).unwrap();
        gate.admit(&request.into_parts().0, address.parse().unwrap()).outcome
    };
    assert!(from("POST", "192.0.2.255").is_ok());
    assert!(from("PUT", "2001:db8::1").is_ok());
    assert!(matches!(from("POST", "192.0.3.0"), Err(Refusal::Forbidden)));
    assert!(matches!(from("POST", "::1"), Err(Refusal::Forbidden)));
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "PATCH"] {
        assert!(matches!(from(method, "192.0.2.1"), Err(Refusal::MethodNotAllowed(_))));
    }
}

#[test]
fn each_line_of_the_secret_file_is_accepted_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let file: PathBuf = dir.path().join("secrets.txt");
    fs::write(&file, "first-secret\n\n  second \r\n").unwrap();
    let auth = Auth::Secret { header: "x-key".into(), file: file.clone() };
    let gate = open(&[endpoint("e", pattern("/", ""), auth)]).unwrap();
    let shown = |values: &[&str]| {
        let request = values
            .iter()
            .fold(Request::post("/a"), |request, value| request.header("X-Key", *value));
        admit(&gate, request).is_ok()
    };
    assert!(shown(&["first-secret"]));
    assert!(shown(&["second"]));
    assert!(shown(&["wrong", "second"]));
    for wrong in ["", "first", "first-secret ", "FIRST-SECRET", "first-secretx"] {
        assert!(!shown(&[wrong.trim_end_matches(' ')]) || wrong.ends_with(' '), "{wrong}");
    }
    assert!(!shown(&[]));

    fs::remove_file(&file).unwrap();
    let auth = Auth::Secret { header: "x-key".into(), file };
    let error = open(&[endpoint("e", pattern("/", ""), auth)]).unwrap_err();
    assert!(error.to_string().starts_with("endpoint.e: "), "{error}");
}

#[test]
fn a_hec_path_determines_the_kind_of_the_request() {
    let prefix =
        |prefix: &str| PathPattern::Prefix { prefix: prefix.into(), dataset: "dns_logs".into() };
    let mut text = endpoint("text", prefix("/services/collector"), Auth::None);
    text.format = Format::Text;
    let gate = open(&[
        endpoint("all", pattern("/services/collector/", ""), Auth::None),
        text,
        endpoint("other", prefix("/services/collector/dns"), Auth::None),
    ])
    .unwrap();
    for (path, name, format) in [
        ("/services/collector", "text", Format::Concatenated),
        ("/services/collector/event", "text", Format::Concatenated),
        ("/services/collector/event/1.0?channel=x", "text", Format::Concatenated),
        ("/services/collector/raw?sourcetype=a", "text", Format::Text),
        ("/services/collector/raw/1.0", "text", Format::Text),
        ("/services/collector/dns/raw", "other", Format::Json),
        ("/services/collector/dns", "other", Format::Concatenated),
        ("/services/collector/http_requests", "all", Format::Json),
    ] {
        let admitted = admit(&gate, Request::post(path)).unwrap();
        assert_eq!(
            (admitted.endpoint.name(), admitted.body_format.format),
            (name, format),
            "{path}"
        );
    }
    for path in ["/services/collector/health", "/services/collector/dns/health/1.0"] {
        assert!(matches!(ask(&gate, Request::get(path)), Ok(RequestKind::Health)), "{path}");
        let refused = ask(&gate, Request::post(path));
        assert!(matches!(refused, Err(Refusal::MethodNotAllowed(_))), "{refused:?}");
    }
    let refused = ask(&gate, Request::post("/services/collector/ack?channel=x"));
    assert!(matches!(refused, Err(Refusal::AckDisabled)), "{refused:?}");
    let methods = ask(&gate, Request::options("/services/collector/event/1.0")).unwrap();
    assert!(matches!(methods, RequestKind::Methods(Methods::HecUpload)), "{methods:?}");
    for (path, protocol) in [
        ("/services/collector/", Protocol::SplunkHec),
        ("/services/collector/raw/2.0", Protocol::SplunkHec),
        ("/services/collectors/A", Protocol::Logpush),
        ("/services", Protocol::Logpush),
    ] {
        let (head, ()) = Request::post(path).body(()).unwrap().into_parts();
        let decision = gate.admit(&head, "192.0.2.1".parse().unwrap());
        assert!(matches!(decision.outcome, Err(Refusal::NotFound)), "{path}");
        assert_eq!(decision.protocol, protocol, "{path}");
    }
}

#[test]
fn only_unknown_content_encodings_are_unsupported() {
    let gate = open(&[endpoint("e", pattern("/", ""), Auth::None)]).unwrap();
    let with = |values: &[&str]| {
        let request = values.iter().fold(
            Request::post("/a").header("Content-Type", "text/plain; charset=utf-8"),
            |request, value| request.header("Content-Encoding", *value),
        );
        admit(&gate, request).map(|admitted| admitted.body_format.encoding)
    };
    for (values, want) in [
        (&[][..], Encoding::Identity),
        (&["identity"], Encoding::Identity),
        (&["gzip"], Encoding::Gzip),
        (&["GZip"], Encoding::Gzip),
        (&["x-gzip"], Encoding::Gzip),
    ] {
        assert_eq!(with(values).unwrap(), want, "{values:?}");
    }
    for values in [&["br"][..], &["zstd"], &["gzip, gzip"], &["gzip", "gzip"], &["gzip,br"]] {
        assert!(matches!(with(values), Err(Refusal::UnsupportedEncoding)), "{values:?}");
    }
}

#[test]
fn only_listed_datasets_are_accepted_and_a_stranger_cannot_probe_them() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secrets.txt");
    fs::write(&file, "correct horse battery\n").unwrap();
    let auth = Auth::Secret { header: "x-secret".into(), file };
    let mut listing = endpoint("e", pattern("/", ""), auth);
    listing.datasets = vec!["dns_logs".into(), "my_own".into()];
    let gate = open(&[listing]).unwrap();
    let ask = |path: &str, secret: &str| {
        admit(&gate, Request::post(path).header("x-secret", secret))
            .map(|admitted| admitted.dataset)
    };
    for dataset in ["dns_logs", "my_own"] {
        assert_eq!(ask(&format!("/{dataset}"), "correct horse battery").unwrap(), dataset);
    }
    let refused = ask("/http_requests", "correct horse battery").unwrap_err();
    assert!(matches!(refused, Refusal::DatasetNotListed), "{refused:?}");
    assert_eq!(refused.status(), 404);
    let stranger = ask("/http_requests", "wrong").unwrap_err();
    assert!(matches!(stranger, Refusal::Unauthorized(_)), "{stranger:?}");
}

#[test]
fn unknown_datasets_are_bounded_across_reloads() {
    let endpoints = [
        endpoint("e", pattern("/", ""), Auth::None),
        endpoint("f", pattern("/f/", ""), Auth::None),
    ];
    let mut gate = open(&endpoints).unwrap();
    let ask = |gate: &Gate, path: &str| admit(gate, Request::post(path)).map(drop);
    for number in 0..MAX_UNKNOWN_DATASETS {
        ask(&gate, &format!("/own_{number}")).unwrap();
    }
    for _ in 0..2 {
        let refused = ask(&gate, "/another").unwrap_err();
        assert!(matches!(refused, Refusal::TooManyDatasets { .. }), "{refused:?}");
        assert_eq!(refused.status(), 413);
        // Names accepted before, Cloudflare's, and those of another endpoint are still accepted.
        for path in ["/own_0", "/http_requests", "/zaraz_events", "/f/another"] {
            ask(&gate, path).unwrap();
        }
        gate = open(&endpoints).unwrap().continuing(&gate);
    }
}

#[test]
fn the_sink_header_is_read_only_after_the_secret() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secrets.txt");
    fs::write(&file, "0123456789abcdef\n").unwrap();
    let auth = Auth::Secret { header: "x-logpush-secret".into(), file };
    let gate = open(&[endpoint("all", pattern("/logpush/", ""), auth)]).unwrap();
    let request = || Request::post("/logpush/dns_logs").header("X-Logpushd-Sink", "gone");
    let stranger = admit(&gate, request()).unwrap_err();
    assert!(matches!(stranger, Refusal::Unauthorized(_)), "{stranger:?}");
    let known = admit(&gate, request().header("X-Logpush-Secret", "0123456789abcdef")).unwrap_err();
    assert!(matches!(known, Refusal::SinkNotTaken(_)), "{known:?}");
}
