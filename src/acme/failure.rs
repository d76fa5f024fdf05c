//! Why there is no certificate, in the directory's own words, and what to do about it.

use std::{fmt, time::Duration};

use hyper::Uri;
use instant_acme::{Error, Problem};

use super::http::HttpError;
use crate::tls::Acme;

/// Longer than this no directory makes anybody wait; what says so is a mistake.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Where to look, which also says when to try again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// The directory cannot be talked to, or not now.
    Unreachable,
    /// It said no.
    Refused,
    /// This machine: the cache, the files that the configuration names.
    Local,
}

/// Why an attempt came to nothing.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// In one line, with what to do.
    pub(super) text: String,
    /// As the directory wants it.
    pub(super) retry_after: Duration,
}

/// What a directory says of a name.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) domain: String,
    pub(super) problem: Problem,
}

impl Failure {
    fn new(kind: Kind, text: &str, retry_after: Duration) -> Self {
        // It stands in one line of a log; a directory's words may not.
        let text = text.replace(crate::printable::is_hidden, " ");
        Self { kind, text, retry_after: retry_after.min(LONGEST_WAIT) }
    }

    /// Something here is wrong, and the error says what.
    pub(super) fn local(error: &dyn fmt::Display) -> Self {
        Self::new(Kind::Local, &error.to_string(), Duration::ZERO)
    }

    /// What must not happen.
    pub(super) fn other(error: &dyn fmt::Display) -> Self {
        Self::new(Kind::Refused, &format!("the attempt broke off: {error}"), Duration::ZERO)
    }

    /// An attempt took too long.
    pub(super) fn late(limit: Duration) -> Self {
        let text = format!("the directory was not done within {}", minutes(limit));
        Self::new(Kind::Refused, &text, Duration::ZERO)
    }

    /// The directory did not do what it was asked for, or cannot be asked.
    pub(super) fn of(error: &Error, acme: &Acme, retry_after: Duration) -> Self {
        if let Error::Other(other) = error {
            let advice = match other.downcast_ref() {
                Some(HttpError::Unreachable(_)) => Some(
                    "outgoing HTTPS and DNS must be allowed; check server.tls.acme.directory_url",
                ),
                Some(HttpError::Down(_)) => {
                    Some("the directory is out of order, nothing here is wrong")
                }
                Some(HttpError::NotAcme(_)) | None => None,
            };
            if let Some(advice) = advice {
                return Self::new(Kind::Unreachable, &format!("{other}: {advice}"), retry_after);
            }
        }
        let directory = directory(acme);
        match error {
            Error::Api(problem) => {
                let domain = acme.domains.first().map_or("", String::as_str);
                // Of the account or the order: nobody has looked at port 443.
                let advice = match name(problem) {
                    "unauthorized" => Some(UNAUTHORIZED.to_owned()),
                    name => advice(name, domain),
                };
                let text = words(problem, advice);
                let kind = match name(problem) {
                    // Bad luck, after some attempts: the next one has a new nonce.
                    "badNonce" => Kind::Unreachable,
                    _ if problem.status.is_some_and(|status| status >= 500) => Kind::Unreachable,
                    _ => Kind::Refused,
                };
                Self::new(kind, &format!("{directory} says {text}"), retry_after)
            }
            Error::Json(_) | Error::Other(_) => {
                let text = format!(
                    "{directory} does not answer as a directory: {error}: check server.tls.acme.directory_url"
                );
                Self::new(Kind::Refused, &text, retry_after)
            }
            _ => Self::new(Kind::Refused, &format!("{directory}: {error}"), retry_after),
        }
    }

    /// It looked at the names, and found them not to lead here.
    pub(super) fn refused(refusals: &[Refusal], acme: &Acme, retry_after: Duration) -> Self {
        let said: Vec<_> = refusals
            .iter()
            .map(|Refusal { domain, problem }| {
                format!("{domain}: {}", words(problem, advice(name(problem), domain)))
            })
            .collect();
        let text = format!("{} says of {}", directory(acme), said.join("; of "));
        Self::new(Kind::Refused, &text, retry_after)
    }
}

/// Which directory, as people know it.
pub(super) fn directory(acme: &Acme) -> String {
    let uri: Result<Uri, _> = acme.directory_url.parse();
    let host = uri.ok().and_then(|uri| uri.authority().map(ToString::to_string));
    host.unwrap_or_else(|| acme.directory_url.clone())
}

/// `7 min`, and seconds or hours where they are plainer.
pub(super) fn minutes(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

fn name(problem: &Problem) -> &str {
    let name = problem.r#type.as_deref().unwrap_or_default();
    name.rsplit(':').next().unwrap_or_default()
}

/// What to do if an account or an order is not taken.
const UNAUTHORIZED: &str = "the directory does not let this account have the certificate: look there what became of \
                            the account, and whether it may have these names";

/// What a problem says, and what to do. RFC 8555, 6.7, lists their names.
fn words(problem: &Problem, advice: Option<String>) -> String {
    let name = name(problem);
    let mut detail = problem.detail.clone().unwrap_or_default();
    for sub in &problem.subproblems {
        detail = format!("{detail} [{sub}]");
    }
    let text = format!("\"{}\" ({name})", detail.trim());
    match advice {
        Some(advice) => format!("{text}: {advice}"),
        None => text,
    }
}

fn advice(name: &str, domain: &str) -> Option<String> {
    Some(match name {
        "connection" => format!(
            "port 443 of {domain} must lead to server.address: look at the firewall, and that a \
             redirect or a proxy in front passes TLS through"
        ),
        "dns" => format!("{domain} needs an A or AAAA record that leads to this machine"),
        "unauthorized" | "tls" | "incorrectResponse" => format!(
            "what answers at port 443 of {domain}, if anything does, is not this daemon: its A and AAAA \
             records must lead to this machine, the firewall must let port 443 through to \
             server.address, and nothing in between may end TLS (in Cloudflare the record must be \
             \"DNS only\")"
        ),
        "caa" => format!(
            "a CAA record of {domain} or a name above it does not allow this directory: add one that does"
        ),
        "rateLimited" => String::from(
            "wait; while trying things out use the staging directory, \
             https://acme-staging-v02.api.letsencrypt.org/directory",
        ),
        "rejectedIdentifier" | "unsupportedIdentifier" => {
            String::from("it gives no certificate for one of server.tls.acme.domains: change them")
        }
        "invalidContact" | "unsupportedContact" => {
            String::from("change server.tls.acme.contact, or leave it out")
        }
        "externalAccountRequired" => String::from(
            "it demands an account that was made elsewhere, which logpushd cannot show: choose another \
             directory_url, or use a client beside the daemon",
        ),
        "userActionRequired" => String::from("agree to its new terms where it says"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(json: &str) -> Problem {
        serde_json::from_str(json).unwrap()
    }

    fn acme() -> Acme {
        Acme {
            domains: vec!["a.example".to_owned()],
            contact: None,
            directory_url: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            directory_ca_file: None,
            cache_dir: "/cache".into(),
        }
    }

    #[test]
    fn a_failure_has_the_directory_s_words_and_what_to_do() {
        let cases = [
            ("connection", "firewall"),
            ("dns", "A or AAAA record"),
            ("unauthorized", "DNS only"),
            ("tls", "DNS only"),
            ("caa", "CAA record"),
            ("rateLimited", "staging"),
            ("rejectedIdentifier", "domains"),
            ("invalidContact", "contact"),
            ("externalAccountRequired", "another directory_url"),
            ("userActionRequired", "terms"),
        ];
        for (name, advice) in cases {
            let json = format!(
                r#"{{"type":"urn:ietf:params:acme:error:{name}","detail":"the very\nwords"}}"#
            );
            let refusal = Refusal { domain: "a.example".to_owned(), problem: problem(&json) };
            let refused = Failure::refused(&[refusal], &acme(), Duration::ZERO);
            let api = Error::Api(problem(&json));
            let of = Failure::of(&api, &acme(), Duration::from_secs(u64::MAX));
            // Of an account it says something else.
            let of = Some(of).filter(|_| name != "unauthorized");
            for failure in [Some(refused), of].into_iter().flatten() {
                for part in
                    [advice, "\"the very words\"", name, "acme-v02.api.letsencrypt.org says"]
                {
                    assert!(failure.text.contains(part), "{part:?} not in {}", failure.text);
                }
                assert_eq!(failure.kind, Kind::Refused);
                assert!(failure.retry_after <= LONGEST_WAIT);
            }
        }
    }

    #[test]
    fn a_directory_that_is_down_is_no_refusal() {
        let error = HttpError::Unreachable("connecting to 192.0.2.1:443: refused".to_owned());
        let failure = Failure::of(&Error::Other(Box::new(error)), &acme(), Duration::ZERO);
        assert_eq!(failure.kind, Kind::Unreachable);
        assert!(failure.text.contains("refused: outgoing HTTPS"), "{}", failure.text);

        let error = HttpError::Down("a answers 502: \"<html>\"".to_owned());
        let failure = Failure::of(&Error::Other(Box::new(error)), &acme(), Duration::ZERO);
        assert_eq!(failure.kind, Kind::Unreachable);
        assert!(
            failure.text.contains("502") && !failure.text.contains("directory_url"),
            "{failure:?}"
        );

        let json = r#"{"type":"urn:ietf:params:acme:error:serverInternal","status":500}"#;
        let failure = Failure::of(&Error::Api(problem(json)), &acme(), Duration::ZERO);
        assert_eq!(failure.kind, Kind::Unreachable);

        let error = HttpError::NotAcme("a answers 404: \"\"".to_owned());
        let failure = Failure::of(&Error::Other(Box::new(error)), &acme(), Duration::ZERO);
        assert_eq!(failure.kind, Kind::Refused);
        assert!(failure.text.contains("check server.tls.acme.directory_url"), "{}", failure.text);
    }

    #[test]
    fn what_is_said_of_an_account_is_not_about_port_443() {
        let json = r#"{"type":"urn:ietf:params:acme:error:unauthorized","detail":"has status deactivated","status":403}"#;
        let failure = Failure::of(&Error::Api(problem(json)), &acme(), Duration::ZERO);
        assert_eq!(failure.kind, Kind::Refused);
        let text = &failure.text;
        assert!(text.contains("deactivated") && text.contains("account"), "{text}");
        assert!(!text.contains("443"), "{text}");
    }
}
