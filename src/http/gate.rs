//! Who may post, and where: method, path, source address, secret and encoding, before a byte of the
//! body is read.

use std::{
    io,
    net::IpAddr,
    sync::{PoisonError, RwLock},
};

use hyper::{HeaderMap, Method, header::CONTENT_ENCODING, http::request};
use subtle::{Choice, ConstantTimeEq as _};

use super::refusal::Refusal;
use crate::{
    config::{self, Auth, Endpoint, PathPattern},
    decode::Encoding,
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
    /// Digests of the live secrets: all of one length, so that comparing takes one time.
    secrets: RwLock<Vec<[u8; 32]>>,
}

/// A request that may send its body.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Admitted {
    /// The endpoint's place in the config.
    pub(super) place: usize,
    pub(super) endpoint: String,
    pub(super) dataset: String,
    pub(super) form: Form,
}

impl Gate {
    pub(super) fn open(endpoints: &[Endpoint]) -> io::Result<Self> {
        let doors = endpoints.iter().map(|endpoint| {
            let secrets = RwLock::new(read_secrets(&endpoint.auth)?);
            Ok(Door { endpoint: endpoint.clone(), secrets })
        });
        Ok(Self { doors: doors.collect::<io::Result<_>>()? })
    }

    /// Reads the secrets again, and says what failed.
    pub(super) fn reload(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for door in &self.doors {
            match read_secrets(&door.endpoint.auth) {
                Ok(secrets) => {
                    *door.secrets.write().unwrap_or_else(PoisonError::into_inner) = secrets;
                }
                Err(error) => {
                    let name = &door.endpoint.name;
                    problems.push(format!("endpoint {name} keeps its secrets: {error}"));
                }
            }
        }
        problems
    }

    /// The endpoint that the path names, if one does, and whether the request may go on there.
    pub(super) fn admit(
        &self,
        head: &request::Parts,
        peer: IpAddr,
    ) -> (&str, Result<Admitted, Refusal>) {
        let Some((place, door, dataset)) = self.find(head.uri.path()) else {
            return ("", Err(Refusal::NotFound));
        };
        let endpoint = door.endpoint.name.as_str();
        let admitted = door.admit(head, peer).map(|encoding| Admitted {
            place,
            endpoint: endpoint.to_owned(),
            dataset,
            form: door.form(encoding),
        });
        (endpoint, admitted)
    }

    /// A whole path wins over a pattern; no two patterns fit one path, as validation has made sure.
    fn find(&self, path: &str) -> Option<(usize, &Door, String)> {
        let mut by_pattern = None;
        for (place, door) in self.doors.iter().enumerate() {
            match &door.endpoint.path {
                PathPattern::Fixed { path: whole, dataset } if whole == path => {
                    return Some((place, door, dataset.clone()));
                }
                PathPattern::Fixed { .. } => {}
                PathPattern::Dataset { prefix, suffix } => {
                    let rest = path.strip_prefix(prefix.as_str());
                    let dataset = rest.and_then(|rest| rest.strip_suffix(suffix.as_str()));
                    if let Some(dataset) =
                        dataset.filter(|dataset| config::is_dataset(dataset.as_bytes()))
                    {
                        by_pattern = Some((place, door, dataset.to_owned()));
                    }
                }
            }
        }
        by_pattern
    }
}

impl Door {
    fn form(&self, encoding: Encoding) -> Form {
        let Endpoint { format, columns, .. } = &self.endpoint;
        Form { encoding, format: *format, header_row: format.header_row(columns) }
    }

    fn admit(&self, head: &request::Parts, peer: IpAddr) -> Result<Encoding, Refusal> {
        if !matches!(head.method, Method::POST | Method::PUT) {
            return Err(Refusal::MethodNotAllowed);
        }
        let networks = &self.endpoint.allow_from;
        if !networks.is_empty() && !networks.iter().any(|network| network.contains(&peer)) {
            return Err(Refusal::Forbidden);
        }
        if let Auth::Secret { header, .. } = &self.endpoint.auth
            && !self.knows(&head.headers, header)
        {
            return Err(Refusal::Unauthorized);
        }
        encoding(&head.headers)
    }

    /// Every secret is compared with every value, so that the time says nothing about which of them
    /// is nearly right.
    fn knows(&self, headers: &HeaderMap, name: &str) -> bool {
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        let mut known = Choice::from(0);
        for value in headers.get_all(name) {
            let shown = digest(value.as_bytes());
            for secret in secrets.iter() {
                known |= shown.ct_eq(secret);
            }
        }
        known.into()
    }
}

fn read_secrets(auth: &Auth) -> io::Result<Vec<[u8; 32]>> {
    let Auth::Secret { file, .. } = auth else { return Ok(Vec::new()) };
    let secrets = config::read_secrets(file)?;
    Ok(secrets.iter().map(|secret| digest(secret.as_bytes())).collect())
}

fn digest(secret: &[u8]) -> [u8; 32] {
    *blake3::hash(secret).as_bytes()
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
    use crate::decode::Format;

    fn endpoint(name: &str, path: PathPattern, auth: Auth) -> Endpoint {
        Endpoint {
            name: name.into(),
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
        let (head, ()) = request.body(()).unwrap().into_parts();
        gate.admit(&head, "192.0.2.1".parse().unwrap()).1
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
            gate.admit(&request.into_parts().0, address.parse().unwrap()).1
        };
        assert!(from("POST", "192.0.2.255").is_ok());
        assert!(from("PUT", "2001:db8::1").is_ok());
        assert!(matches!(from("POST", "192.0.3.0"), Err(Refusal::Forbidden)));
        assert!(matches!(from("POST", "::1"), Err(Refusal::Forbidden)));
        for method in ["GET", "HEAD", "DELETE", "OPTIONS", "PATCH"] {
            assert!(matches!(from(method, "192.0.2.1"), Err(Refusal::MethodNotAllowed)));
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
