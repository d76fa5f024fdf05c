//! The TLS configuration of a command that connects to the daemon of the same configuration: it trusts
//! exactly the daemon's certificate. Names and authorities are not checked, so it may be self-signed.

use std::{path::Path, sync::Arc};

use rustls::{CertificateError, ClientConfig, pki_types::CertificateDer};

use super::{
    Role, TlsError, read_certificates,
    verifier::{self, CertificatePolicy, Presented},
};

/// Builds the configuration of a client that trusts only the first certificate of `cert_file`, and
/// offers only HTTP/1.1.
///
/// # Errors
/// The file contains no certificate.
pub fn pinned(cert_file: &Path) -> Result<ClientConfig, TlsError> {
    let certificates = read_certificates(cert_file, Role::Certificate)?;
    let unreadable = || TlsError::UnreadableCertificate { path: cert_file.to_owned() };
    let certificate = certificates.into_iter().next().ok_or_else(unreadable)?;
    let mut config = verifier::client(Arc::new(Pinned(certificate)))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Accepts only this certificate.
#[derive(Debug)]
struct Pinned(CertificateDer<'static>);

impl CertificatePolicy for Pinned {
    fn check(&self, presented: &Presented<'_>) -> Result<(), rustls::Error> {
        if *presented.certificate == self.0 {
            Ok(())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustls::{ClientConnection, ServerConnection, pki_types::ServerName};

    use super::*;
    use crate::{Acceptor, Tls, TlsVersion};

    /// Checks that a client that has pinned the certificate of `client` trusts the server of `server`.
    fn trusts(client: &Tls, server: &Tls) -> Result<(), rustls::Error> {
        let config = pinned(&client.cert_file).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let acceptor = Acceptor::new(server).unwrap();
        let mut server = ServerConnection::new(acceptor.current()).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    fn made(dir: &Path, name: &str) -> Tls {
        let dir = dir.join(name);
        fs::create_dir(&dir).unwrap();
        let tls = Tls {
            cert_file: dir.join("cert.pem"),
            key_file: dir.join("key.pem"),
            self_signed: true,
            acme: None,
            client_ca_file: None,
            min_version: TlsVersion::V1_2,
        };
        Acceptor::new(&tls).unwrap();
        tls
    }

    #[test]
    fn only_the_pinned_certificate_is_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, other) = (made(dir.path(), "ours"), made(dir.path(), "other"));
        trusts(&ours, &ours).unwrap();
        let error = trusts(&ours, &other).unwrap_err();
        let wanted = CertificateError::ApplicationVerificationFailure;
        assert_eq!(error, rustls::Error::InvalidCertificate(wanted));
    }
}
