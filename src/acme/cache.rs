//! Stores the account and the certificate of an ACME directory, each with its key.
//!
//! Only the daemon's user can read the cache directory and its files. A file is replaced
//! atomically, so that a crash leaves the old or the new file.

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

/// Stored account. Contains the key, so it must not be printed.
#[derive(Deserialize, Serialize)]
pub(super) struct Account {
    /// Contact that was sent to the directory.
    pub(super) contact: Option<String>,
    /// `AccountCredentials`, which implements no `Clone`.
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

    /// Loads the account of this directory, if one is stored.
    pub(super) fn load(acme: &Acme) -> io::Result<Option<Self>> {
        let path = acme.account_file();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(durable::error_at("reading", &path)(error)),
        };
        // A damaged account is ignored: creating a new one is free.
        Ok(serde_json::from_slice(&text).ok())
    }

    pub(super) fn store(&self, acme: &Acme) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        store(&acme.cache_dir, &acme.account_file(), &text)
    }

    /// Removes the account.
    pub(super) fn remove(acme: &Acme) -> io::Result<()> {
        durable::remove(&acme.account_file())
    }
}

/// Certificate chain and key of an order, in PEM.
pub(super) struct IssuedCertificate {
    pub(super) chain: String,
    pub(super) key: String,
}

/// Checks that a certificate can be stored. Must be called before one is ordered: a directory
/// issues only a few a week for the same names.
pub(super) fn check_writable(acme: &Acme) -> Result<(), TlsError> {
    let probe = acme.cache_dir.join("probe");
    store(&acme.cache_dir, &probe, b"probe")
        .and_then(|()| durable::remove(&probe))
        .map_err(|source| TlsError::Store { path: acme.certificate_file(), source })
}

/// Stores a certificate if it is usable.
pub(super) fn store_certificate(acme: &Acme, issued: &IssuedCertificate) -> Result<(), TlsError> {
    let path = acme.certificate_file();
    let pem = format!("{}\n{}", issued.chain.trim_end(), issued.key);
    tls::check_pem(pem.as_bytes(), &path)?;
    store(&acme.cache_dir, &path, pem.as_bytes())
        .map_err(|source| TlsError::Store { path: path.clone(), source })
}

fn store(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
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
    fn only_the_daemons_user_can_read_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        let acme = acme(dir.path());
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(acme.domains.clone()).unwrap();
        let chain = params.self_signed(&key).unwrap().pem();
        let issued = IssuedCertificate { chain, key: key.serialize_pem() };
        store_certificate(&acme, &issued).unwrap();
        let account = Account { contact: None, credentials: Value::from("secret") };
        account.store(&acme).unwrap();
        assert_eq!(mode(&acme.cache_dir), 0o700);
        assert_eq!(mode(&acme.certificate_file()), 0o600);
        assert_eq!(mode(&acme.account_file()), 0o600);
        assert_eq!(fs::read_dir(&acme.cache_dir).unwrap().count(), 2);

        // An unusable certificate replaces nothing.
        let stored = fs::read(acme.certificate_file()).unwrap();
        let other = KeyPair::generate().unwrap().serialize_pem();
        let misfit = IssuedCertificate { chain: issued.chain.clone(), key: other };
        assert!(matches!(store_certificate(&acme, &misfit), Err(TlsError::Mismatch { .. })));
        let nothing = IssuedCertificate { chain: String::from("<html>"), key: issued.key };
        assert!(store_certificate(&acme, &nothing).is_err());
        assert_eq!(fs::read(acme.certificate_file()).unwrap(), stored);
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_detected() {
        let dir = tempfile::tempdir().unwrap();
        let acme = acme(dir.path());
        check_writable(&acme).unwrap();
        assert_eq!(fs::read_dir(&acme.cache_dir).unwrap().count(), 0, "the probe is removed");
        fs::remove_dir(&acme.cache_dir).unwrap();
        fs::write(&acme.cache_dir, "not a directory").unwrap();
        let error = check_writable(&acme).unwrap_err().to_string();
        assert!(
            error.contains("a.example-") && error.contains("acme.cache_dir writable"),
            "{error}"
        );
    }

    #[test]
    fn a_damaged_account_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let acme = acme(dir.path());
        assert!(Account::load(&acme).unwrap().is_none());
        fs::create_dir(&acme.cache_dir).unwrap();
        fs::write(acme.account_file(), "{\"contact\":").unwrap();
        assert!(Account::load(&acme).unwrap().is_none());
    }
}
