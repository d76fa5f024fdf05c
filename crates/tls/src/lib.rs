//! Certificates and keys: reads PEM files into a checked [`ServerConfig`], and replaces it while the
//! daemon runs.
//!
//! Only this file uses rustls-pemfile and chooses the protocol versions of rustls. The crate does not
//! use sockets: `serve` performs the handshake with the configuration from here.

mod acceptor;
pub mod chain;
mod challenge;
mod client;
mod content;
mod error;
mod expiry;
mod explain;
pub mod inspect;
mod observe;
mod pem;
mod pinned;
mod self_signed;
mod server_certificate;
mod settings;
mod trust;
mod verifier;
mod watch;

use std::{fs, path::Path, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use rustls_pemfile::Item;
use tracing::warn;

pub use self::{
    acceptor::{Acceptor, Prepared},
    client::{client, public, public_trust},
    error::{Role, TlsError},
    expiry::{Expiry, Reminder, Renewal, Validity},
    explain::{Advice, explain, explain_io},
    observe::{Observed, Observer, observing},
    pinned::pinned,
    server_certificate::{ServerCertificate, server_certificate},
    settings::{Acme, ClientTls, Tls, TlsVersion},
    trust::Trust,
    watch::{FilesChange, Watch},
};
use self::{
    content::FileContent,
    inspect::Certificate,
    pem::{Block, PemFault},
};

/// The result of [`load`].
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration to accept connections with.
    pub config: Arc<ServerConfig>,
    /// The server's certificate. With ACME it may be missing at first; every handshake fails then.
    pub certificate: Option<Identity>,
    /// The verifier of client certificates, if they are required.
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Loaded {
    /// Replaces the certificate.
    fn with_certificate(self, certificate: Identity) -> Self {
        let mut config = (*self.config).clone();
        config.cert_resolver = Arc::new(ShownCertificate(Some(Arc::clone(&certificate.certified))));
        Self { config: Arc::new(config), certificate: Some(certificate), clients: self.clients }
    }
}

/// The server's certificate chain and its private key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The validity of the certificate. `None` if it cannot be parsed here: rustls accepts some
    /// certificates that [`Certificate::parse`] does not.
    pub validity: Option<Validity>,
    /// The chain is a single certificate that is not self-issued, so its intermediates are probably
    /// missing, and Cloudflare would refuse the connection.
    pub misses_intermediates: bool,
    certified: Arc<CertifiedKey>,
}

impl Identity {
    fn read(tls: &Tls) -> Result<Self, TlsError> {
        let chain = read(&tls.cert_file, Role::Certificate)?;
        let key = read(&tls.key_file, Role::Key)?;
        Self::of((&chain, &tls.cert_file), (&key, &tls.key_file))
    }

    /// Checks a chain and a key in PEM. The paths are for errors.
    fn of(
        (chain, cert_file): (&[u8], &Path),
        (key, key_file): (&[u8], &Path),
    ) -> Result<Self, TlsError> {
        let chain = certificates_in(chain, cert_file, Role::Certificate)?;
        let key = key_in(key, key_file)?;
        let leaf = chain.first().and_then(|first| Certificate::parse(first));
        let misses_intermediates =
            chain.len() == 1 && leaf.as_ref().is_some_and(|leaf| !leaf.is_self_issued());
        let validity =
            leaf.map(|leaf| Validity { not_before: leaf.not_before, not_after: leaf.not_after });
        let certified = certify(chain, key, &aws_lc_rs::default_provider(), (cert_file, key_file))?;
        Ok(Self { validity, misses_intermediates, certified: Arc::new(certified) })
    }

    /// Returns itself if its validity is known. Without it, the time of the renewal is unknown.
    fn require_validity(self, path: &Path) -> Result<Self, TlsError> {
        match self.validity {
            Some(_) => Ok(self),
            None => Err(TlsError::UnreadableCertificate { path: path.into() }),
        }
    }

    /// The certificate and its intermediates.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// Problems that keep Cloudflare from connecting, now or soon.
    pub fn warnings(&self, tls: &Tls) -> Vec<String> {
        let now = jiff::Timestamp::now().as_second();
        let expiry = self.validity.and_then(|validity| {
            let expiry = Expiry::of(validity, tls.into(), now)?;
            Some(expiry.text(validity, tls.into()))
        });
        expiry.into_iter().chain(self.permanent_warnings().map(str::to_owned)).collect()
    }

    /// Problems that do not depend on the time.
    fn permanent_warnings(&self) -> impl Iterator<Item = &'static str> {
        let unparsed = self.validity.is_none().then_some(UNPARSED);
        unparsed.into_iter().chain(self.misses_intermediates.then_some(MISSES_INTERMEDIATES))
    }
}

const MISSES_INTERMEDIATES: &str = "cert_file contains a single certificate: Cloudflare also needs its intermediates; append them to the file";

const UNPARSED: &str = "the first certificate of cert_file has an unusual encoding: it is used, but logpushd cannot warn \
                        before it expires, and Cloudflare may refuse it; have it issued again in the usual form";

/// Reads and checks certificate, key and client authorities. Writes nothing.
///
/// # Errors
/// A file cannot be read or has the wrong content, or certificate and key are not a pair. The message
/// names the file and what to do.
pub fn load(tls: &Tls) -> Result<Loaded, TlsError> {
    let read = Identity::read(tls).and_then(|certificate| match tls.acme {
        Some(_) => certificate.require_validity(&tls.cert_file),
        None => Ok(certificate),
    });
    let certificate = match read {
        Ok(certificate) => Some(certificate),
        // ACME obtains a missing certificate, and replaces a damaged one.
        Err(error) if tls.acme.is_some() && !error.is_denied() => {
            if !error.is_missing() {
                warn!(%error, "cannot use the certificate in server.tls.acme.cache_dir, requesting a new one");
            }
            None
        }
        Err(error) => return Err(error),
    };
    let clients = tls.client_ca_file.as_deref().map(client_verifier).transpose()?;
    let config = server_config(tls, certificate.as_ref(), clients.clone())?;
    Ok(Loaded { config, certificate, clients })
}

/// Checks PEM before it is written to `path`: a chain, and the key of its first certificate.
///
/// # Errors
/// See [`load`].
pub fn check_pem(pem: &[u8], path: &Path) -> Result<(), TlsError> {
    Identity::of((pem, path), (pem, path))?.require_validity(path).map(drop)
}

/// Parses the certificates in PEM; at least one. `path` is for errors.
///
/// # Errors
/// The PEM contains no certificate, or is damaged.
pub fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates_in(pem, path, Role::Certificate)
}

/// Reads a private key.
///
/// # Errors
/// See [`load`].
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    read_key(path)
}

/// Checks that a key belongs to the first certificate of a chain. `source` is where the chain is from,
/// for errors.
///
/// # Errors
/// See [`load`].
pub fn check_key(
    chain: Vec<CertificateDer<'static>>,
    source: &Path,
    key_file: &Path,
) -> Result<(), TlsError> {
    let key = read_key(key_file)?;
    certify(chain, key, &aws_lc_rs::default_provider(), (source, key_file)).map(drop)
}

fn server_config(
    tls: &Tls,
    certificate: Option<&Identity>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions: &[_] = match tls.min_version {
        TlsVersion::V1_2 => &[&TLS13, &TLS12],
        TlsVersion::V1_3 => &[&TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(TlsError::Setup)?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients),
        None => builder.with_no_client_auth(),
    };
    let shown = ShownCertificate(certificate.map(|certificate| Arc::clone(&certificate.certified)));
    let mut config = builder.with_cert_resolver(Arc::new(shown));
    // Some HTTP clients offer only http/1.0; hyper answers them.
    config.alpn_protocols = [&b"h2"[..], b"http/1.1", b"http/1.0"].map(<[_]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

/// Presents the same certificate to every client, or none.
#[derive(Debug)]
struct ShownCertificate(Option<Arc<CertifiedKey>>);

impl ResolvesServerCert for ShownCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
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
            // With the right files, the usual cause is a chain in the wrong order.
            belongs_to: certified.cert.iter().position(|certificate| {
                let alone = vec![certificate.clone()];
                CertifiedKey::new(alone, Arc::clone(&certified.key)).keys_match().is_ok()
            }),
        }),
        Err(source) => Err(TlsError::UnusableCertificate {
            role: Role::Certificate,
            path: cert_file.into(),
            source,
        }),
    }
}

fn client_verifier(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in read_certificates(path, Role::ClientCa)? {
        roots.add(authority).map_err(|source| TlsError::UnusableCertificate {
            role: Role::ClientCa,
            path: path.into(),
            source,
        })?;
    }
    // Without `allow_unauthenticated`, a client without a certificate is refused.
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| TlsError::Setup(rustls::Error::General(error.to_string())))
}

fn read_certificates(path: &Path, role: Role) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates_in(&read(path, role)?, path, role)
}

fn certificates_in(
    pem: &[u8],
    path: &Path,
    role: Role,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let mut content = FileContent::detect(pem);
    let mut certificates = Vec::new();
    for (block, item) in items(pem, path, role)? {
        match item {
            Some(Item::X509Certificate(certificate)) => {
                // A certificate that is cut off may still be valid base64. In OpenSSL's TRUSTED
                // CERTIFICATE, the allowed uses follow the certificate.
                let is_trusted = block.label == "TRUSTED CERTIFICATE";
                let whole = inspect::first_element(&certificate)
                    .filter(|der| is_trusted || der.len() == certificate.len())
                    .ok_or_else(|| bad_pem(path, role)(PemFault::content(&block)))?;
                let certificate = CertificateDer::from(whole.to_vec());
                certificates.push(certificate);
            }
            Some(Item::Csr(_)) => content = FileContent::Request,
            None if block.is_encrypted_key() => content = FileContent::EncryptedKey,
            Some(_) => content = FileContent::Key,
            None => {}
        }
    }
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { role, path: path.into(), content });
    }
    Ok(certificates)
}

/// Parses the blocks of a file. Known blocks that are not needed here have no item.
fn items(pem: &[u8], path: &Path, role: Role) -> Result<Vec<(Block, Option<Item>)>, TlsError> {
    let bad_pem = bad_pem(path, role);
    let blocks = pem::blocks(pem).map_err(&bad_pem)?;
    let read = |block: Block| {
        let label = match block.label.as_str() {
            "CERTIFICATE" | "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" => "CERTIFICATE",
            "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => "CERTIFICATE REQUEST",
            key @ ("PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY") if !block.is_encrypted => {
                key
            }
            // Often found beside certificates and keys, but not needed.
            "DH PARAMETERS" | "EC PARAMETERS" | "PUBLIC KEY" | "X509 CRL" => {
                return Ok((block, None));
            }
            _ if block.is_encrypted_key() => return Ok((block, None)),
            _ => return Err(bad_pem(PemFault::unknown(&block))),
        };
        match rustls_pemfile::read_one(&mut block.text(label).as_bytes()) {
            Ok(Some(item)) => Ok((block, Some(item))),
            Ok(None) | Err(_) => Err(bad_pem(PemFault::content(&block))),
        }
    };
    blocks.into_iter().map(read).collect()
}

fn bad_pem(path: &Path, role: Role) -> impl Fn(PemFault) -> TlsError {
    move |fault| TlsError::BadPem { role, path: path.to_owned(), fault }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    key_in(&read(path, Role::Key)?, path)
}

fn key_in(pem: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let mut content = FileContent::detect(pem);
    for (block, item) in items(pem, path, Role::Key)? {
        match item {
            Some(Item::Pkcs1Key(key)) => return Ok(key.into()),
            Some(Item::Pkcs8Key(key)) => return Ok(key.into()),
            Some(Item::Sec1Key(key)) => return Ok(key.into()),
            None if block.is_encrypted_key() => content = FileContent::EncryptedKey,
            // An encrypted key is reported first, whatever else the file contains.
            _ if content == FileContent::EncryptedKey => {}
            Some(Item::X509Certificate(_)) => content = FileContent::Certificate,
            Some(Item::Csr(_)) => content = FileContent::Request,
            _ => {}
        }
    }
    if content == FileContent::EncryptedKey {
        return Err(TlsError::EncryptedKey { path: path.into() });
    }
    Err(TlsError::NoKey { path: path.into(), content })
}

fn read(path: &Path, role: Role) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { role, path: path.into(), source })
}

#[cfg(test)]
mod tests;
