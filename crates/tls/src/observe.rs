//! A client that completes the handshake whatever the certificate is, and says what is wrong with it:
//! for who explains, and sends nothing before it has looked.

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
    verifier::{self, Judge, Presented},
};

/// What a server showed, and what verifying it found.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The server's own certificate, then whatever came with it.
    pub chain: Vec<CertificateDer<'static>>,
    /// Whether the certificate is for the name that was asked for.
    pub name: Result<(), rustls::Error>,
    /// Whether a trusted authority vouches for it, were it neither expired nor too new.
    pub trust: Result<(), rustls::Error>,
}

/// Keeps what the last handshake saw.
#[derive(Debug)]
pub struct Observer {
    trust: Trust,
    seen: Mutex<Option<Observed>>,
}

impl Observer {
    /// What the last handshake saw. It must be looked at before anything is sent.
    pub fn take(&self) -> Option<Observed> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// For a client that looks whom `trust` trusts, offers HTTP/2 and HTTP/1.1, but leaves it to the caller to look
/// at the outcome.
///
/// # Errors
/// rustls refuses its own defaults.
pub fn observing(trust: Trust) -> Result<(ClientConfig, Arc<Observer>), TlsError> {
    let observer = Arc::new(Observer { trust, seen: Mutex::new(None) });
    let judge: Arc<dyn Judge> = Arc::clone(&observer) as _;
    let mut config = verifier::client(judge)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A resumed session shows no certificate.
    config.resumption = rustls::client::Resumption::disabled();
    Ok((config, observer))
}

impl Judge for Observer {
    fn judge(&self, presented: &Presented<'_>) -> Result<(), rustls::Error> {
        let &Presented { certificate, intermediates, name, now, algorithms } = presented;
        let parsed = ParsedCertificate::try_from(certificate)?;
        let name = verify_server_name(&parsed, name);
        let at = within(certificate, now);
        let trust = self.trust.verify(certificate, intermediates, at, algorithms);
        let chain = std::iter::once(certificate).chain(intermediates);
        let chain = chain.map(|certificate| certificate.clone().into_owned()).collect();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Observed { chain, name, trust });
        Ok(())
    }
}

/// The time at which to ask for trust: now, or when the certificate was last good. Else nothing but its
/// age would be found out about one that has expired.
fn within(certificate: &[u8], now: UnixTime) -> UnixTime {
    let Some(certificate) = Certificate::parse(certificate) else { return now };
    let bounds = [certificate.not_before, certificate.not_after];
    let [Ok(first), Ok(last)] = bounds.map(u64::try_from) else { return now };
    let seconds = now.as_secs().max(first).min(last);
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}
