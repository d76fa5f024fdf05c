//! The live secrets of an endpoint, and whether a request shows one of them.

use std::{borrow::Cow, io};

use hyper::{header::AUTHORIZATION, http::request};
use subtle::{Choice, ConstantTimeEq as _};

use super::{
    hec,
    refusal::{Refusal, Shown},
};
use crate::config::{self, Auth};

/// Digests of the live secrets: all of one length, so that comparing takes one time.
#[derive(Debug)]
pub(super) struct Secrets {
    live: Vec<[u8; 32]>,
}

impl Secrets {
    pub(super) fn open(auth: &Auth) -> io::Result<Self> {
        let (Auth::Secret { file, .. } | Auth::Token { file }) = auth else {
            return Ok(Self { live: Vec::new() });
        };
        let secrets = config::read_secrets(file)?;
        Ok(Self { live: secrets.iter().map(|secret| digest(secret.as_bytes())).collect() })
    }

    /// Whether the request shows one of them where `auth` demands it.
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
        if self.knows(&shown) {
            return Ok(());
        }
        Err(Refusal::Unauthorized(match auth {
            Auth::Token { .. } if !head.headers.contains_key(AUTHORIZATION) => {
                if hec::has_token_in_query(head.uri.query()) {
                    Shown::InQuery
                } else {
                    Shown::Nothing
                }
            }
            Auth::Token { .. } if shown.is_empty() => Shown::Unreadable,
            _ if shown.is_empty() => Shown::Nothing,
            _ => Shown::Wrong,
        }))
    }

    /// Every secret is compared with every value, so that the time says nothing about which of them
    /// is nearly right.
    fn knows(&self, shown: &[Cow<'_, [u8]>]) -> bool {
        let mut known = Choice::from(0);
        for value in shown {
            let value = digest(value);
            for secret in &self.live {
                known |= value.ct_eq(secret);
            }
        }
        known.into()
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

    #[test]
    fn a_token_opens_in_the_forms_of_hec_and_in_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secrets.txt");
        fs::write(&file, "first\nsecond: one\n").unwrap();
        let auth = Auth::Token { file };
        let secrets = Secrets::open(&auth).unwrap();
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
            (&[][..], Shown::Nothing),
            (&["first"], Shown::Unreadable),
            (&["Bearer first"], Shown::Unreadable),
            (&["Splunk"], Shown::Unreadable),
            (&["Splunk "], Shown::Unreadable),
            (&["Basic first"], Shown::Unreadable),
            (&["Basic Zmlyc3Q="], Shown::Unreadable),
            (&["Splunk First"], Shown::Wrong),
            (&["Splunk firstx"], Shown::Wrong),
            (&["Splunkfirst first"], Shown::Unreadable),
            (&["Basic dXNlcjpmaXJzdHg="], Shown::Wrong),
        ] {
            assert_eq!(check("/", values), Some(want), "{values:?}");
        }
        assert_eq!(check("/?a=b&token=first", &[]), Some(Shown::InQuery));
        assert_eq!(check("/?xtoken=first&tokens=first", &[]), Some(Shown::Nothing));
    }
}
