//! Errors of certificate and key files. Each names the file and what to do.

use std::{error::Error, fmt, io, path::PathBuf};

use super::{content::FileContent, pem::PemFault};

/// An error that keeps a certificate, a key or authorities from being used.
///
/// Its text is one line that names the file and what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// The file cannot be read.
    Read {
        /// The expected content.
        role: Role,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A PEM section is damaged.
    BadPem {
        /// The expected content.
        role: Role,
        /// The file.
        path: PathBuf,
        /// The fault and its line.
        fault: PemFault,
    },
    /// The file contains no certificate.
    NoCertificate {
        /// The expected content.
        role: Role,
        /// The file.
        path: PathBuf,
        /// The actual content.
        content: FileContent,
    },
    /// The file contains no private key.
    NoKey {
        /// The file.
        path: PathBuf,
        /// The actual content.
        content: FileContent,
    },
    /// The key is encrypted with a passphrase, which a daemon does not have.
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is damaged, or its type or size is not supported.
    UnusableKey {
        /// The file.
        path: PathBuf,
        /// The error of rustls.
        source: rustls::Error,
    },
    /// The certificate is damaged, or not an X.509 certificate.
    UnreadableCertificate {
        /// The file.
        path: PathBuf,
    },
    /// rustls refuses the certificate.
    UnusableCertificate {
        /// The expected content.
        role: Role,
        /// The file.
        path: PathBuf,
        /// The error of rustls.
        source: rustls::Error,
    },
    /// Certificate and key are not a pair.
    Mismatch {
        /// The file of the chain.
        cert_file: PathBuf,
        /// The file of the key.
        key_file: PathBuf,
        /// The index, from 0, of the certificate in the chain that belongs to the key.
        belongs_to: Option<usize>,
    },
    /// With `self_signed`: one of the two files exists, so neither is created.
    OneMissing {
        /// The existing file.
        present: PathBuf,
        /// The missing file.
        missing: PathBuf,
    },
    /// With `self_signed`: the file cannot be written.
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// With `self_signed`: the certificate cannot be created.
    Generate(rcgen::Error),
    /// With ACME: the file cannot be written.
    Store {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// With ACME: the certificate of the answer to a challenge cannot be created.
    Challenge(rcgen::Error),
    /// rustls rejects the configuration as a whole.
    Setup(rustls::Error),
}

/// The expected content of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// `cert_file` of the server or of a sink.
    Certificate,
    /// `key_file`.
    Key,
    /// `server.tls.client_ca_file`.
    ClientCa,
    /// `ca_file` of a sink, or the trusted authorities of the system.
    ServerCa,
}

impl Role {
    /// The configuration key that names such a file.
    pub fn config_key(self) -> &'static str {
        match self {
            Self::Certificate => "cert_file",
            Self::Key => "key_file",
            Self::ClientCa => "client_ca_file",
            Self::ServerCa => "ca_file",
        }
    }
}

impl TlsError {
    /// The expected content of the file that caused the error, if a file caused it.
    pub fn role(&self) -> Option<Role> {
        match self {
            Self::Read { role, .. }
            | Self::BadPem { role, .. }
            | Self::NoCertificate { role, .. }
            | Self::UnusableCertificate { role, .. } => Some(*role),
            Self::NoKey { .. } | Self::EncryptedKey { .. } | Self::UnusableKey { .. } => {
                Some(Role::Key)
            }
            Self::UnreadableCertificate { .. } | Self::Mismatch { .. } => Some(Role::Certificate),
            _ => None,
        }
    }

    /// Whether the file does not exist.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the daemon has no permission to read the file.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { role, path, source } => {
                write!(f, "cannot read {}: {source}: ", path.display())?;
                match source.kind() {
                    io::ErrorKind::PermissionDenied => {
                        f.write_str("make it readable for the user that runs logpushd")
                    }
                    _ => write!(f, "check {}", role.config_key()),
                }
            }
            Self::BadPem { path, fault, .. } => {
                write!(f, "{}:{}: {fault}", path.display(), fault.line)
            }
            Self::NoCertificate { role, path, content } => write!(
                f,
                "no certificate in {}: {} expects PEM with BEGIN CERTIFICATE{}",
                path.display(),
                role.config_key(),
                content.instead_of_certificate(*role)
            ),
            Self::NoKey { path, content } => write!(
                f,
                "no private key in {}: {} expects PEM with BEGIN PRIVATE KEY, \
                 BEGIN RSA PRIVATE KEY or BEGIN EC PRIVATE KEY{}",
                path.display(),
                Role::Key.config_key(),
                content.instead_of_key()
            ),
            Self::EncryptedKey { path } => write!(
                f,
                "the private key in {path} is encrypted: decrypt it with openssl pkey -in {path} \
                 -out NEW and make the result readable only for the user that runs logpushd",
                path = path.display()
            ),
            Self::UnusableKey { path, source } => write!(
                f,
                "the private key in {} cannot be used: {source}: \
                 use ECDSA P-256 or P-384, Ed25519, or RSA with at least 2048 bits",
                path.display()
            ),
            Self::UnreadableCertificate { path } => {
                write!(f, "the first certificate in {} is not X.509: copy it again", path.display())
            }
            Self::UnusableCertificate { path, source, .. } => {
                write!(
                    f,
                    "a certificate in {} cannot be used: {source}: have it issued again",
                    path.display()
                )
            }
            Self::Mismatch { cert_file, key_file, belongs_to } => {
                write!(
                    f,
                    "the private key in {} does not belong to the first certificate in {}: ",
                    key_file.display(),
                    cert_file.display()
                )?;
                match belongs_to {
                    Some(index) => {
                        write!(f, "it belongs to certificate number {}: put that first", index + 1)
                    }
                    None => f.write_str(
                        "set key_file to the key that the certificate was requested with",
                    ),
                }
            }
            Self::OneMissing { present, missing } => write!(
                f,
                "{} exists, but {} is missing: \
                 self_signed creates both or none; remove the one or restore the other",
                present.display(),
                missing.display()
            ),
            Self::Write { path, source } => write!(
                f,
                "cannot write {}: {source}: make its directory writable for the user that runs logpushd",
                path.display()
            ),
            Self::Generate(source) => {
                write!(f, "cannot create a self-signed certificate: {source}")
            }
            Self::Store { path, source } => write!(
                f,
                "cannot store the certificate in {}: {source}: make server.tls.acme.cache_dir writable \
                 for the user that runs logpushd",
                path.display()
            ),
            Self::Challenge(source) => {
                write!(f, "cannot create the answer to a challenge: {source}")
            }
            Self::Setup(source) => write!(f, "cannot set up TLS: {source}"),
        }
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read { source, .. } | Self::Store { source, .. } | Self::Write { source, .. } => {
                Some(source)
            }
            Self::UnusableKey { source, .. }
            | Self::UnusableCertificate { source, .. }
            | Self::Setup(source) => Some(source),
            Self::Generate(source) | Self::Challenge(source) => Some(source),
            Self::BadPem { .. }
            | Self::NoCertificate { .. }
            | Self::NoKey { .. }
            | Self::EncryptedKey { .. }
            | Self::UnreadableCertificate { .. }
            | Self::Mismatch { .. }
            | Self::OneMissing { .. } => None,
        }
    }
}
