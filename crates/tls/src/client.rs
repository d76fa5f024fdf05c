//! TLS configurations for clients: the sinks and the commands.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName, sign::SingleCertAndKey,
};

use super::{
    ClientTls, Role, TlsError, Trust, certify, read_certificates, read_key,
    verifier::{self, CertificatePolicy, Presented},
};

/// The trusted authorities of the system: on Debian and Alpine, Fedora and RHEL, SUSE, and others.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Builds the configuration of a client that trusts the authorities of `tls`, or those of the system, and
/// presents the certificate of `tls`. The server's certificate must be for `server_name` of `tls`, or
/// for the name that the client connects to.
///
/// # Errors
/// A file cannot be read or has the wrong content, or certificate and key are not a pair. The message
/// names the file and what to do.
pub fn client(tls: &ClientTls) -> Result<ClientConfig, TlsError> {
    let trust = if let Some(path) = &tls.ca_file {
        listed(path)?
    } else {
        let mut roots = RootCertStore::empty();
        // Skips old authorities that rustls cannot parse; no certificate in use is signed by them.
        roots.add_parsable_certificates(read_certificates(&system_roots(), Role::ServerCa)?);
        Trust::in_authorities(roots)
    };
    let provider = aws_lc_rs::default_provider();
    let name = tls.server_name.as_deref().and_then(|name| ServerName::try_from(name).ok());
    let policy: Arc<dyn CertificatePolicy> = match name {
        Some(name) => Arc::new(WithServerName { trust, name: name.to_owned() }),
        None => Arc::new(trust),
    };
    let builder = verifier::builder(policy)?;
    Ok(match tls.identity() {
        Some((cert_file, key_file)) => {
            let chain = read_certificates(cert_file, Role::Certificate)?;
            let key = read_key(key_file)?;
            let certified = certify(chain, key, &provider, (cert_file, key_file))?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
        None => builder.with_no_client_auth(),
    })
}

/// Expects a configured name in the server's certificate, rather than the host of its address.
#[derive(Debug)]
struct WithServerName {
    trust: Trust,
    name: ServerName<'static>,
}

impl CertificatePolicy for WithServerName {
    fn check(&self, presented: &Presented<'_>) -> Result<(), rustls::Error> {
        self.trust.check(&Presented { name: &self.name, ..*presented })
    }
}

/// Trusts the certificates in `ca_file`, or the public authorities on Mozilla's list, which Cloudflare
/// trusts. The authorities of this system are not used, since Cloudflare does not know private ones.
///
/// # Errors
/// The file cannot be read, or contains no certificates.
pub fn public_trust(ca_file: Option<&Path>) -> Result<Trust, TlsError> {
    if let Some(path) = ca_file {
        return listed(path);
    }
    let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    Ok(Trust::in_authorities(roots))
}

/// Builds the configuration of a client for a public server: it trusts [`public_trust`], and offers
/// HTTP/2 and HTTP/1.1.
///
/// # Errors
/// See [`public_trust`].
pub fn public(ca_file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let mut config = verifier::client(Arc::new(public_trust(ca_file)?))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn listed(path: &Path) -> Result<Trust, TlsError> {
    let role = Role::ServerCa;
    Trust::in_listed(read_certificates(path, role)?)
        .map_err(|source| TlsError::UnusableCertificate { role, path: path.to_owned(), source })
}

fn system_roots() -> PathBuf {
    let existing = SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.exists());
    existing.unwrap_or(Path::new(SYSTEM_ROOTS[0])).to_owned()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use rustls::pki_types::UnixTime;
    use tempfile::TempDir;

    use super::*;

    fn write(dir: &TempDir, name: &str, text: &str) -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn the_default_is_to_trust_the_authorities_of_the_system() {
        if SYSTEM_ROOTS.iter().any(|path| Path::new(path).exists()) {
            client(&ClientTls::default()).unwrap();
        }
    }

    #[test]
    fn server_name_replaces_the_host_of_the_address() {
        let params = rcgen::CertificateParams::new(vec!["siem.example".to_owned()]).unwrap();
        let shown = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let check = |name: &'static str| {
            let trust = Trust::in_listed(vec![shown.der().clone()]).unwrap();
            let policy = WithServerName { trust, name: ServerName::try_from(name).unwrap() };
            policy.check(&Presented {
                certificate: shown.der(),
                intermediates: &[],
                name: &ServerName::try_from("192.0.2.1").unwrap(),
                now: UnixTime::now(),
                algorithms: aws_lc_rs::default_provider().signature_verification_algorithms,
            })
        };
        check("siem.example").unwrap();
        check("other.example").unwrap_err();
    }

    #[test]
    fn errors_name_the_file_and_the_key() {
        let dir = TempDir::new().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let cert = write(&dir, "cert.pem", &params.self_signed(&key).unwrap().pem());
        let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let (key, other) =
            (write(&dir, "key.pem", &key.serialize_pem()), write(&dir, "other.pem", &other));
        let empty = write(&dir, "empty.pem", "");
        let tls = |ca: &Path, pair: Option<(&Path, &Path)>| ClientTls {
            ca_file: Some(ca.to_owned()),
            cert_file: pair.map(|(cert, _)| cert.to_owned()),
            key_file: pair.map(|(_, key)| key.to_owned()),
            server_name: None,
        };
        client(&tls(&cert, Some((&cert, &key)))).unwrap();
        let cases = [
            (tls(&empty, None), "empty.pem: ca_file expects PEM"),
            (tls(&dir.path().join("gone.pem"), None), "check ca_file"),
            (tls(&cert, Some((&cert, &other))), "other.pem does not belong to"),
            (tls(&cert, Some((&key, &key))), "key.pem: cert_file expects PEM"),
        ];
        for (tls, expected) in cases {
            let error = client(&tls).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected:?} not in {error:?}");
        }
    }
}
