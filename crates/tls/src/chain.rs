//! Whether a chain leads to somebody who is trusted, and by what people tell certificates apart.

use std::time::Duration;

use rustls::{
    SupportedCipherSuite,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, UnixTime},
};

use super::{
    Trust,
    inspect::{Certificate, Name},
};

/// Whether the first certificate of `chain` is trusted, were it neither expired
/// nor too new. `now` is in seconds since 1970.
///
/// # Errors
/// It is not, or it is not for a server.
pub fn verify(chain: &[CertificateDer<'_>], trust: &Trust, now: i64) -> Result<(), rustls::Error> {
    let malformed = rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding);
    let Some((own, others)) = chain.split_first() else { return Err(malformed) };
    let Some(certificate) = Certificate::parse(own) else { return Err(malformed) };
    let at = now.max(certificate.not_before).min(certificate.not_after);
    let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at).unwrap_or(0)));
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    trust.verify(own, others, at, algorithms)
}

/// Where a chain ends that begins with the first of these: the issuer that is not among them.
pub fn end(chain: &[Certificate]) -> Option<&Name> {
    let mut current = chain.first()?;
    // No longer than there are certificates, for they may lead in a circle.
    for _ in chain {
        let issuer = chain.iter().find(|it| it.subject.der == current.issuer.der);
        match issuer {
            Some(issuer) if !current.is_self_issued() => current = issuer,
            _ => break,
        }
    }
    Some(&current.issuer)
}

/// The digest (SHA-256) of a certificate, in hexadecimal with colons.
pub fn fingerprint(der: &[u8]) -> String {
    // The provider's own, found where it keeps it.
    let hash = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let SupportedCipherSuite::Tls13(suite) = hash else { return String::new() };
    let digest = suite.common.hash_provider.hash(der);
    let bytes: Vec<_> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}
