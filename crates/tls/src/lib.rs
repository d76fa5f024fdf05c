//! Certificates and keys: PEM files in, a checked [`ServerConfig`] out, and its exchange while the
//! daemon runs.
//!
//! The only file that touches rustls-pemfile and that decides what rustls may speak. It knows
//! nothing of sockets: `serve` does the handshake with the configuration handed out here.

mod acceptor;
pub mod chain;
mod challenge;
mod client;
mod error;
mod expiry;
mod explain;
mod found;
pub mod inspect;
mod observe;
mod own;
mod pem;
mod pinned;
mod self_signed;
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
    own::{Own, own},
    pinned::pinned,
    settings::{Acme, ClientTls, Tls, TlsVersion},
    trust::Trust,
    watch::{Change, Watch},
};
use self::{
    found::Found,
    inspect::Certificate,
    pem::{Block, PemFault},
};

/// What [`load`] made of the files.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Ready to accept with.
    pub config: Arc<ServerConfig>,
    /// What is shown to clients. With ACME there may be none yet: every handshake fails then.
    pub certificate: Option<Identity>,
    /// Who may connect, if clients have to show a certificate.
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Loaded {
    /// The same with another certificate.
    fn showing(self, certificate: Identity) -> Self {
        let mut config = (*self.config).clone();
        config.cert_resolver = Arc::new(ShownCertificate(Some(Arc::clone(&certificate.certified))));
        Self { config: Arc::new(config), certificate: Some(certificate), clients: self.clients }
    }
}

/// The server's own certificate, with its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// From when to when. `None` if that cannot be read: rustls takes what we do not understand.
    pub validity: Option<Validity>,
    /// It stands alone, and another one issued it: intermediates are probably missing, and then
    /// Cloudflare refuses the connection.
    pub stands_alone: bool,
    certified: Arc<CertifiedKey>,
}

impl Identity {
    fn read(tls: &Tls) -> Result<Self, TlsError> {
        let chain = read(&tls.cert_file, Role::Certificate)?;
        let key = read(&tls.key_file, Role::Key)?;
        Self::of((&chain, &tls.cert_file), (&key, &tls.key_file))
    }

    /// Checks PEM that is, or is to be, in these files.
    fn of(
        (chain, cert_file): (&[u8], &Path),
        (key, key_file): (&[u8], &Path),
    ) -> Result<Self, TlsError> {
        let chain = certificates_in(chain, cert_file, Role::Certificate)?;
        let key = key_in(key, key_file)?;
        let leaf = chain.first().and_then(|first| Certificate::parse(first));
        let stands_alone =
            chain.len() == 1 && leaf.as_ref().is_some_and(|leaf| !leaf.is_self_issued());
        let validity =
            leaf.map(|leaf| Validity { not_before: leaf.not_before, not_after: leaf.not_after });
        let certified = certify(chain, key, &aws_lc_rs::default_provider(), (cert_file, key_file))?;
        Ok(Self { validity, stands_alone, certified: Arc::new(certified) })
    }

    /// Itself if its end is known: else nobody could say when to renew it.
    fn dated(self, path: &Path) -> Result<Self, TlsError> {
        match self.validity {
            Some(_) => Ok(self),
            None => Err(TlsError::UnreadableCertificate { path: path.into() }),
        }
    }

    /// The certificate and what is sent with it.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// What will keep Cloudflare from connecting, now or soon.
    pub fn warnings(&self, tls: &Tls) -> Vec<String> {
        let now = jiff::Timestamp::now().as_second();
        let expiry = self.validity.and_then(|validity| {
            let expiry = Expiry::of(validity, tls.into(), now)?;
            Some(expiry.text(validity, tls.into()))
        });
        expiry.into_iter().chain(self.oddities().map(str::to_owned)).collect()
    }

    /// What is wrong with it at any time.
    fn oddities(&self) -> impl Iterator<Item = &'static str> {
        let unread = self.validity.is_none().then_some(UNREAD);
        unread.into_iter().chain(self.stands_alone.then_some(STANDS_ALONE))
    }
}

const STANDS_ALONE: &str =
    "cert_file holds a single certificate: cloudflare needs the intermediates behind it, too";

const UNREAD: &str = "what stands in the first certificate of cert_file cannot be read: it is used, but nobody is told \
                      when it expires, and cloudflare may refuse it: have it issued anew, in the usual form";

/// Reads and checks certificate, key and client authorities. Writes nothing.
///
/// # Errors
/// A file cannot be read, does not hold what it should, or key and certificate do not belong
/// together. The message says which file and what to do.
pub fn load(tls: &Tls) -> Result<Loaded, TlsError> {
    let read = Identity::read(tls).and_then(|certificate| match tls.acme {
        Some(_) => certificate.dated(&tls.cert_file),
        None => Ok(certificate),
    });
    let certificate = match read {
        Ok(certificate) => Some(certificate),
        // It was not there yet, or what is there will be replaced: that is what ACME is for.
        Err(error) if tls.acme.is_some() && !error.is_denied() => {
            if !error.is_missing() {
                warn!(%error, "what is in server.tls.acme.cache_dir cannot be used: asking for another");
            }
            None
        }
        Err(error) => return Err(error),
    };
    let clients = tls.client_ca_file.as_deref().map(client_verifier).transpose()?;
    let config = server_config(tls, certificate.as_ref(), clients.clone())?;
    Ok(Loaded { config, certificate, clients })
}

/// Checks PEM that is to be written to `path`: a chain, and the key of its first certificate.
///
/// # Errors
/// As [`load`].
pub fn check_pem(pem: &[u8], path: &Path) -> Result<(), TlsError> {
    Identity::of((pem, path), (pem, path))?.dated(path).map(drop)
}

/// The certificates in PEM that was read from `path`; at least one.
///
/// # Errors
/// It holds none, or is damaged.
pub fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates_in(pem, path, Role::Certificate)
}

/// Reads a private key.
///
/// # Errors
/// As [`load`].
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    read_key(path)
}

/// Whether a key belongs to the first certificate of a chain that was found in, or at, `source`.
///
/// # Errors
/// As [`load`].
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
    // Some HTTP clients offer nothing but http/1.0; hyper answers them.
    config.alpn_protocols = [&b"h2"[..], b"http/1.1", b"http/1.0"].map(<[_]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

/// Shows the same certificate to everybody, or none to anybody.
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
            // A chain in the wrong order is the usual way to get here with the right files.
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
    // Without `allow_unauthenticated` a client that shows nothing is refused.
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
    let mut found = Found::look(pem);
    let mut certificates = Vec::new();
    for (block, item) in items(pem, path, role)? {
        match item {
            Some(Item::X509Certificate(certificate)) => {
                // One that is cut off may be whole base64. OpenSSL's TRUSTED CERTIFICATE goes on with what
                // it may be used for.
                let is_trusted = block.label == "TRUSTED CERTIFICATE";
                let whole = inspect::first_element(&certificate)
                    .filter(|der| is_trusted || der.len() == certificate.len())
                    .ok_or_else(|| bad_pem(path, role)(PemFault::content(&block)))?;
                let certificate = CertificateDer::from(whole.to_vec());
                certificates.push(certificate);
            }
            Some(Item::Csr(_)) => found = Found::Request,
            None if block.is_encrypted_key() => found = Found::EncryptedKey,
            Some(_) => found = Found::Key,
            None => {}
        }
    }
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { role, path: path.into(), found });
    }
    Ok(certificates)
}

/// The blocks of a file, and what is in those that this program reads.
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
            // Beside certificates and keys, and of no use.
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
    let mut found = Found::look(pem);
    for (block, item) in items(pem, path, Role::Key)? {
        match item {
            Some(Item::Pkcs1Key(key)) => return Ok(key.into()),
            Some(Item::Pkcs8Key(key)) => return Ok(key.into()),
            Some(Item::Sec1Key(key)) => return Ok(key.into()),
            None if block.is_encrypted_key() => found = Found::EncryptedKey,
            // What explains it best.
            _ if found == Found::EncryptedKey => {}
            Some(Item::X509Certificate(_)) => found = Found::Certificate,
            Some(Item::Csr(_)) => found = Found::Request,
            _ => {}
        }
    }
    if found == Found::EncryptedKey {
        return Err(TlsError::EncryptedKey { path: path.into() });
    }
    Err(TlsError::NoKey { path: path.into(), found })
}

fn read(path: &Path, role: Role) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { role, path: path.into(), source })
}

#[cfg(test)]
mod tests;
