//! The server's certificate as in its file, for commands that report on it.

use std::path::Path;

use rustls::{
    client::verify_server_name,
    pki_types::{CertificateDer, ServerName},
    server::ParsedCertificate,
};

use super::{TlsError, error::Role, inspect::Certificate, read_certificates};

/// The first certificate of a file.
#[derive(Debug)]
pub struct ServerCertificate {
    /// Its fields.
    pub certificate: Certificate,
    der: CertificateDer<'static>,
}

/// Reads the first certificate of `cert_file`.
///
/// # Errors
/// The file contains no certificate, or one that cannot be parsed.
pub fn server_certificate(cert_file: &Path) -> Result<ServerCertificate, TlsError> {
    let unreadable = || TlsError::UnreadableCertificate { path: cert_file.to_owned() };
    let first = read_certificates(cert_file, Role::Certificate)?.into_iter().next();
    let der = first.ok_or_else(unreadable)?;
    let certificate = Certificate::parse(&der).ok_or_else(unreadable)?;
    Ok(ServerCertificate { certificate, der })
}

impl ServerCertificate {
    /// Whether the certificate is valid for this name or address.
    pub fn is_for(&self, host: &str) -> bool {
        let (Ok(parsed), Ok(name)) =
            (ParsedCertificate::try_from(&self.der), ServerName::try_from(host))
        else {
            return false;
        };
        verify_server_name(&parsed, &name).is_ok()
    }
}
