//! Who may post, and where: method, path, source address, secret and encoding, before a byte of the
//! body is read.

use std::{io, net::IpAddr};

use hyper::{HeaderMap, Method, header::CONTENT_ENCODING, http::request};

use super::{refusal::Refusal, secrets::Secrets};
use crate::{
    config::{self, Endpoint, HEC_PATHS, HecPath, PathPattern, Protocol},
    decode::{Encoding, Format},
    ingest::Form,
};

/// The endpoints.
#[derive(Debug)]
pub(super) struct Gate {
    doors: Vec<Door>,
}

#[derive(Debug)]
struct Door {
    endpoint: Endpoint,
    secrets: Secrets,
}

/// Where a request came in, and what it may do there.
#[derive(Debug)]
pub(super) struct Visit<'a> {
    /// Name of the endpoint; empty if there is none.
    pub(super) endpoint: &'a str,
    /// In whose words it is answered.
    pub(super) protocol: Protocol,
    pub(super) asks: Result<Asks, Refusal>,
}

/// What a request is about.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Asks {
    /// To be sent its body.
    Upload(Admitted),
    /// Whether batches are taken.
    Health,
    /// Which methods there are.
    Methods(&'static str),
}

/// A request that may send its body.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Admitted {
    /// The endpoint's place in the config.
    pub(super) place: usize,
    pub(super) endpoint: String,
    pub(super) protocol: Protocol,
    pub(super) dataset: String,
    pub(super) form: Form,
}

/// An endpoint, by a path of its.
struct Found<'a> {
    place: usize,
    door: &'a Door,
    dataset: String,
    /// What the path is for, with HEC.
    hec: Option<HecPath>,
}

impl Gate {
    pub(super) fn open(endpoints: &[Endpoint]) -> io::Result<Self> {
        let doors = endpoints.iter().map(|endpoint| {
            let secrets = Secrets::open(&endpoint.auth)?;
            Ok(Door { endpoint: endpoint.clone(), secrets })
        });
        Ok(Self { doors: doors.collect::<io::Result<_>>()? })
    }

    /// Reads the secrets again, and says what failed.
    pub(super) fn reload(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for door in &self.doors {
            if let Err(error) = door.secrets.reload(&door.endpoint.auth) {
                let name = &door.endpoint.name;
                problems.push(format!("endpoint {name} keeps its secrets: {error}"));
            }
        }
        problems
    }

    /// The endpoint that the path names, if one does, and whether the request may go on there.
    pub(super) fn admit(&self, head: &request::Parts, peer: IpAddr) -> Visit<'_> {
        let path = head.uri.path();
        let Some(found) = self.find(path) else { return self.lost(path) };
        let Endpoint { name, protocol, .. } = &found.door.endpoint;
        let (endpoint, protocol) = (name.as_str(), *protocol);
        Visit { endpoint, protocol, asks: found.admit(head, peer) }
    }

    /// A whole path wins over a pattern; no two patterns fit one path, as validation has made sure.
    fn find(&self, path: &str) -> Option<Found<'_>> {
        let mut by_pattern = None;
        for (place, door) in self.doors.iter().enumerate() {
            match &door.endpoint.path {
                PathPattern::Fixed { path: whole, dataset } if whole == path => {
                    return Some(Found { place, door, dataset: dataset.clone(), hec: None });
                }
                PathPattern::Fixed { .. } => {}
                PathPattern::Prefix { prefix, dataset } => {
                    let rest = path.strip_prefix(prefix.as_str());
                    let known = HEC_PATHS.iter().find(|(known, _)| Some(*known) == rest);
                    if let Some((_, hec)) = known {
                        let (dataset, hec) = (dataset.clone(), Some(*hec));
                        return Some(Found { place, door, dataset, hec });
                    }
                }
                PathPattern::Dataset { prefix, suffix } => {
                    let rest = path.strip_prefix(prefix.as_str());
                    let dataset = rest.and_then(|rest| rest.strip_suffix(suffix.as_str()));
                    if let Some(dataset) =
                        dataset.filter(|dataset| config::is_dataset(dataset.as_bytes()))
                    {
                        let dataset = dataset.to_owned();
                        by_pattern = Some(Found { place, door, dataset, hec: None });
                    }
                }
            }
        }
        by_pattern
    }

    /// A path that no endpoint has. Behind the prefix of one it is answered as there.
    fn lost(&self, path: &str) -> Visit<'_> {
        let behind = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let near = self.doors.iter().find(|door| {
            matches!(&door.endpoint.path, PathPattern::Prefix { prefix, .. } if behind(prefix))
        });
        let (endpoint, protocol) = match near {
            Some(door) => (door.endpoint.name.as_str(), door.endpoint.protocol),
            None => ("", Protocol::Logpush),
        };
        Visit { endpoint, protocol, asks: Err(Refusal::NotFound) }
    }
}

impl Found<'_> {
    fn admit(self, head: &request::Parts, peer: IpAddr) -> Result<Asks, Refusal> {
        let allow = self.methods();
        if !allow.split(", ").any(|method| method == head.method.as_str()) {
            return Err(Refusal::MethodNotAllowed { allow });
        }
        let endpoint = &self.door.endpoint;
        let networks = &endpoint.allow_from;
        if !networks.is_empty() && !networks.iter().any(|network| network.contains(&peer)) {
            return Err(Refusal::Forbidden);
        }
        // Splunk answers these to anybody, and senders ask before they show a token.
        if head.method == Method::OPTIONS {
            return Ok(Asks::Methods(allow));
        }
        if self.hec == Some(HecPath::Health) {
            return Ok(Asks::Health);
        }
        self.door.secrets.check(&endpoint.auth, head)?;
        if self.hec == Some(HecPath::Ack) {
            return Err(Refusal::AckDisabled);
        }
        let form = self.form(encoding(&head.headers)?);
        let (endpoint, protocol) = (endpoint.name.clone(), endpoint.protocol);
        let Self { place, dataset, .. } = self;
        Ok(Asks::Upload(Admitted { place, endpoint, protocol, dataset, form }))
    }

    fn methods(&self) -> &'static str {
        match self.hec {
            None => "POST, PUT",
            Some(HecPath::Health) => "GET, HEAD, OPTIONS",
            Some(_) => "POST, PUT, OPTIONS",
        }
    }

    fn form(&self, encoding: Encoding) -> Form {
        if self.hec == Some(HecPath::Event) {
            return Form { encoding, format: Format::Concatenated, header_row: Vec::new() };
        }
        let Endpoint { format, columns, .. } = &self.door.endpoint;
        Form { encoding, format: *format, header_row: format.header_row(columns) }
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let mut encoding = Encoding::Identity;
    for value in headers.get_all(CONTENT_ENCODING) {
        let value = value.as_bytes().trim_ascii();
        if value.eq_ignore_ascii_case(b"gzip") || value.eq_ignore_ascii_case(b"x-gzip") {
            if encoding == Encoding::Gzip {
                return Err(Refusal::UnsupportedEncoding);
            }
            encoding = Encoding::Gzip;
        } else if !value.is_empty() && !value.eq_ignore_ascii_case(b"identity") {
            return Err(Refusal::UnsupportedEncoding);
        }
    }
    Ok(encoding)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use hyper::{Request, http::request::Builder};

    use super::*;
    use crate::config::Auth;

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
            sinks: vec!["s".into()],
        }
    }

    fn pattern(prefix: &str, suffix: &str) -> PathPattern {
        PathPattern::Dataset { prefix: prefix.into(), suffix: suffix.into() }
    }

    fn fixed(path: &str, dataset: &str) -> PathPattern {
        PathPattern::Fixed { path: path.into(), dataset: dataset.into() }
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
        let gate = Gate::open(&[
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
                Ok(admitted) => Some((admitted.endpoint, admitted.dataset)),
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
        let gate = Gate::open(&[door]).unwrap();
        let from = |method: &str, address: &str| {
            let request = Request::builder().method(method).uri("/a").body(()).unwrap();
            gate.admit(&request.into_parts().0, address.parse().unwrap()).asks
        };
        assert!(from("POST", "192.0.2.255").is_ok());
        assert!(from("PUT", "2001:db8::1").is_ok());
        assert!(matches!(from("POST", "192.0.3.0"), Err(Refusal::Forbidden)));
        assert!(matches!(from("POST", "::1"), Err(Refusal::Forbidden)));
        for method in ["GET", "HEAD", "DELETE", "OPTIONS", "PATCH"] {
            assert!(matches!(from(method, "192.0.2.1"), Err(Refusal::MethodNotAllowed { .. })));
        }
    }

    #[test]
    fn each_live_secret_opens_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file: PathBuf = dir.path().join("secrets.txt");
        fs::write(&file, "first-secret\n\n  second \r\n").unwrap();
        let auth = Auth::Secret { header: "x-key".into(), file: file.clone() };
        let gate = Gate::open(&[endpoint("e", pattern("/", ""), auth)]).unwrap();
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

        fs::write(&file, "third\n").unwrap();
        assert_eq!(gate.reload(), Vec::<String>::new());
        assert!(shown(&["third"]) && !shown(&["first-secret"]));

        fs::remove_file(&file).unwrap();
        assert_eq!(gate.reload().len(), 1);
        assert!(shown(&["third"]), "the old ones stay");
    }

    #[test]
    fn a_path_of_hec_says_what_is_asked() {
        let prefix = |prefix: &str| PathPattern::Prefix {
            prefix: prefix.into(),
            dataset: "dns_logs".into(),
        };
        let mut text = endpoint("text", prefix("/services/collector"), Auth::None);
        text.format = Format::Text;
        let gate = Gate::open(&[
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
                (admitted.endpoint.as_str(), admitted.form.format),
                (name, format),
                "{path}"
            );
        }
        for path in ["/services/collector/health", "/services/collector/dns/health/1.0"] {
            assert_eq!(ask(&gate, Request::get(path)).unwrap(), Asks::Health);
            let refused = ask(&gate, Request::post(path));
            assert!(matches!(refused, Err(Refusal::MethodNotAllowed { .. })), "{refused:?}");
        }
        let refused = ask(&gate, Request::post("/services/collector/ack?channel=x"));
        assert!(matches!(refused, Err(Refusal::AckDisabled)), "{refused:?}");
        let methods = ask(&gate, Request::options("/services/collector/event/1.0")).unwrap();
        assert_eq!(methods, Asks::Methods("POST, PUT, OPTIONS"));
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
        let gate = Gate::open(&[endpoint("e", pattern("/", ""), Auth::None)]).unwrap();
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
}
