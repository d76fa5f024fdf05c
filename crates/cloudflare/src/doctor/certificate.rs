//! The certificate steps: contents, validity period, host name and chain of trust.
//!
//! The order is that of Go, so that the first failure is the one that Cloudflare reports.

use std::{net::IpAddr, path::Path};

use jiff::Timestamp;
use rustls::{CertificateError, Error};

use tls::{
    Observed,
    inspect::{Certificate, KeyType},
};

use super::report::{DoctorStep, Finding};

/// The days before expiry from which on renewal is overdue. Most clients renew 30 days before.
const RENEWAL_DAYS: i64 = 21;

const DAY: i64 = 24 * 60 * 60;

/// Cloudflare's message for a chain that does not end at a trusted authority.
const UNKNOWN_AUTHORITY: &str = "x509: certificate signed by unknown authority";

pub(super) fn findings(
    observed: &Observed,
    host: &str,
    ca_file: Option<&Path>,
    now: Timestamp,
) -> Vec<Finding> {
    // The first certificate is the server's. The others are optional, so unreadable ones are ignored.
    let own = observed.chain.split_first();
    let Some((leaf, others)) = own.and_then(|(own, others)| {
        let others: Vec<_> = others.iter().filter_map(|der| Certificate::parse(der)).collect();
        Some((Certificate::parse(own)?, others))
    }) else {
        let advice = "get a new certificate in X.509 format";
        return vec![Finding::fail(
            DoctorStep::Certificate,
            "the certificate cannot be read",
            advice,
        )];
    };
    vec![
        describe(&leaf, observed.chain.len() - 1),
        expiry(&leaf, now),
        name(&leaf, &observed.name, host),
        trust(&leaf, &others, &observed.trust, ca_file),
    ]
}

fn describe(leaf: &Certificate, others: usize) -> Finding {
    let message = format!(
        "{}, for {}; issued by {}; {}; with {others} more in the chain",
        leaf.subject,
        names(leaf),
        leaf.issuer,
        leaf.key
    );
    match leaf.key {
        KeyType::Rsa(bits) if bits < 2048 => {
            let advice = "an RSA key needs at least 2048 bits: create a new key";
            Finding::warn(DoctorStep::Certificate, message, advice)
        }
        _ => Finding::pass(DoctorStep::Certificate, message),
    }
}

/// Lists the subject alternative names.
fn names(leaf: &Certificate) -> String {
    let addresses = leaf.extensions.addresses.iter().map(IpAddr::to_string);
    let names: Vec<_> = leaf.extensions.dns_names.iter().cloned().chain(addresses).collect();
    if names.is_empty() { "no host name".to_owned() } else { names.join(", ") }
}

fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .map_or_else(|_| "the end of time".to_owned(), |it| it.to_string())
}

fn expiry(leaf: &Certificate, now: Timestamp) -> Finding {
    let (now, first, last) = (now.as_second(), leaf.not_before, leaf.not_after);
    let go_message = |relation: &str, bound: i64| {
        format!(
            "x509: certificate has expired or is not yet valid: current time {} is {relation} {}",
            time(now),
            time(bound)
        )
    };
    if now > last {
        let message = format!("expired on {}", time(last));
        let advice = "renew the certificate, and find out why automatic renewal failed; the daemon loads a renewed \
                      file automatically";
        return Finding::fail(DoctorStep::Expiry, message, advice)
            .cloudflare(go_message("after", last));
    }
    if now < first {
        let message = format!("not valid before {}", time(first));
        let advice = "check the clocks of this machine and of the issuer";
        return Finding::fail(DoctorStep::Expiry, message, advice)
            .cloudflare(go_message("before", first));
    }
    let message = format!("valid until {}, for {} days", time(last), (last - now) / DAY);
    if last - now < RENEWAL_DAYS * DAY {
        return Finding::warn(
            DoctorStep::Expiry,
            message,
            "renew the certificate now, and set up automatic renewal",
        );
    }
    Finding::pass(DoctorStep::Expiry, message)
}

fn name(leaf: &Certificate, outcome: &Result<(), Error>, host: &str) -> Finding {
    if outcome.is_ok() {
        return Finding::pass(DoctorStep::Name, format!("valid for {host}"));
    }
    let extensions = &leaf.extensions;
    let message = format!("valid for {}, not for {host}", names(leaf));
    if host.parse::<IpAddr>().is_ok() {
        let advice = "use a name from the certificate in the destination instead of the IP address";
        let finding = Finding::fail(DoctorStep::Name, message, advice);
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
        "use a name from the certificate in the destination, or get a certificate with {host} as a subject \
         alternative name"
    );
    let finding = Finding::fail(DoctorStep::Name, message, advice);
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
            DoctorStep::Chain,
            match ca_file {
                Some(path) => {
                    format!("trusted by {}; Cloudflare may not trust it", path.display())
                }
                None => "trusted by a public authority (Mozilla's list)".to_owned(),
            },
        );
    };
    let fail = |message: String, advice: &str| Finding::fail(DoctorStep::Chain, message, advice);
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            explain_untrusted(leaf, others).cloudflare(UNKNOWN_AUTHORITY)
        }
        Error::InvalidCertificate(CertificateError::BadSignature) => fail(
            "a certificate is not signed by the key of its issuer".to_owned(),
            "use the certificates that the authority issued together",
        )
        .cloudflare(UNKNOWN_AUTHORITY),
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => fail(
            "an intermediate certificate has expired".to_owned(),
            "get a new chain from the authority",
        )
        .cloudflare("x509: certificate has expired or is not yet valid"),
        Error::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
        ) => fail(
            "the certificate is not a server certificate".to_owned(),
            "get a certificate with the extended key usage serverAuth",
        )
        .cloudflare("x509: certificate specifies an incompatible key usage"),
        other => fail(
            format!("the certificate cannot be verified: {other}"),
            "get a certificate from a public authority, such as Let's Encrypt",
        ),
    }
}

/// Explains why the chain does not end at a trusted authority.
fn explain_untrusted(leaf: &Certificate, others: &[Certificate]) -> Finding {
    const GET_ONE: &str = "get a certificate from a public authority, such as Let's Encrypt: Cloudflare trusts no \
                           others; to test with a private authority, pass its certificate with --ca";
    const FULL_CHAIN: &str = "cert_file must contain the server's certificate followed by every intermediate \
                              certificate: use certbot's fullchain.pem, not cert.pem";
    let fail = |message: String, advice: &str| Finding::fail(DoctorStep::Chain, message, advice);
    if leaf.is_self_issued() {
        return fail("the certificate is self-signed".to_owned(), GET_ONE);
    }
    let mut last = leaf;
    // At most one step for each certificate, so that a cycle ends.
    for _ in others {
        let is_issuer = |other: &&Certificate| other.subject.der == last.issuer.der;
        match others.iter().find(is_issuer) {
            Some(issuer) if !last.is_self_issued() => last = issuer,
            _ => break,
        }
    }
    if last.is_self_issued() {
        let message = format!("the chain ends at a private authority, {}", last.subject);
        return fail(message, GET_ONE);
    }
    let is_linked = last.subject.der != leaf.subject.der;
    if !others.is_empty() && !is_linked {
        let message =
            format!("the chain does not contain the certificate of the issuer, {}", leaf.issuer);
        return fail(message, FULL_CHAIN);
    }
    let is_public = leaf.extensions.is_publicly_logged || leaf.extensions.has_issuer_url;
    let issuer = &last.issuer;
    if is_public {
        let message = format!("the server does not send the intermediate certificate of {issuer}");
        return fail(message, FULL_CHAIN);
    }
    let message = format!(
        "{issuer} is unknown: its intermediate certificate is missing, or it is a private authority"
    );
    fail(
        message,
        &format!(
            "if the intermediate is missing, {FULL_CHAIN}; if the authority is private, {GET_ONE}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair};
    use rustls::pki_types::CertificateDer;

    use super::*;
    use crate::doctor::report::StepOutcome;

    fn params(names: &[&str]) -> CertificateParams {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "localhost");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 3, 1);
        params
    }

    fn self_signed(params: &CertificateParams) -> CertificateDer<'static> {
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn unknown() -> Result<(), Error> {
        Err(CertificateError::UnknownIssuer.into())
    }

    #[test]
    fn expiry_is_a_warning_three_weeks_before() {
        let leaf = Certificate::parse(&self_signed(&params(&[]))).unwrap();
        for (now, outcome) in [
            ("2025-12-31T23:59:59Z", StepOutcome::Fail),
            ("2026-01-01T00:00:00Z", StepOutcome::Pass),
            ("2026-02-08T00:00:00Z", StepOutcome::Pass),
            ("2026-02-08T00:00:01Z", StepOutcome::Warn),
            ("2026-03-01T00:00:00Z", StepOutcome::Warn),
            ("2026-03-01T00:00:01Z", StepOutcome::Fail),
        ] {
            assert_eq!(expiry(&leaf, now.parse().unwrap()).outcome, outcome, "{now}");
        }
    }

    #[test]
    fn a_common_name_without_a_subject_alternative_name_fails() {
        let leaf = Certificate::parse(&self_signed(&params(&[]))).unwrap();
        let wrong = Err(CertificateError::NotValidForName.into());
        let message = name(&leaf, &wrong, "localhost").cloudflare.unwrap();
        assert!(message.contains("relies on legacy Common Name field"), "{message}");
    }

    #[test]
    fn a_certificate_with_a_signed_timestamp_has_a_public_issuer() {
        let mut params = params(&["localhost"]);
        let authority = CertificateParams::default();
        let issuer = rcgen::Issuer::from_params(&authority, KeyPair::generate().unwrap());
        for (is_logged, part) in [(false, "or it is a private authority"), (true, "does not send")]
        {
            if is_logged {
                let oid = [1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];
                let timestamps = CustomExtension::from_oid_content(&oid, vec![4, 0]);
                params.custom_extensions.push(timestamps);
            }
            params.distinguished_name.push(DnType::CommonName, "leaf");
            let der = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
            let leaf = Certificate::parse(der.der()).unwrap();
            let finding = trust(&leaf, &[], &unknown(), None);
            assert!(finding.message.contains(part), "{finding:?}");
        }
    }

    #[test]
    fn a_cycle_of_issuers_ends() {
        let cycle = Certificate::parse(&self_signed(&params(&[]))).unwrap();
        let (mut one, mut two) = (cycle.clone(), cycle);
        one.issuer.der = b"two".to_vec();
        two.subject.der = b"two".to_vec();
        two.issuer.der = one.subject.der.clone();
        let others = [two, one.clone(), one.clone()];
        assert_eq!(trust(&one, &others, &unknown(), None).outcome, StepOutcome::Fail);
    }

    #[test]
    fn an_unreadable_certificate_fails() {
        let damaged = CertificateDer::from(vec![1, 2, 3]);
        let other = self_signed(&params(&[]));
        // The second certificate does not count as the server's.
        for chain in [vec![], vec![damaged.clone()], vec![damaged.clone(), other.clone()]] {
            let observed = Observed { chain, name: Ok(()), trust: Ok(()) };
            let findings = findings(&observed, "localhost", None, Timestamp::UNIX_EPOCH);
            assert_eq!(findings.len(), 1);
            assert_eq!(findings[0].outcome, StepOutcome::Fail);
            assert_eq!(findings[0].message, "the certificate cannot be read");
        }
        let observed = Observed { chain: vec![other, damaged], name: Ok(()), trust: Ok(()) };
        let findings = findings(&observed, "localhost", None, Timestamp::UNIX_EPOCH);
        assert!(findings[0].message.ends_with("with 1 more in the chain"), "{:?}", findings[0]);
    }
}
