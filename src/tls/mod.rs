//! Certificates and keys: PEM files in, a checked [`ServerConfig`] out, and its exchange while the
//! daemon runs.
//!
//! The only file that touches rustls-pemfile and that decides what rustls may speak. It knows
//! nothing of sockets: `serve` does the handshake with the configuration handed out here.

mod acceptor;
mod client;
mod error;
mod expiry;
mod leaf;
mod pinned;
mod self_signed;
mod watch;

use std::{fs, path::Path, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use rustls_pemfile::Item;

use crate::config::{self, TlsVersion};

pub use self::{
    acceptor::Acceptor,
    client::{client, public, public_roots},
    error::TlsError,
    expiry::{Expiry, Reminder},
    pinned::pinned,
    watch::{Change, Watch},
};
use self::{
    error::{Found, Role},
    leaf::Leaf,
};

const INCOMPLETE: &str =
    "cert_file holds a single certificate: cloudflare needs the intermediates behind it, too";

/// What [`load`] made of the files.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Ready to accept with.
    pub config: Arc<ServerConfig>,
    /// When the server's own certificate expires, in seconds since 1970.
    pub not_after: i64,
    /// The file holds one certificate that another one issued: intermediates are probably missing,
    /// and then Cloudflare refuses the connection.
    pub chain_looks_incomplete: bool,
}

impl Loaded {
    /// What does not keep it from being used, and will keep Cloudflare from connecting.
    pub fn warnings(&self) -> Vec<String> {
        let expiry = Expiry::of(self.not_after, jiff::Timestamp::now().as_second());
        let expiry = expiry.map(|expiry| expiry.text(self.not_after));
        let chain = self.chain_looks_incomplete.then(|| INCOMPLETE.to_owned());
        expiry.into_iter().chain(chain).collect()
    }
}

/// Reads and checks certificate, key and client authorities. Writes nothing.
///
/// # Errors
/// A file cannot be read, does not hold what it should, or key and certificate do not belong
/// together. The message says which file and what to do.
pub fn load(tls: &config::Tls) -> Result<Loaded, TlsError> {
    let chain = read_certificates(&tls.cert_file, Role::Certificate)?;
    let key = read_key(&tls.key_file)?;
    let provider = Arc::new(aws_lc_rs::default_provider());

    let unusable = || TlsError::UnreadableCertificate { path: tls.cert_file.clone() };
    let leaf = chain.first().and_then(|first| Leaf::parse(first)).ok_or_else(unusable)?;
    let chain_looks_incomplete = chain.len() == 1 && !leaf.self_issued;
    let certified = certify(chain, key, &provider, (&tls.cert_file, &tls.key_file))?;

    let versions: &[_] = match tls.min_version {
        TlsVersion::V1_2 => &[&TLS13, &TLS12],
        TlsVersion::V1_3 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(TlsError::Setup)?;
    let builder = match &tls.client_ca_file {
        Some(path) => builder.with_client_cert_verifier(client_verifier(path, provider)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];

    Ok(Loaded { config: Arc::new(config), not_after: leaf.not_after, chain_looks_incomplete })
}

fn certify(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
    (cert_file, key_file): (&Path, &Path),
) -> Result<CertifiedKey, TlsError> {
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|source| TlsError::UnusableKey { path: key_file.into(), source })?;
    let certified = CertifiedKey::new(chain, key);

    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch {
            cert_file: cert_file.into(),
            key_file: key_file.into(),
            // A chain in the wrong order is the usual way to get here with the right files.
            belongs_to: certified.cert.iter().position(|certificate| {
                let alone = vec![certificate.clone()];
                CertifiedKey::new(alone, Arc::clone(&certified.key)).keys_match().is_ok()
            }),
        }),
        Err(source) => Err(TlsError::UnusableCertificate { path: cert_file.into(), source }),
    }
}

fn client_verifier(
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in read_certificates(path, Role::ClientCa)? {
        roots
            .add(authority)
            .map_err(|source| TlsError::UnusableCertificate { path: path.into(), source })?;
    }
    // Without `allow_unauthenticated` a client that shows nothing is refused.
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| TlsError::Setup(rustls::Error::General(error.to_string())))
}

fn read_certificates(path: &Path, role: Role) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(path, role)?;
    let mut found = Found::look(&pem);
    let mut certificates = Vec::new();
    for item in rustls_pemfile::read_all(&mut pem.as_slice()) {
        match item.map_err(|source| TlsError::BadPem { path: path.into(), source })? {
            Item::X509Certificate(certificate) => certificates.push(certificate),
            Item::Pkcs1Key(_) | Item::Pkcs8Key(_) | Item::Sec1Key(_) => found = Found::Key,
            Item::Csr(_) => found = Found::Request,
            _ => {}
        }
    }
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { role, path: path.into(), found });
    }
    Ok(certificates)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read(path, Role::Key)?;
    let mut found = Found::look(&pem);
    if matches!(found, Found::EncryptedKey) {
        return Err(TlsError::EncryptedKey { path: path.into() });
    }
    for item in rustls_pemfile::read_all(&mut pem.as_slice()) {
        match item.map_err(|source| TlsError::BadPem { path: path.into(), source })? {
            Item::Pkcs1Key(key) => return Ok(key.into()),
            Item::Pkcs8Key(key) => return Ok(key.into()),
            Item::Sec1Key(key) => return Ok(key.into()),
            Item::X509Certificate(_) => found = Found::Certificate,
            Item::Csr(_) => found = Found::Request,
            _ => {}
        }
    }
    Err(TlsError::NoKey { path: path.into(), found })
}

fn read(path: &Path, role: Role) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { role, path: path.into(), source })
}

#[cfg(test)]
mod tests;
