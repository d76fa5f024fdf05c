//! Clients with a custom policy for server certificates. rustls verifies that the server has the key of
//! its certificate.

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, SignatureScheme,
    client::{
        WantsClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::TlsError;

/// Decides whether to accept a server's certificate.
pub(super) trait CertificatePolicy: fmt::Debug + Send + Sync {
    /// Accepts the certificate, or ends the handshake with an error.
    fn check(&self, presented: &Presented<'_>) -> Result<(), rustls::Error>;
}

/// The certificates that a server presents, and what they are checked against.
pub(super) struct Presented<'a> {
    pub(super) certificate: &'a CertificateDer<'a>,
    pub(super) intermediates: &'a [CertificateDer<'a>],
    /// The expected name of the server.
    pub(super) name: &'a ServerName<'a>,
    pub(super) now: UnixTime,
    /// The accepted signature algorithms.
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

/// Builds the configuration of a client with this policy and without a client certificate.
///
/// # Errors
/// rustls rejects the configuration.
pub(super) fn client(policy: Arc<dyn CertificatePolicy>) -> Result<ClientConfig, TlsError> {
    Ok(builder(policy)?.with_no_client_auth())
}

/// Builds the configuration of a client with this policy, up to the choice of the client certificate.
///
/// # Errors
/// See [`client`].
pub(super) fn builder(
    policy: Arc<dyn CertificatePolicy>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier { policy, algorithms: provider.signature_verification_algorithms };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    Ok(builder)
}

#[derive(Debug)]
struct Verifier {
    policy: Arc<dyn CertificatePolicy>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.policy.check(&Presented {
            certificate: end_entity,
            intermediates,
            name: server_name,
            now,
            algorithms: self.algorithms,
        })?;
        Ok(ServerCertVerified::assertion())
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
