//! Certificates and keys: PEM files in, a checked [`ServerConfig`] out, and its exchange while the
//! daemon runs.
//!
//! The only file that touches rustls-pemfile and that decides what rustls may speak. It knows
//! nothing of sockets: `serve` does the handshake with the configuration handed out here.

mod client;
mod error;
pub mod inspect;
mod pinned;
mod self_signed;

use std::{
    fs,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use rustls_pemfile::Item;
use tracing::warn;

use crate::config::{self, TlsVersion};

pub use self::{
    client::{client, public, public_roots},
    error::TlsError,
    pinned::pinned,
};
use self::{
    error::{Found, Role},
    inspect::Certificate,
};

/// The configuration that new connections are accepted with; it can be exchanged under them.
///
/// Connections under way keep the one they began with.
#[derive(Debug)]
pub struct Acceptor {
    loaded: RwLock<Loaded>,
}

impl Acceptor {
    /// Loads what `tls` names. With `self_signed`, certificate and key are made first if both are
    /// missing.
    ///
    /// # Errors
    /// Anything that [`load`] refuses; files that cannot be written; one of the two missing.
    pub fn new(tls: &config::Tls) -> Result<Self, TlsError> {
        Ok(Self { loaded: RwLock::new(load_or_make(tls)?) })
    }

    /// Loads again; on an error everything stays as it was.
    ///
    /// # Errors
    /// As [`Acceptor::new`].
    pub fn reload(&self, tls: &config::Tls) -> Result<(), TlsError> {
        let loaded = load_or_make(tls)?;
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    /// What the next connection is to be accepted with.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.loaded.read().unwrap_or_else(PoisonError::into_inner).config)
    }

    /// When the certificate in use expires, in seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).not_after
    }
}

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
    let leaf = chain.first().and_then(|first| Certificate::parse(first)).ok_or_else(unusable)?;
    let chain_looks_incomplete = chain.len() == 1 && !leaf.is_self_issued();
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

fn load_or_make(tls: &config::Tls) -> Result<Loaded, TlsError> {
    if tls.self_signed && self_signed::make_if_missing(&tls.cert_file, &tls.key_file)? {
        warn!(
            cert_file = %tls.cert_file.display(),
            key_file = %tls.key_file.display(),
            "made a self-signed certificate for localhost: for development, cloudflare refuses it"
        );
    }
    let loaded = load(tls)?;

    if loaded.chain_looks_incomplete {
        warn!(
            cert_file = %tls.cert_file.display(),
            "the file holds a single certificate: cloudflare needs the intermediates behind it, too"
        );
    }
    if loaded.not_after <= jiff::Timestamp::now().as_second() {
        warn!(cert_file = %tls.cert_file.display(), "the certificate has expired: renew it");
    }
    Ok(loaded)
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
mod tests {
    use std::{path::PathBuf, process::Command};

    use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_RSA_SHA256};
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn every_form_of_key_is_accepted() {
        let dir = TempDir::new().unwrap();
        let ec = KeyPair::generate().unwrap();
        let rsa = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let forms = [
            ("EC PKCS#8", &ec, ec.serialize_pem(), "BEGIN PRIVATE KEY"),
            ("EC SEC1", &ec, openssl(&["ec"], &ec), "BEGIN EC PRIVATE KEY"),
            ("RSA PKCS#8", &rsa, rsa.serialize_pem(), "BEGIN PRIVATE KEY"),
            ("RSA PKCS#1", &rsa, openssl(&["rsa", "-traditional"], &rsa), "BEGIN RSA PRIVATE KEY"),
        ];
        for (form, pair, pem, marker) in forms {
            assert!(pem.contains(marker), "{form}: {pem}");
            let tls = files(&dir, &certificate(pair), &pem);
            load(&tls).unwrap_or_else(|error| panic!("{form}: {error}"));
        }
    }

    #[test]
    fn the_whole_chain_is_offered_and_its_leaf_s_expiry_known() {
        let dir = TempDir::new().unwrap();
        let authority = authority();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2030, 1, 2);
        let leaf = params.signed_by(&key, &authority).unwrap().pem();

        let alone = load(&files(&dir, &leaf, &key.serialize_pem())).unwrap();
        assert!(alone.chain_looks_incomplete);

        let chain = format!("{leaf}{}", authority.pem());
        let tls = files(&dir, &chain, &key.serialize_pem());
        assert_eq!(read_certificates(&tls.cert_file, Role::Certificate).unwrap().len(), 2);
        let loaded = load(&tls).unwrap();
        assert!(!loaded.chain_looks_incomplete);
        assert_eq!(loaded.not_after, 1_893_542_400);
        assert_eq!(loaded.config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);

        let reversed = format!("{}{leaf}", authority.pem());
        let error = load(&files(&dir, &reversed, &key.serialize_pem())).unwrap_err().to_string();
        assert!(error.contains("certificate number 2"), "{error}");
    }

    #[test]
    fn errors_name_the_file_and_the_remedy() {
        let dir = TempDir::new().unwrap();
        let key = KeyPair::generate().unwrap();
        let (cert, pem) = (certificate(&key), key.serialize_pem());
        let other = KeyPair::generate().unwrap().serialize_pem();
        let sealed = openssl(&["pkcs8", "-topk8", "-passout", "pass:x"], &key);
        let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let broken = cert.replacen("MII", "M!I", 1);
        let cases: &[(&str, &str, &[&str])] = &[
            ("", &pem, &["no certificate in ", "cert.pem", "BEGIN CERTIFICATE"]),
            (&cert, "", &["no private key in ", "key.pem", "BEGIN PRIVATE KEY"]),
            (&pem, &cert, &["cert.pem", "it holds a private key", "swapped"]),
            (&cert, &cert, &["key.pem", "it holds a certificate", "swapped"]),
            (&csr, &pem, &["cert.pem", "signing request"]),
            (&cert, &sealed, &["key.pem", "encrypted", "openssl pkey"]),
            (&cert, &other, &["the private key in ", "key.pem", "does not belong", "cert.pem"]),
            (&broken, &pem, &["cert.pem", "PEM"]),
            ("\u{30}\u{2}binary", &pem, &["cert.pem", "DER", "openssl x509"]),
        ];
        for (cert, key, expected) in cases {
            let error = load(&files(&dir, cert, key)).unwrap_err().to_string();
            for part in *expected {
                assert!(error.contains(part), "{part:?} not in {error:?}");
            }
        }

        let tls = files(&dir, &cert, &pem);
        fs::remove_file(&tls.cert_file).unwrap();
        let error = load(&tls).unwrap_err().to_string();
        assert!(error.contains("check cert_file") && error.contains("cert.pem"), "{error}");
    }

    #[test]
    fn reload_takes_what_is_good_and_keeps_the_old_on_an_error() {
        let dir = TempDir::new().unwrap();
        let key = KeyPair::generate().unwrap();
        let tls = files(&dir, &certificate(&key), &key.serialize_pem());
        let acceptor = Acceptor::new(&tls).unwrap();
        let first = acceptor.current();

        fs::write(&tls.key_file, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(matches!(acceptor.reload(&tls), Err(TlsError::Mismatch { .. })));
        assert!(Arc::ptr_eq(&first, &acceptor.current()));

        let next = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2031, 1, 1);
        fs::write(&tls.cert_file, params.self_signed(&next).unwrap().pem()).unwrap();
        fs::write(&tls.key_file, next.serialize_pem()).unwrap();
        acceptor.reload(&tls).unwrap();
        assert!(!Arc::ptr_eq(&first, &acceptor.current()));
        assert_eq!(acceptor.not_after(), 1_924_992_000);
    }

    #[test]
    fn a_client_authority_must_be_a_certificate() {
        let dir = TempDir::new().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut tls = files(&dir, &certificate(&key), &key.serialize_pem());
        let path = dir.path().join("ca.pem");
        tls.client_ca_file = Some(path.clone());

        fs::write(&path, "nothing").unwrap();
        let error = load(&tls).unwrap_err().to_string();
        assert!(error.contains("ca.pem") && error.contains("no certificate"), "{error}");

        fs::write(&path, authority().pem()).unwrap();
        load(&tls).unwrap();
    }

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn certificate(key: &KeyPair) -> String {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.self_signed(key).unwrap().pem()
    }

    fn files(dir: &TempDir, cert: &str, key: &str) -> config::Tls {
        let path = |name: &str, text: &str| -> PathBuf {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        config::Tls {
            cert_file: path("cert.pem", cert),
            key_file: path("key.pem", key),
            self_signed: false,
            client_ca_file: None,
            min_version: TlsVersion::V1_2,
        }
    }

    /// `openssl ARGS` on the key: it writes the forms that rcgen does not.
    fn openssl(args: &[&str], key: &KeyPair) -> String {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("in.pem");
        fs::write(&path, key.serialize_pem()).unwrap();
        let output = Command::new("openssl").args(args).arg("-in").arg(&path).output();
        let output = output.expect("these tests need the openssl command");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}
