//! What the server shows: whose certificate it is, until when, for whom, and who vouches for it.
//!
//! In the order in which Go looks, so that the first failure is the one that Cloudflare names.

use std::{net::IpAddr, path::Path};

use jiff::Timestamp;
use rustls::{CertificateError, Error};

use tls::{
    Observed,
    inspect::{Certificate, KeyType},
};

use super::report::{Finding, Step};

/// When renewing is overdue: most authorities' tools do it 30 days before the end.
const SOON_DAYS: i64 = 21;

const DAY: i64 = 24 * 60 * 60;

/// Said whenever no path leads to an authority that is trusted.
const UNKNOWN: &str = "x509: certificate signed by unknown authority";

pub(super) fn findings(
    observed: &Observed,
    host: &str,
    ca_file: Option<&Path>,
    now: Timestamp,
) -> Vec<Finding> {
    // The first one is the server's own; what cannot be read behind it only says less.
    let own = observed.chain.split_first();
    let Some((leaf, others)) = own.and_then(|(own, others)| {
        let others: Vec<_> = others.iter().filter_map(|der| Certificate::parse(der)).collect();
        Some((Certificate::parse(own)?, others))
    }) else {
        let advice = "have it issued anew, in the usual form";
        return vec![Finding::fail(Step::Certificate, "the certificate cannot be read", advice)];
    };
    vec![
        described(&leaf, observed.chain.len() - 1),
        expiry(&leaf, now),
        name(&leaf, &observed.name, host),
        trust(&leaf, &others, &observed.trust, ca_file),
    ]
}

fn described(leaf: &Certificate, others: usize) -> Finding {
    let ours = format!(
        "{}, for {}; issued by {}; {}; sent with {others} more",
        leaf.subject,
        names(leaf),
        leaf.issuer,
        leaf.key
    );
    match leaf.key {
        KeyType::Rsa(bits) if bits < 2048 => {
            let advice = "an RSA key has 2048 bits or more: make a new one";
            Finding::warn(Step::Certificate, ours, advice)
        }
        _ => Finding::pass(Step::Certificate, ours),
    }
}

/// All that it is for.
fn names(leaf: &Certificate) -> String {
    let addresses = leaf.extensions.addresses.iter().map(IpAddr::to_string);
    let names: Vec<_> = leaf.extensions.dns_names.iter().cloned().chain(addresses).collect();
    if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") }
}

fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .map_or_else(|_| "the end of time".to_owned(), |it| it.to_string())
}

fn expiry(leaf: &Certificate, now: Timestamp) -> Finding {
    let (now, first, last) = (now.as_second(), leaf.not_before, leaf.not_after);
    let words = |relation: &str, bound: i64| {
        format!(
            "x509: certificate has expired or is not yet valid: current time {} is {relation} {}",
            time(now),
            time(bound)
        )
    };
    if now > last {
        let ours = format!("expired on {}", time(last));
        let advice = "renew it, and find out why that did not happen by itself; the daemon takes over a renewed \
                      file by itself";
        return Finding::fail(Step::Expiry, ours, advice).cloudflare(words("after", last));
    }
    if now < first {
        let ours = format!("not valid before {}", time(first));
        let advice = "see that the clocks of this machine and of whoever issued it are right";
        return Finding::fail(Step::Expiry, ours, advice).cloudflare(words("before", first));
    }
    let ours = format!("valid until {}, {} days more", time(last), (last - now) / DAY);
    if last - now < SOON_DAYS * DAY {
        return Finding::warn(
            Step::Expiry,
            ours,
            "renew it now, and see that this happens by itself",
        );
    }
    Finding::pass(Step::Expiry, ours)
}

fn name(leaf: &Certificate, outcome: &Result<(), Error>, host: &str) -> Finding {
    if outcome.is_ok() {
        return Finding::pass(Step::Name, format!("it is for {host}"));
    }
    let extensions = &leaf.extensions;
    let ours = format!("it is for {}, not for {host}", names(leaf));
    if host.parse::<IpAddr>().is_ok() {
        let advice = "write a name of the certificate in the destination in place of the address";
        let finding = Finding::fail(Step::Name, ours, advice);
        if extensions.addresses.is_empty() {
            let why = "because it doesn't contain any IP SANs";
            return finding
                .cloudflare(format!("x509: cannot validate certificate for {host} {why}"));
        }
        let listed: Vec<_> = extensions.addresses.iter().map(IpAddr::to_string).collect();
        let listed = listed.join(", ");
        return finding.cloudflare(format!("x509: certificate is valid for {listed}, not {host}"));
    }
    let advice = format!(
        "write a name of the certificate in the destination, or have one issued with {host} as a subject \
         alternative name"
    );
    let finding = Finding::fail(Step::Name, ours, advice);
    let is_common_name = leaf.subject.common_name() == Some(host);
    if extensions.dns_names.is_empty() && extensions.addresses.is_empty() && is_common_name {
        return finding
            .cloudflare("x509: certificate relies on legacy Common Name field, use SANs instead");
    }
    finding.cloudflare(if extensions.dns_names.is_empty() {
        format!("x509: certificate is not valid for any names, but wanted to match {host}")
    } else {
        let listed = extensions.dns_names.join(", ");
        format!("x509: certificate is valid for {listed}, not {host}")
    })
}

fn trust(
    leaf: &Certificate,
    others: &[Certificate],
    outcome: &Result<(), Error>,
    ca_file: Option<&Path>,
) -> Finding {
    let Err(error) = outcome else {
        return Finding::pass(
            Step::Chain,
            match ca_file {
                Some(path) => {
                    format!("trusted by {}, which says nothing of Cloudflare", path.display())
                }
                None => "trusted by an authority of Mozilla's list".to_owned(),
            },
        );
    };
    let fail = |ours: String, advice: &str| Finding::fail(Step::Chain, ours, advice);
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            untrusted(leaf, others).cloudflare(UNKNOWN)
        }
        Error::InvalidCertificate(CertificateError::BadSignature) => fail(
            "a certificate has the issuer's name, but not its signature".to_owned(),
            "put the certificates into the file that the authority delivered together",
        )
        .cloudflare(UNKNOWN),
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => fail(
            "a certificate behind the server's own has expired".to_owned(),
            "fetch the chain anew from the authority",
        )
        .cloudflare("x509: certificate has expired or is not yet valid"),
        Error::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
        ) => fail(
            "it is not meant for servers".to_owned(),
            "have one issued with the extended key usage serverAuth",
        )
        .cloudflare("x509: certificate specifies an incompatible key usage"),
        other => fail(
            format!("it cannot be verified: {other}"),
            "have one issued by a public authority, such as Let's Encrypt",
        ),
    }
}

/// Why no path leads to a trusted authority.
fn untrusted(leaf: &Certificate, others: &[Certificate]) -> Finding {
    const GET_ONE: &str = "get one from a public authority, such as Let's Encrypt: Cloudflare trusts no other; to \
                           try a private one from here, name its authority with --ca";
    const FULL_CHAIN: &str = "the file that cert_file names must hold the server's certificate and then every \
                              intermediate one: certbot calls it fullchain.pem, not cert.pem";
    let fail = |ours: String, advice: &str| Finding::fail(Step::Chain, ours, advice);
    if leaf.is_self_issued() {
        return fail("it is self-signed: nobody vouches for it".to_owned(), GET_ONE);
    }
    let mut last = leaf;
    // Each can be the issuer of one at most, so a ring ends as well.
    for _ in others {
        let is_issuer = |other: &&Certificate| other.subject.der == last.issuer.der;
        match others.iter().find(is_issuer) {
            Some(issuer) if !last.is_self_issued() => last = issuer,
            _ => break,
        }
    }
    if last.is_self_issued() {
        let ours = format!("it leads to a private authority, {}", last.subject);
        return fail(ours, GET_ONE);
    }
    let is_linked = last.subject.der != leaf.subject.der;
    if !others.is_empty() && !is_linked {
        let ours =
            format!("none of the certificates sent with it is of its issuer, {}", leaf.issuer);
        return fail(ours, FULL_CHAIN);
    }
    let is_public = leaf.extensions.is_publicly_logged || leaf.extensions.has_issuer_url;
    let issuer = &last.issuer;
    if is_public {
        let ours = format!("an intermediate certificate is missing: that of {issuer} is not sent");
        return fail(ours, FULL_CHAIN);
    }
    let ours = format!(
        "{issuer} is not known: an intermediate certificate is missing, or it is a private authority"
    );
    fail(ours, &format!("if it is missing, {FULL_CHAIN}; if it is private, {GET_ONE}"))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair};
    use rustls::pki_types::CertificateDer;

    use super::*;
    use crate::doctor::report::Outcome;

    fn params(names: &[&str]) -> CertificateParams {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "localhost");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 3, 1);
        params
    }

    fn made(params: &CertificateParams) -> CertificateDer<'static> {
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn unknown() -> Result<(), Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    #[test]
    fn the_end_is_seen_coming_three_weeks_before() {
        let leaf = Certificate::parse(&made(&params(&[]))).unwrap();
        for (now, outcome) in [
            ("2025-12-31T23:59:59Z", Outcome::Fail),
            ("2026-01-01T00:00:00Z", Outcome::Pass),
            ("2026-02-08T00:00:00Z", Outcome::Pass),
            ("2026-02-08T00:00:01Z", Outcome::Warn),
            ("2026-03-01T00:00:00Z", Outcome::Warn),
            ("2026-03-01T00:00:01Z", Outcome::Fail),
        ] {
            assert_eq!(expiry(&leaf, now.parse().unwrap()).outcome, outcome, "{now}");
        }
    }

    #[test]
    fn a_name_that_is_no_subject_alternative_name_is_said() {
        let leaf = Certificate::parse(&made(&params(&[]))).unwrap();
        let wrong = Err(CertificateError::NotValidForName.into());
        let words = name(&leaf, &wrong, "localhost").cloudflare.unwrap();
        assert!(words.contains("relies on legacy Common Name field"), "{words}");
    }

    #[test]
    fn a_receipt_of_a_public_log_tells_a_public_authority() {
        let mut params = params(&["localhost"]);
        let authority = CertificateParams::default();
        let issuer = rcgen::Issuer::from_params(&authority, KeyPair::generate().unwrap());
        for (is_logged, part) in [(false, "or it is a private authority"), (true, "is not sent")] {
            if is_logged {
                let oid = [1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];
                let receipt = CustomExtension::from_oid_content(&oid, vec![4, 0]);
                params.custom_extensions.push(receipt);
            }
            params.distinguished_name.push(DnType::CommonName, "leaf");
            let der = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
            let leaf = Certificate::parse(der.der()).unwrap();
            let finding = trust(&leaf, &[], &unknown(), None);
            assert!(finding.ours.contains(part), "{finding:?}");
        }
    }

    #[test]
    fn a_ring_of_certificates_has_an_end() {
        let ring = Certificate::parse(&made(&params(&[]))).unwrap();
        let (mut one, mut two) = (ring.clone(), ring);
        one.issuer.der = b"two".to_vec();
        two.subject.der = b"two".to_vec();
        two.issuer.der = one.subject.der.clone();
        let others = [two, one.clone(), one.clone()];
        assert_eq!(trust(&one, &others, &unknown(), None).outcome, Outcome::Fail);
    }

    #[test]
    fn what_is_no_certificate_is_said() {
        let damaged = CertificateDer::from(vec![1, 2, 3]);
        let other = made(&params(&[]));
        // Another one behind it is not taken for the server's own.
        for chain in [vec![], vec![damaged.clone()], vec![damaged.clone(), other.clone()]] {
            let observed = Observed { chain, name: Ok(()), trust: Ok(()) };
            let findings = findings(&observed, "localhost", None, Timestamp::UNIX_EPOCH);
            assert_eq!(findings.len(), 1);
            assert_eq!(findings[0].outcome, Outcome::Fail);
            assert_eq!(findings[0].ours, "the certificate cannot be read");
        }
        let observed = Observed { chain: vec![other, damaged], name: Ok(()), trust: Ok(()) };
        let findings = findings(&observed, "localhost", None, Timestamp::UNIX_EPOCH);
        assert!(findings[0].ours.ends_with("sent with 1 more"), "{:?}", findings[0]);
    }
}
