//! Answers the ACME challenge TLS-ALPN-01 (RFC 8737), which proves control of a domain name.
//!
//! The directory connects and offers only the protocol `acme-tls/1`. It receives a certificate with the
//! digest that was agreed on, and closes the connection.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::PrivatePkcs8KeyDer,
    server::ClientHello,
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::TlsError;

/// RFC 8737, section 6.2.
const PROTOCOL: &[u8] = b"acme-tls/1";

/// The answers to pending challenges, by domain name.
#[derive(Debug, Default)]
pub(super) struct Challenges(RwLock<HashMap<String, Arc<ServerConfig>>>);

impl Challenges {
    /// Answers the challenge for `domain` from now on, with a SHA-256 digest.
    pub(super) fn answer(&self, domain: &str, digest: &[u8; 32]) -> Result<(), TlsError> {
        let config = Arc::new(config(domain, digest)?);
        let mut challenges = self.0.write().unwrap_or_else(PoisonError::into_inner);
        challenges.insert(domain.to_owned(), config);
        Ok(())
    }

    /// Stops answering all challenges.
    pub(super) fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The configuration for a `ClientHello` that requests a pending challenge.
    pub(super) fn find(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        let mut offered = hello.alpn()?;
        if offered.next() != Some(PROTOCOL) || offered.next().is_some() {
            return None;
        }
        let domain = hello.server_name()?.to_ascii_lowercase();
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&domain).cloned()
    }
}

/// Never asks for a client certificate, since a directory has none.
fn config(domain: &str, digest: &[u8; 32]) -> Result<ServerConfig, TlsError> {
    let mut params =
        CertificateParams::new(vec![domain.to_owned()]).map_err(TlsError::Challenge)?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate().map_err(TlsError::Challenge)?;
    let certificate = params.self_signed(&key).map_err(TlsError::Challenge)?;

    let provider = Arc::new(aws_lc_rs::default_provider());
    let certified = certified(&certificate, &key, &provider).map_err(TlsError::Setup)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(config)
}

fn certified(
    certificate: &rcgen::Certificate,
    key: &KeyPair,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, rustls::Error> {
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let key = provider.key_provider.load_private_key(key.into())?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}
