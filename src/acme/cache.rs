//! What is kept of a directory: the account with its key, and the certificate with its key.
//!
//! Only the daemon's user can read the folder and the files in it. A file is replaced as a whole, so
//! that after a crash it is the old or the new one.

use std::{fs, io, path::Path};

use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    durable,
    tls::{self, Acme, TlsError},
};

const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// An account as it is kept. Not to be printed: it holds the key.
#[derive(Deserialize, Serialize)]
pub(super) struct Account {
    /// What the directory was told.
    pub(super) contact: Option<String>,
    /// `AccountCredentials`, which can be read and written but not copied.
    credentials: Value,
}

impl Account {
    pub(super) fn new(
        contact: Option<String>,
        credentials: &AccountCredentials,
    ) -> serde_json::Result<Self> {
        Ok(Self { contact, credentials: serde_json::to_value(credentials)? })
    }

    pub(super) fn credentials(&self) -> serde_json::Result<AccountCredentials> {
        AccountCredentials::deserialize(&self.credentials)
    }

    /// The account that is kept for this directory, if there is one.
    pub(super) fn kept(acme: &Acme) -> io::Result<Option<Self>> {
        let path = acme.account_file();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(durable::error_at("reading", &path)(error)),
        };
        // One that cannot be read is worth no more than none: another costs nothing.
        Ok(serde_json::from_slice(&text).ok())
    }

    pub(super) fn keep(&self, acme: &Acme) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        keep(&acme.cache_dir, &acme.account_file(), &text)
    }

    /// Forgets the account.
    pub(super) fn forget(acme: &Acme) -> io::Result<()> {
        durable::remove(&acme.account_file())
    }
}

/// What came of an order: both in PEM.
pub(super) struct Issued {
    pub(super) chain: String,
    pub(super) key: String,
}

/// Whether a certificate could be kept. To be asked before one is ordered: a directory gives a few a
/// week for the same names.
pub(super) fn check_writable(acme: &Acme) -> Result<(), TlsError> {
    let probe = acme.cache_dir.join("probe");
    keep(&acme.cache_dir, &probe, b"probe")
        .and_then(|()| durable::remove(&probe))
        .map_err(|source| TlsError::Store { path: acme.certificate_file(), source })
}

/// Keeps a certificate if it can be used.
pub(super) fn keep_certificate(acme: &Acme, issued: &Issued) -> Result<(), TlsError> {
    let path = acme.certificate_file();
    let pem = format!("{}\n{}", issued.chain.trim_end(), issued.key);
    tls::check_pem(pem.as_bytes(), &path)?;
    keep(&acme.cache_dir, &path, pem.as_bytes())
        .map_err(|source| TlsError::Store { path: path.clone(), source })
}

fn keep(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    durable::create_dir(dir, DIR_MODE)?;
    durable::replace_with_mode(path, bytes, FILE_MODE)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn acme(dir: &Path) -> Acme {
        Acme {
            domains: vec!["a.example".to_owned()],
            contact: None,
            directory_url: "https://acme.example/directory".to_owned(),
            directory_ca_file: None,
            cache_dir: dir.join("acme"),
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_the_daemon_s_user_can_read_what_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let acme = acme(dir.path());
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(acme.domains.clone()).unwrap();
        let chain = params.self_signed(&key).unwrap().pem();
        let issued = Issued { chain, key: key.serialize_pem() };
        keep_certificate(&acme, &issued).unwrap();
        let account = Account { contact: None, credentials: Value::from("secret") };
        account.keep(&acme).unwrap();
        assert_eq!(mode(&acme.cache_dir), 0o700);
        assert_eq!(mode(&acme.certificate_file()), 0o600);
        assert_eq!(mode(&acme.account_file()), 0o600);
        assert_eq!(fs::read_dir(&acme.cache_dir).unwrap().count(), 2);

        // What cannot be used replaces nothing.
        let kept = fs::read(acme.certificate_file()).unwrap();
        let other = KeyPair::generate().unwrap().serialize_pem();
        let misfit = Issued { chain: issued.chain.clone(), key: other };
        assert!(matches!(keep_certificate(&acme, &misfit), Err(TlsError::Mismatch { .. })));
        let nothing = Issued { chain: String::from("<html>"), key: issued.key };
        assert!(keep_certificate(&acme, &nothing).is_err());
        assert_eq!(fs::read(acme.certificate_file()).unwrap(), kept);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let acme = acme(dir.path());
        check_writable(&acme).unwrap();
        assert_eq!(fs::read_dir(&acme.cache_dir).unwrap().count(), 0, "and leaves nothing");
        fs::remove_dir(&acme.cache_dir).unwrap();
        fs::write(&acme.cache_dir, "no folder").unwrap();
        let error = check_writable(&acme).unwrap_err().to_string();
        assert!(
            error.contains("a.example-") && error.contains("acme.cache_dir writable"),
            "{error}"
        );
    }

    #[test]
    fn a_damaged_account_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let acme = acme(dir.path());
        assert!(Account::kept(&acme).unwrap().is_none());
        fs::create_dir(&acme.cache_dir).unwrap();
        fs::write(acme.account_file(), "{\"contact\":").unwrap();
        assert!(Account::kept(&acme).unwrap().is_none());
    }
}
