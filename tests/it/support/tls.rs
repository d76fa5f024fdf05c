//! Certificates made at run time, and clients that trust them.

use std::{fs, path::Path, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

/// A certificate and its key, in PEM.
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Pair {
    /// Like the one that the daemon creates itself.
    pub(crate) fn self_signed() -> Self {
        let key = KeyPair::generate().unwrap();
        let cert = params("a certificate of the tests").self_signed(&key).unwrap().pem();
        Self { cert, key: key.serialize_pem() }
    }

    /// Like that of `openssl req -x509`: an authority that a server presents as its own
    /// certificate.
    pub(crate) fn self_signed_authority() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params("a server that is its own authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap()
    }
}

/// Signs certificates for clients and servers.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.pem().as_bytes()).unwrap()
    }

    pub(crate) fn sign(&self) -> Pair {
        self.sign_for("a client of the tests", ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// For localhost and 127.0.0.1.
    pub(crate) fn sign_server(&self) -> Pair {
        self.sign_for("a server of the tests", ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// For another name.
    pub(crate) fn sign_server_named(&self, name: &str) -> Pair {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        self.sign_params(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn sign_for(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> Pair {
        self.sign_params(params(name), purpose)
    }

    fn sign_params(&self, mut params: CertificateParams, purpose: ExtendedKeyUsagePurpose) -> Pair {
        let key = KeyPair::generate().unwrap();
        params.extended_key_usages = vec![purpose];
        let cert = params.signed_by(&key, &self.0).unwrap().pem();
        Pair { cert, key: key.serialize_pem() }
    }
}

/// A server that presents a certificate, and asks clients for one that `clients` has signed.
pub(crate) fn server_config(pair: &Pair, clients: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    Arc::new(builder.with_single_cert(vec![pair.der()], key).unwrap())
}

fn params(name: &str) -> CertificateParams {
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// The authority that a client trusts, its TLS versions and its certificate.
#[derive(Clone)]
pub(crate) struct Client {
    roots: RootCertStore,
    versions: Vec<&'static SupportedProtocolVersion>,
    shows: Option<Arc<(CertificateDer<'static>, PrivateKeyDer<'static>)>>,
}

impl Client {
    /// Trusts the first certificate of a PEM file.
    pub(crate) fn trusting(file: &Path) -> Self {
        let pem = fs::read(file).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        Self { roots, versions: rustls::ALL_VERSIONS.to_vec(), shows: None }
    }

    pub(crate) fn speaking(mut self, versions: &[&'static SupportedProtocolVersion]) -> Self {
        self.versions = versions.to_vec();
        self
    }

    pub(crate) fn presenting(mut self, pair: &Pair) -> Self {
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        self.shows = Some(Arc::new((pair.der(), key)));
        self
    }

    /// `alpn`: the protocols that it offers, by preference.
    pub(crate) fn config(&self, alpn: &[&[u8]]) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let mut config = match self.shows.as_deref() {
            Some((cert, key)) => {
                builder.with_client_auth_cert(vec![cert.clone()], key.clone_key()).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }
}
