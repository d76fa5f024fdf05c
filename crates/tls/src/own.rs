//! The server's own certificate as it stands in the file, for who tells others about it.

use std::path::Path;

use rustls::{
    client::verify_server_name,
    pki_types::{CertificateDer, ServerName},
    server::ParsedCertificate,
};

use super::{TlsError, error::Role, inspect::Certificate, read_certificates};

/// The first certificate of a file.
#[derive(Debug)]
pub struct Own {
    /// What stands in it.
    pub certificate: Certificate,
    der: CertificateDer<'static>,
}

/// Reads the first certificate of `cert_file`.
///
/// # Errors
/// The file holds none that can be read.
pub fn own(cert_file: &Path) -> Result<Own, TlsError> {
    let unreadable = || TlsError::UnreadableCertificate { path: cert_file.to_owned() };
    let first = read_certificates(cert_file, Role::Certificate)?.into_iter().next();
    let der = first.ok_or_else(unreadable)?;
    let certificate = Certificate::parse(&der).ok_or_else(unreadable)?;
    Ok(Own { certificate, der })
}

impl Own {
    /// Whether a client that asks for this name or address takes it.
    pub fn is_for(&self, host: &str) -> bool {
        let (Ok(parsed), Ok(name)) =
            (ParsedCertificate::try_from(&self.der), ServerName::try_from(host))
        else {
            return false;
        };
        verify_server_name(&parsed, &name).is_ok()
    }
}
