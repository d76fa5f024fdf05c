//! What a command trusts that talks to the daemon of the same configuration: its certificate, and no
//! other. Names and authorities do not matter then, so a self-signed one is as good.

use std::{path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature,
        verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::{TlsError, error::Role, read_certificates};

/// For a client that trusts exactly the first certificate of `cert_file`, and speaks HTTP/1.1.
///
/// # Errors
/// The file holds no certificate.
pub fn pinned(cert_file: &Path) -> Result<ClientConfig, TlsError> {
    let certificates = read_certificates(cert_file, Role::Certificate)?;
    let unreadable = || TlsError::UnreadableCertificate { path: cert_file.to_owned() };
    let certificate = certificates.into_iter().next().ok_or_else(unreadable)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Pinned::new(certificate, &provider);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Takes one certificate. That the server has its key is verified as ever.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn new(certificate: CertificateDer<'static>, provider: &CryptoProvider) -> Self {
        Self { certificate, algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustls::{ClientConnection, ServerConnection};

    use super::*;
    use crate::{
        config::{self, TlsVersion},
        tls::Acceptor,
    };

    /// Whether a client that has pinned the certificate of `client` trusts the server of `server`.
    fn trusts(client: &config::Tls, server: &config::Tls) -> Result<(), rustls::Error> {
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

    fn made(dir: &Path, name: &str) -> config::Tls {
        let dir = dir.join(name);
        fs::create_dir(&dir).unwrap();
        let tls = config::Tls {
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
    fn one_certificate_is_trusted_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, other) = (made(dir.path(), "ours"), made(dir.path(), "other"));
        trusts(&ours, &ours).unwrap();
        let error = trusts(&ours, &other).unwrap_err();
        let wanted = CertificateError::ApplicationVerificationFailure;
        assert_eq!(error, rustls::Error::InvalidCertificate(wanted));
    }
}
