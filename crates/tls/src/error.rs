//! What can be wrong with certificate and key files, said so that it can be put right.

use std::{error::Error, fmt, io, path::PathBuf};

use super::{found::Found, pem::PemFault};

/// Why certificate, key or client authorities cannot be used.
///
/// Its text names the file and what to do, in one line.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// The file cannot be read.
    Read {
        /// What it was to be.
        role: Role,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A PEM section is damaged.
    BadPem {
        /// What it was to be.
        role: Role,
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and in which line.
        fault: PemFault,
    },
    /// No certificate is in the file.
    NoCertificate {
        /// What it was to be.
        role: Role,
        /// The file.
        path: PathBuf,
        /// What is in it instead.
        found: Found,
    },
    /// No private key is in the file.
    NoKey {
        /// The file.
        path: PathBuf,
        /// What is in it instead.
        found: Found,
    },
    /// The key needs a passphrase, which a daemon does not have.
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is of a kind or size that is not supported, or damaged.
    UnusableKey {
        /// The file.
        path: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
    /// The certificate is no X.509 certificate, or damaged.
    UnreadableCertificate {
        /// The file.
        path: PathBuf,
    },
    /// rustls refuses the certificate.
    UnusableCertificate {
        /// What it was to be.
        role: Role,
        /// The file.
        path: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
    /// Certificate and key are not a pair.
    Mismatch {
        /// The file of the chain.
        cert_file: PathBuf,
        /// The file of the key.
        key_file: PathBuf,
        /// The place in the chain, from 0, of a certificate that does belong to the key.
        belongs_to: Option<usize>,
    },
    /// With `self_signed`: one of the two is there, so the other is not made.
    OneMissing {
        /// The file that is there.
        present: PathBuf,
        /// The file that is not.
        missing: PathBuf,
    },
    /// With `self_signed`: the file cannot be written.
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// With `self_signed`: making the certificate failed.
    Generate(rcgen::Error),
    /// With ACME: the file cannot be written.
    Keep {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// With ACME: making the certificate failed that proves a name.
    Challenge(rcgen::Error),
    /// rustls refuses the whole.
    Setup(rustls::Error),
}

/// What a file was to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// `cert_file` of the server or of a sink
    Certificate,
    /// `key_file`
    Key,
    /// `server.tls.client_ca_file`
    ClientCa,
    /// `ca_file` of a sink, or whom the system trusts
    ServerCa,
}

impl Role {
    /// The key that names such a file.
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
    /// What the file was to be that the error is about, if it is about one.
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

    /// A file is not there.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// A file may not be read.
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
                        f.write_str("the daemon's user must be allowed to read it")
                    }
                    _ => write!(f, "check {}", role.config_key()),
                }
            }
            Self::BadPem { path, fault, .. } => {
                write!(f, "{}:{}: {fault}", path.display(), fault.line)
            }
            Self::NoCertificate { role, path, found } => write!(
                f,
                "no certificate in {}: {} expects PEM with BEGIN CERTIFICATE{}",
                path.display(),
                role.config_key(),
                found.instead_of_certificate(*role)
            ),
            Self::NoKey { path, found } => write!(
                f,
                "no private key in {}: {} expects PEM with BEGIN PRIVATE KEY, \
                 BEGIN RSA PRIVATE KEY or BEGIN EC PRIVATE KEY{}",
                path.display(),
                Role::Key.config_key(),
                found.instead_of_key()
            ),
            Self::EncryptedKey { path } => write!(
                f,
                "the private key in {path} is encrypted: decrypt it with openssl pkey -in {path} \
                 -out NEW and let only the daemon's user read the result",
                path = path.display()
            ),
            Self::UnusableKey { path, source } => write!(
                f,
                "the private key in {} cannot be used: {source}: \
                 use ECDSA P-256 or P-384, Ed25519, or RSA of 2048 bits and more",
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
                    Some(place) => {
                        write!(f, "it belongs to certificate number {}: put that first", place + 1)
                    }
                    None => f.write_str("name the key that the certificate was requested with"),
                }
            }
            Self::OneMissing { present, missing } => write!(
                f,
                "{} is there, but {} is missing: \
                 self_signed makes both or none: remove the one or restore the other",
                present.display(),
                missing.display()
            ),
            Self::Write { path, source } => write!(
                f,
                "cannot write {}: {source}: self_signed needs a folder that the daemon's user can \
                 write to",
                path.display()
            ),
            Self::Generate(source) => write!(f, "cannot make a self-signed certificate: {source}"),
            Self::Keep { path, source } => write!(
                f,
                "cannot keep the certificate in {}: {source}: server.tls.acme.cache_dir needs a folder \
                 that the daemon's user can write to",
                path.display()
            ),
            Self::Challenge(source) => write!(f, "cannot make the answer to a challenge: {source}"),
            Self::Setup(source) => write!(f, "cannot set up TLS: {source}"),
        }
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read { source, .. } | Self::Keep { source, .. } | Self::Write { source, .. } => {
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
