//! Certificate chains: whether a chain is trusted, where it ends, and the fingerprint of a certificate.

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

/// Checks that the first certificate of `chain` is trusted, regardless of its validity: an expired
/// certificate is verified at the time it expired. `now` is in Unix seconds.
///
/// # Errors
/// The certificate is not trusted, or is not for a server.
pub fn verify(chain: &[CertificateDer<'_>], trust: &Trust, now: i64) -> Result<(), rustls::Error> {
    let malformed = rustls::Error::InvalidCertificate(rustls::CertificateError::BadEncoding);
    let Some((own, others)) = chain.split_first() else { return Err(malformed) };
    let Some(certificate) = Certificate::parse(own) else { return Err(malformed) };
    let at = now.max(certificate.not_before).min(certificate.not_after);
    let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at).unwrap_or(0)));
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    trust.verify(own, others, at, algorithms)
}

/// The issuer at the end of the chain that begins with the first certificate. It is the only issuer that
/// is not among the certificates, unless the last one is self-issued.
pub fn end(chain: &[Certificate]) -> Option<&Name> {
    let mut current = chain.first()?;
    // At most one step for each certificate, since issuers may form a cycle.
    for _ in chain {
        let issuer = chain.iter().find(|it| it.subject.der == current.issuer.der);
        match issuer {
            Some(issuer) if !current.is_self_issued() => current = issuer,
            _ => break,
        }
    }
    Some(&current.issuer)
}

/// The SHA-256 digest of a certificate, in hexadecimal with colons.
pub fn fingerprint(der: &[u8]) -> String {
    // The provider exposes SHA-256 only through a cipher suite.
    let hash = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let SupportedCipherSuite::Tls13(suite) = hash else { return String::new() };
    let digest = suite.common.hash_provider.hash(der);
    let bytes: Vec<_> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}
