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
        Asks::Upload(admitted) => Ok(admitted),
        other => panic!("{other:?}"),
    }
}

fn ask(gate: &Gate, request: Builder) -> Result<Asks, Refusal> {
    let (head, ()) = request.body(()).unwrap().into_parts();
    gate.admit(&head, "192.0.2.1".parse().unwrap()).asks
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
fn post_and_put_are_taken_from_the_networks_that_may() {
    let mut door = endpoint("e", pattern("/", ""), Auth::None);
    door.allow_from = vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let gate = open(&[door]).unwrap();
    let from = |method: &str, address: &str| {
        let request = Request::builder().method(method).uri("/a").body(()).unwrap();
        gate.admit(&request.into_parts().0, address.parse().unwrap()).asks
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
fn each_live_secret_opens_and_nothing_else() {
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
fn a_path_of_hec_says_what_is_asked() {
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
        assert_eq!((admitted.endpoint.name(), admitted.form.format), (name, format), "{path}");
    }
    for path in ["/services/collector/health", "/services/collector/dns/health/1.0"] {
        assert!(matches!(ask(&gate, Request::get(path)), Ok(Asks::Health)), "{path}");
        let refused = ask(&gate, Request::post(path));
        assert!(matches!(refused, Err(Refusal::MethodNotAllowed(_))), "{refused:?}");
    }
    let refused = ask(&gate, Request::post("/services/collector/ack?channel=x"));
    assert!(matches!(refused, Err(Refusal::AckDisabled)), "{refused:?}");
    let methods = ask(&gate, Request::options("/services/collector/event/1.0")).unwrap();
    assert!(matches!(methods, Asks::Methods(Methods::HecUpload)), "{methods:?}");
    for (path, protocol) in [
        ("/services/collector/", Protocol::SplunkHec),
        ("/services/collector/raw/2.0", Protocol::SplunkHec),
        ("/services/collectors/A", Protocol::Logpush),
        ("/services", Protocol::Logpush),
    ] {
        let (head, ()) = Request::post(path).body(()).unwrap().into_parts();
        let visit = gate.admit(&head, "192.0.2.1".parse().unwrap());
        assert!(matches!(visit.asks, Err(Refusal::NotFound)), "{path}");
        assert_eq!(visit.protocol, protocol, "{path}");
    }
}

#[test]
fn only_the_encoding_can_be_unsupported() {
    let gate = open(&[endpoint("e", pattern("/", ""), Auth::None)]).unwrap();
    let with = |values: &[&str]| {
        let request = values.iter().fold(
            Request::post("/a").header("Content-Type", "text/plain; charset=utf-8"),
            |request, value| request.header("Content-Encoding", *value),
        );
        admit(&gate, request).map(|admitted| admitted.form.encoding)
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
fn an_endpoint_takes_the_datasets_that_it_lists_and_says_so_only_to_who_has_the_secret() {
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
fn names_that_cloudflare_does_not_have_are_bounded_also_over_reloads() {
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
        // Those that were taken, those of Cloudflare, and those of another endpoint are none the worse.
        for path in ["/own_0", "/http_requests", "/zaraz_events", "/f/another"] {
            ask(&gate, path).unwrap();
        }
        gate = open(&endpoints).unwrap().continuing(&gate);
    }
}

#[test]
fn a_named_sink_is_looked_at_only_after_the_secret() {
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
