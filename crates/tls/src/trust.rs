//! What a client trusts: authorities, and single certificates.
//!
//! webpki rejects the certificate of an authority as a server certificate, even if the operator has
//! listed it, as is common for self-signed certificates. Like OpenSSL, this module accepts it.

use rustls::{
    CertificateError, RootCertStore,
    client::{verify_server_cert_signed_by_trust_anchor, verify_server_name},
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{CertificateDer, UnixTime},
    server::ParsedCertificate,
};

use super::{
    inspect::Certificate,
    verifier::{CertificatePolicy, Presented},
};

/// Trusted authorities, and certificates that are trusted without an authority.
#[derive(Clone, Debug)]
pub struct Trust {
    roots: RootCertStore,
    listed: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// Trusts certificates that these authorities have signed.
    pub(super) fn in_authorities(roots: RootCertStore) -> Self {
        Self { roots, listed: Vec::new() }
    }

    /// Trusts these certificates, and certificates that they have signed.
    pub(super) fn in_listed(listed: Vec<CertificateDer<'static>>) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for certificate in &listed {
            roots.add(certificate.clone())?;
        }
        Ok(Self { roots, listed })
    }

    /// Checks that a server's certificate is trusted at a time. Does not check its name.
    pub(super) fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        at: UnixTime,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<(), rustls::Error> {
        if self.listed.iter().any(|listed| listed == certificate) {
            return Ok(verify_dates(certificate, at)?);
        }
        let parsed = ParsedCertificate::try_from(certificate)?;
        let all = algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, at, all)
    }
}

impl CertificatePolicy for Trust {
    fn check(&self, presented: &Presented<'_>) -> Result<(), rustls::Error> {
        let &Presented { certificate, intermediates, name, now, algorithms } = presented;
        self.verify(certificate, intermediates, now, algorithms)?;
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
    }
}

fn verify_dates(certificate: &[u8], at: UnixTime) -> Result<(), CertificateError> {
    let Certificate { not_before, not_after, .. } =
        Certificate::parse(certificate).ok_or(CertificateError::BadEncoding)?;
    let [before, after] = [not_before, not_after].map(|time| {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(time).unwrap_or(0)))
    });
    if at < before {
        return Err(CertificateError::NotValidYetContext { time: at, not_before: before });
    }
    if at > after {
        return Err(CertificateError::ExpiredContext { time: at, not_after: after });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::ServerName;

    use super::*;

    fn certificate(years: [i32; 2]) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["siem.example".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(years[0], 1, 1);
        params.not_after = date_time_ymd(years[1], 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn check(trust: &Trust, shown: &CertificateDer<'_>, name: &str) -> Result<(), rustls::Error> {
        trust.check(&Presented {
            certificate: shown,
            intermediates: &[],
            name: &ServerName::try_from(name).unwrap(),
            now: UnixTime::now(),
            algorithms: aws_lc_rs::default_provider().signature_verification_algorithms,
        })
    }

    #[test]
    fn a_listed_certificate_is_trusted_only_for_its_name_and_validity() {
        let own = certificate([2020, 4000]);
        let trust = Trust::in_listed(vec![own.clone()]).unwrap();
        check(&trust, &own, "siem.example").unwrap();

        let wrong_name = check(&trust, &own, "other.example").unwrap_err();
        assert!(matches!(
            wrong_name,
            rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })
        ));
        let other = check(&trust, &certificate([2020, 4000]), "siem.example").unwrap_err();
        let other = crate::explain(&other);
        assert!(other.starts_with("the certificate belongs to an authority"), "{other}");
        let unlisted = Trust::in_authorities(trust.roots);
        check(&unlisted, &own, "siem.example").unwrap_err();

        for (years, expected) in [([2000, 2001], "expired"), ([3000, 3001], "not valid yet")] {
            let own = certificate(years);
            let trust = Trust::in_listed(vec![own.clone()]).unwrap();
            let error = check(&trust, &own, "siem.example").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
