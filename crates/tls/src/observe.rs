//! A client that completes the handshake with any certificate and records the result of the
//! verification, for commands that explain it. They must check the result before they send anything.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{
    ClientConfig,
    client::verify_server_name,
    pki_types::{CertificateDer, UnixTime},
    server::ParsedCertificate,
};

use super::{
    TlsError, Trust,
    inspect::Certificate,
    verifier::{self, CertificatePolicy, Presented},
};

/// The certificates that a server presented, and the results of verifying them.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The server's certificate, then the certificates sent with it.
    pub chain: Vec<CertificateDer<'static>>,
    /// Whether the certificate is for the server's name.
    pub name: Result<(), rustls::Error>,
    /// Whether the certificate is trusted, regardless of its validity.
    pub trust: Result<(), rustls::Error>,
}

/// Records the verification of the last handshake.
#[derive(Debug)]
pub struct Observer {
    trust: Trust,
    last: Mutex<Option<Observed>>,
}

impl Observer {
    /// Takes the result of the last handshake. Check it before sending anything.
    pub fn take(&self) -> Option<Observed> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Builds the configuration of a client that offers HTTP/2 and HTTP/1.1. It accepts any certificate and
/// verifies it against `trust`; the caller checks the result in the [`Observer`].
///
/// # Errors
/// rustls rejects the configuration.
pub fn observing(trust: Trust) -> Result<(ClientConfig, Arc<Observer>), TlsError> {
    let observer = Arc::new(Observer { trust, last: Mutex::new(None) });
    let policy: Arc<dyn CertificatePolicy> = Arc::clone(&observer) as _;
    let mut config = verifier::client(policy)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // In a resumed session, the server presents no certificate.
    config.resumption = rustls::client::Resumption::disabled();
    Ok((config, observer))
}

impl CertificatePolicy for Observer {
    fn check(&self, presented: &Presented<'_>) -> Result<(), rustls::Error> {
        let &Presented { certificate, intermediates, name, now, algorithms } = presented;
        let parsed = ParsedCertificate::try_from(certificate)?;
        let name = verify_server_name(&parsed, name);
        let at = within(certificate, now);
        let trust = self.trust.verify(certificate, intermediates, at, algorithms);
        let chain = std::iter::once(certificate).chain(intermediates);
        let chain = chain.map(|certificate| certificate.clone().into_owned()).collect();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Observed { chain, name, trust });
        Ok(())
    }
}

/// The time closest to `now` at which the certificate is valid. At this time, the verification of an
/// expired certificate reports other problems than its age.
fn within(certificate: &[u8], now: UnixTime) -> UnixTime {
    let Some(certificate) = Certificate::parse(certificate) else { return now };
    let bounds = [certificate.not_before, certificate.not_after];
    let [Ok(first), Ok(last)] = bounds.map(u64::try_from) else { return now };
    let seconds = now.as_secs().max(first).min(last);
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}
