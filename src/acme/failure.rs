//! Errors of an attempt to get a certificate: the directory's own message, and what to do.

use std::{fmt, time::Duration};

use hyper::Uri;
use instant_acme::{Error, Problem};

use super::http::HttpError;
use crate::tls::Acme;

/// Limit for `Retry-After`. Directories send shorter times; a longer one is a mistake.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Cause of an error, which determines the delay before the next attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ErrorKind {
    /// The directory is unreachable or unavailable.
    Unreachable,
    /// The directory rejected the order.
    Rejected,
    /// An error on this machine: in the cache, or in files that the configuration names.
    Local,
}

/// Why an attempt failed.
#[derive(Debug)]
pub(super) struct AttemptError {
    pub(super) kind: ErrorKind,
    /// Message in one line, with what to do.
    pub(super) text: String,
    /// Delay that the directory asks for.
    pub(super) retry_after: Duration,
}

/// Problem that a directory reports about a domain.
#[derive(Debug)]
pub(super) struct DomainProblem {
    pub(super) domain: String,
    pub(super) problem: Problem,
}

impl AttemptError {
    fn new(kind: ErrorKind, text: &str, retry_after: Duration) -> Self {
        // The log needs a single line; a directory's message may have several.
        let text = text.replace(crate::printable::is_hidden, " ");
        Self { kind, text, retry_after: retry_after.min(MAX_RETRY_AFTER) }
    }

    /// An error on this machine.
    pub(super) fn local(error: &dyn fmt::Display) -> Self {
        Self::new(ErrorKind::Local, &error.to_string(), Duration::ZERO)
    }

    /// A panic or another internal error.
    pub(super) fn internal(error: &dyn fmt::Display) -> Self {
        Self::new(
            ErrorKind::Rejected,
            &format!("internal error in the attempt: {error}"),
            Duration::ZERO,
        )
    }

    /// A timeout of the whole attempt.
    pub(super) fn timed_out(limit: Duration) -> Self {
        let text = format!("the order was not complete within {}", minutes(limit));
        Self::new(ErrorKind::Rejected, &text, Duration::ZERO)
    }

    /// An error of a request to the directory.
    pub(super) fn of(error: &Error, acme: &Acme, retry_after: Duration) -> Self {
        if let Error::Other(other) = error {
            let advice = match other.downcast_ref() {
                Some(HttpError::Unreachable(_)) => Some(
                    "outgoing HTTPS and DNS must be allowed; check server.tls.acme.directory_url",
                ),
                Some(HttpError::Down(_)) => {
                    Some("the directory is unavailable; there is nothing to fix here")
                }
                Some(HttpError::NotAcme(_)) | None => None,
            };
            if let Some(advice) = advice {
                return Self::new(
                    ErrorKind::Unreachable,
                    &format!("{other}: {advice}"),
                    retry_after,
                );
            }
        }
        let directory = directory(acme);
        match error {
            Error::Api(problem) => {
                let domain = acme.domains.first().map_or("", String::as_str);
                // About the account or the order: the directory has not connected to port 443.
                let advice = match name(problem) {
                    "unauthorized" => Some(UNAUTHORIZED.to_owned()),
                    name => advice(name, domain),
                };
                let text = describe(problem, advice);
                let kind = match name(problem) {
                    // After several retries by chance: the next attempt has a new nonce.
                    "badNonce" => ErrorKind::Unreachable,
                    _ if problem.status.is_some_and(|status| status >= 500) => {
                        ErrorKind::Unreachable
                    }
                    _ => ErrorKind::Rejected,
                };
                Self::new(kind, &format!("{directory} answers {text}"), retry_after)
            }
            Error::Json(_) | Error::Other(_) => {
                let text = format!(
                    "{directory} does not answer as an ACME directory: {error}: check \
                     server.tls.acme.directory_url"
                );
                Self::new(ErrorKind::Rejected, &text, retry_after)
            }
            _ => Self::new(ErrorKind::Rejected, &format!("{directory}: {error}"), retry_after),
        }
    }

    /// The directory could not validate domains.
    pub(super) fn rejected(problems: &[DomainProblem], acme: &Acme, retry_after: Duration) -> Self {
        let messages: Vec<_> = problems
            .iter()
            .map(|DomainProblem { domain, problem }| {
                format!("{domain}: {}", describe(problem, advice(name(problem), domain)))
            })
            .collect();
        let text = format!("{} reports for {}", directory(acme), messages.join("; for "));
        Self::new(ErrorKind::Rejected, &text, retry_after)
    }
}

/// Returns the host of the directory.
pub(super) fn directory(acme: &Acme) -> String {
    let uri: Result<Uri, _> = acme.directory_url.parse();
    let host = uri.ok().and_then(|uri| uri.authority().map(ToString::to_string));
    host.unwrap_or_else(|| acme.directory_url.clone())
}

/// Formats a time, such as `7 min`, in seconds, minutes or hours.
pub(super) fn minutes(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// Returns the last part of a problem's type, such as `rateLimited`.
fn name(problem: &Problem) -> &str {
    let name = problem.r#type.as_deref().unwrap_or_default();
    name.rsplit(':').next().unwrap_or_default()
}

/// Advice if an account or an order is rejected.
const UNAUTHORIZED: &str = "the directory does not allow this account to have the certificate: \
                            check there whether the account is active, and whether it may have these domains";

/// Returns the message of a problem, and what to do. RFC 8555, section 6.7, lists the names.
fn describe(problem: &Problem, advice: Option<String>) -> String {
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

/// Returns what to do about a problem with a domain.
fn advice(name: &str, domain: &str) -> Option<String> {
    Some(match name {
        "connection" => format!(
            "port 443 of {domain} must lead to server.address: check the firewall, and that a \
             redirect or a proxy in front passes TLS through"
        ),
        "dns" => format!("{domain} needs an A or AAAA record with the address of this machine"),
        "unauthorized" | "tls" | "incorrectResponse" => format!(
            "this daemon does not answer at port 443 of {domain}: its A and AAAA records must have \
             the address of this machine, the firewall must let port 443 through to \
             server.address, and nothing in between may terminate TLS (in Cloudflare the record \
             must be \"DNS only\")"
        ),
        "caa" => format!(
            "a CAA record of {domain} or of a parent domain does not allow this directory: add a \
             record that does"
        ),
        "rateLimited" => String::from(
            "wait; for experiments, use the staging directory, \
             https://acme-staging-v02.api.letsencrypt.org/directory",
        ),
        "rejectedIdentifier" | "unsupportedIdentifier" => String::from(
            "the directory issues no certificate for one of server.tls.acme.domains: change them",
        ),
        "invalidContact" | "unsupportedContact" => {
            String::from("change server.tls.acme.contact, or remove it")
        }
        "externalAccountRequired" => String::from(
            "the directory requires an external account, which logpushd does not support: choose \
             another directory_url, or use another ACME client and cert_file",
        ),
        "userActionRequired" => {
            String::from("agree to the directory's new terms, at the address in its message")
        }
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
    fn an_error_has_the_directorys_message_and_what_to_do() {
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
            let refusal = DomainProblem { domain: "a.example".to_owned(), problem: problem(&json) };
            let rejected = AttemptError::rejected(&[refusal], &acme(), Duration::ZERO);
            let api = Error::Api(problem(&json));
            let of = AttemptError::of(&api, &acme(), Duration::from_secs(u64::MAX));
            // The advice for an account is different.
            let of = Some(of).filter(|_| name != "unauthorized");
            for failure in [Some(rejected), of].into_iter().flatten() {
                for part in [advice, "\"the very words\"", name, "acme-v02.api.letsencrypt.org "] {
                    assert!(failure.text.contains(part), "{part:?} not in {}", failure.text);
                }
                assert_eq!(failure.kind, ErrorKind::Rejected);
                assert!(failure.retry_after <= MAX_RETRY_AFTER);
            }
        }
    }

    #[test]
    fn an_unavailable_directory_is_not_a_rejection() {
        let error = HttpError::Unreachable("connecting to 192.0.2.1:443: refused".to_owned());
        let failure = AttemptError::of(&Error::Other(Box::new(error)), &acme(), Duration::ZERO);
        assert_eq!(failure.kind, ErrorKind::Unreachable);
        assert!(failure.text.contains("refused: outgoing HTTPS"), "{}", failure.text);

        let error = HttpError::Down("a answers 502: \"<html>\"".to_owned());
        let failure = AttemptError::of(&Error::Other(Box::new(error)), &acme(), Duration::ZERO);
        assert_eq!(failure.kind, ErrorKind::Unreachable);
        assert!(
            failure.text.contains("502") && !failure.text.contains("directory_url"),
            "{failure:?}"
        );

        let json = r#"{"type":"urn:ietf:params:acme:error:serverInternal","status":500}"#;
        let failure = AttemptError::of(&Error::Api(problem(json)), &acme(), Duration::ZERO);
        assert_eq!(failure.kind, ErrorKind::Unreachable);

        let error = HttpError::NotAcme("a answers 404: \"\"".to_owned());
        let failure = AttemptError::of(&Error::Other(Box::new(error)), &acme(), Duration::ZERO);
        assert_eq!(failure.kind, ErrorKind::Rejected);
        assert!(failure.text.contains("check server.tls.acme.directory_url"), "{}", failure.text);
    }

    #[test]
    fn advice_about_an_account_does_not_mention_port_443() {
        let json = r#"{"type":"urn:ietf:params:acme:error:unauthorized","detail":"has status deactivated","status":403}"#;
        let failure = AttemptError::of(&Error::Api(problem(json)), &acme(), Duration::ZERO);
        assert_eq!(failure.kind, ErrorKind::Rejected);
        let text = &failure.text;
        assert!(text.contains("deactivated") && text.contains("account"), "{text}");
        assert!(!text.contains("443"), "{text}");
    }
}
