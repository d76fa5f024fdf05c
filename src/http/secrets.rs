//! Checks requests against the secrets of an endpoint.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use hyper::{header::AUTHORIZATION, http::request};
use jiff::Timestamp;
use settings::secret_file::SecretFileError;
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};
use tracing::info;

use super::{
    hec,
    refusal::{Refusal, ShownSecret},
};
use crate::{
    audit::{self, Event},
    config::{self, Auth},
    metrics::{EndpointMetrics, SecretMetrics},
};

/// Secrets of an endpoint, as digests: these have equal lengths, so comparing takes constant time.
#[derive(Debug)]
pub(super) struct Secrets {
    endpoint: String,
    secrets: Vec<LoadedSecret>,
}

#[derive(Debug)]
struct LoadedSecret {
    label: String,
    value: [u8; 32],
    whole_line: [u8; 32],
    metrics: Arc<SecretMetrics>,
    was_used: AtomicBool,
}

impl Secrets {
    /// Reads the secret file of the endpoint.
    pub(super) fn open(auth: &Auth, endpoint: &EndpointMetrics) -> Result<Self, SecretFileError> {
        let load = |secret: config::Secret| {
            let label = secret.label();
            LoadedSecret {
                value: digest(secret.value().as_bytes()),
                whole_line: digest(secret.whole_line().as_bytes()),
                metrics: endpoint.secret(&label),
                was_used: AtomicBool::new(false),
                label,
            }
        };
        let secrets = match auth {
            Auth::Secret { file, .. } | Auth::Token { file } => {
                config::read_secrets(file)?.into_iter().map(load).collect()
            }
            Auth::None => Vec::new(),
        };
        Ok(Self { endpoint: endpoint.name().to_owned(), secrets })
    }

    /// Records in the audit log which secrets differ from `before`.
    pub(super) fn audit_changes(&self, before: &Self) {
        let missing_in = |other: &Self, these: &Self| {
            let those = other.secrets.iter().map(|secret| &secret.whole_line).collect::<Vec<_>>();
            let missing =
                these.secrets.iter().filter(|secret| !those.contains(&&secret.whole_line));
            missing.map(|secret| secret.label.clone()).collect::<Vec<_>>()
        };
        let (added, removed) = (missing_in(before, self), missing_in(self, before));
        if !added.is_empty() || !removed.is_empty() {
            let endpoint = self.endpoint.clone();
            audit::record(Event::SecretsChanged { endpoint, added, removed });
        }
    }

    /// Checks that the request has one of the secrets where `auth` requires it.
    pub(super) fn check(&self, auth: &Auth, head: &request::Parts) -> Result<(), Refusal> {
        let shown: Vec<Cow<'_, [u8]>> = match auth {
            Auth::None => return Ok(()),
            Auth::Secret { header, .. } => {
                head.headers.get_all(header).iter().map(|value| value.as_bytes().into()).collect()
            }
            Auth::Token { .. } => {
                let values = head.headers.get_all(AUTHORIZATION).iter();
                values.filter_map(|value| hec::token(value.as_bytes())).collect()
            }
        };
        if let Some(secret) = self.find(&shown) {
            self.note_use(secret);
            return Ok(());
        }
        Err(Refusal::Unauthorized(match auth {
            Auth::Token { .. } if !head.headers.contains_key(AUTHORIZATION) => {
                if hec::has_token_in_query(head.uri.query()) {
                    ShownSecret::InQuery
                } else {
                    ShownSecret::Nothing
                }
            }
            Auth::Token { .. } if shown.is_empty() => ShownSecret::Unreadable,
            _ if shown.is_empty() => ShownSecret::Nothing,
            _ => ShownSecret::Wrong,
        }))
    }

    /// Compares every secret with every value, so that the time does not depend on which of them
    /// match.
    fn find(&self, shown: &[Cow<'_, [u8]>]) -> Option<&LoadedSecret> {
        let mut found = u64::MAX;
        for value in shown {
            let value = digest(value);
            for (index, secret) in (0..).zip(&self.secrets) {
                let is_it = value.ct_eq(&secret.value) | value.ct_eq(&secret.whole_line);
                found.conditional_assign(&index, is_it);
            }
        }
        usize::try_from(found).ok().and_then(|index| self.secrets.get(index))
    }

    /// Logs the first use, so that an operator sees when a rotation is complete.
    fn note_use(&self, secret: &LoadedSecret) {
        let now = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0);
        secret.metrics.used(now);
        if !secret.was_used.swap(true, Ordering::Relaxed) {
            let Self { endpoint, .. } = self;
            info!(endpoint, secret = secret.label, "first use of a secret since it was loaded");
            let (endpoint, secret) = (endpoint.clone(), secret.label.clone());
            audit::record(Event::SecretUsed { endpoint, secret });
        }
    }
}

fn digest(secret: &[u8]) -> [u8; 32] {
    *blake3::hash(secret).as_bytes()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use hyper::Request;

    use super::*;
    use crate::metrics::{Metrics, Names};

    #[test]
    fn tokens_are_accepted_as_splunk_or_basic_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secrets.txt");
        fs::write(&file, "first\nsecond: one\n").unwrap();
        let auth = Auth::Token { file };
        let metrics = Metrics::new(&Names::default());
        let secrets = Secrets::open(&auth, &metrics.endpoint("main")).unwrap();
        let check = |uri: &str, values: &[&str]| {
            let request = values
                .iter()
                .fold(Request::post(uri), |request, value| request.header("Authorization", *value));
            let (head, ()) = request.body(()).unwrap().into_parts();
            match secrets.check(&auth, &head) {
                Ok(()) => None,
                Err(Refusal::Unauthorized(shown)) => Some(shown),
                Err(other) => panic!("{other:?}"),
            }
        };
        for good in [
            &["Splunk first"][..],
            &["splunk  first "],
            &["Splunk second: one"],
            // user:first, :first, x:second: one
            &["Basic dXNlcjpmaXJzdA=="],
            &["basic OmZpcnN0"],
            &["Basic eDpzZWNvbmQ6IG9uZQ=="],
            &["Splunk wrong", "Splunk first"],
        ] {
            assert_eq!(check("/", good), None, "{good:?}");
            assert_eq!(check("/?token=other", good), None, "{good:?}");
        }
        for (values, want) in [
            (&[][..], ShownSecret::Nothing),
            (&["first"], ShownSecret::Unreadable),
            (&["Bearer first"], ShownSecret::Unreadable),
            (&["Splunk"], ShownSecret::Unreadable),
            (&["Splunk "], ShownSecret::Unreadable),
            (&["Basic first"], ShownSecret::Unreadable),
            (&["Basic Zmlyc3Q="], ShownSecret::Unreadable),
            (&["Splunk First"], ShownSecret::Wrong),
            (&["Splunk firstx"], ShownSecret::Wrong),
            (&["Splunkfirst first"], ShownSecret::Unreadable),
            (&["Basic dXNlcjpmaXJzdHg="], ShownSecret::Wrong),
        ] {
            assert_eq!(check("/", values), Some(want), "{values:?}");
        }
        assert_eq!(check("/?a=b&token=first", &[]), Some(ShownSecret::InQuery));
        assert_eq!(check("/?xtoken=first&tokens=first", &[]), Some(ShownSecret::Nothing));
    }
}
