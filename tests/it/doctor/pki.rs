//! Certificates that are valid, and invalid ones as found on real servers.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// The chain that a server presents, and its key.
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// A root, and an authority below it that signs certificates.
pub(super) struct Pki {
    root: Issuer,
    intermediate: Issuer,
}

/// The properties of a certificate.
#[derive(Clone)]
pub(super) struct Leaf {
    pub(super) names: Vec<&'static str>,
    /// Its years; only their first day counts.
    pub(super) valid: (i32, i32),
    /// Contains the URL of its issuer's certificate, as those of public authorities do.
    pub(super) has_issuer_url: bool,
    pub(super) purpose: ExtendedKeyUsagePurpose,
}

impl Default for Leaf {
    fn default() -> Self {
        Self {
            names: vec!["localhost", "127.0.0.1"],
            valid: (2020, 2090),
            has_issuer_url: false,
            purpose: ExtendedKeyUsagePurpose::ServerAuth,
        }
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(2010, 1, 1);
    params.not_after = rcgen::date_time_ymd(2090, 1, 1);
    params
}

impl Pki {
    pub(super) fn new() -> Self {
        let key = || KeyPair::generate().unwrap();
        let root = Issuer::self_signed(authority("Test Root"), key()).unwrap();
        let intermediate = Issuer::signed_by(authority("Test Intermediate"), key(), &root).unwrap();
        Self { root, intermediate }
    }

    pub(super) fn root_pem(&self) -> String {
        self.root.pem()
    }

    pub(super) fn root(&self) -> CertificateDer<'static> {
        self.root.der().clone()
    }

    pub(super) fn intermediate(&self) -> CertificateDer<'static> {
        self.intermediate.der().clone()
    }

    /// A certificate followed by its intermediate, as it should be.
    pub(super) fn issue(&self, leaf: &Leaf) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = named("a server");
        let names: Vec<_> = leaf.names.iter().map(|name| (*name).to_owned()).collect();
        params.subject_alt_names = CertificateParams::new(names).unwrap().subject_alt_names;
        params.not_before = rcgen::date_time_ymd(leaf.valid.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(leaf.valid.1, 1, 1);
        params.extended_key_usages = vec![leaf.purpose.clone()];
        if leaf.has_issuer_url {
            // SEQUENCE { SEQUENCE { caIssuers, [6] "http://ca.test/" } }
            let url = b"http://ca.test/";
            let oid = [6, 8, 0x2b, 6, 1, 5, 5, 7, 48, 2];
            let entry = [&oid[..], &[0x86, 15], url].concat();
            let access = [&[0x30, 29, 0x30, 27], &*entry].concat();
            let extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access);
            params.custom_extensions.push(extension);
        }
        let certificate = params.signed_by(&key, &self.intermediate).unwrap();
        Identity {
            chain: vec![certificate.der().clone(), self.intermediate()],
            key: PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
        }
    }
}
