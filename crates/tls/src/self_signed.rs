//! Creates a certificate for development, if the configured one is missing.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use jiff::{Span, Timestamp, civil::Date, tz::TimeZone};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};

use super::TlsError;

const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Ten years, since it is not renewed, and a proxy that verifies it answers 502 once it has expired.
const VALID_DAYS: i64 = 3650;

/// Only the user that runs logpushd may read the key.
const KEY_MODE: u32 = 0o600;
const CERT_MODE: u32 = 0o644;

/// Creates both files if both are missing. Returns whether it has created them.
///
/// # Errors
/// One of the two is missing; a file cannot be written.
pub(super) fn make_if_missing(cert_file: &Path, key_file: &Path) -> Result<bool, TlsError> {
    match (exists(cert_file)?, exists(key_file)?) {
        (true, true) => return Ok(false),
        (false, false) => {}
        (true, false) => return Err(one_missing(cert_file, key_file)),
        (false, true) => return Err(one_missing(key_file, cert_file)),
    }

    let key = KeyPair::generate().map_err(TlsError::Generate)?;
    // This constructor avoids a dependency on the time crate of rcgen.
    let midnight = |date: Date| {
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        rcgen::date_time_ymd(date.year().into(), month, day)
    };
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let mut params =
        CertificateParams::new(NAMES.map(str::to_owned)).map_err(TlsError::Generate)?;
    // Valid since yesterday, in case a client's clock is slow.
    params.not_before = midnight(today.saturating_sub(Span::new().days(1)));
    params.not_after = midnight(today.saturating_add(Span::new().days(VALID_DAYS)));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "logpushd development certificate");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key).map_err(TlsError::Generate)?;

    write_new(key_file, &key.serialize_pem(), KEY_MODE)?;
    if let Err(error) = write_new(cert_file, &certificate.pem(), CERT_MODE) {
        // With only a key, the next start would fail. The key is not in use yet.
        drop(fs::remove_file(key_file));
        return Err(error);
    }
    Ok(true)
}

fn exists(path: &Path) -> Result<bool, TlsError> {
    path.try_exists().map_err(|source| TlsError::Write { path: path.into(), source })
}

fn one_missing(present: &Path, missing: &Path) -> TlsError {
    TlsError::OneMissing { present: present.into(), missing: missing.into() }
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let write = || -> io::Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| TlsError::Write { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;
    use crate::{Acceptor, Tls, TlsVersion};

    #[test]
    fn both_files_are_created_once_and_can_be_loaded() {
        let dir = TempDir::new().unwrap();
        let tls = Tls {
            cert_file: dir.path().join("a/b/cert.pem"),
            key_file: dir.path().join("c/key.pem"),
            self_signed: true,
            acme: None,
            client_ca_file: None,
            min_version: TlsVersion::V1_3,
        };
        let acceptor = Acceptor::new(&tls).unwrap();
        let days =
            (acceptor.validity().unwrap().0.not_after - Timestamp::now().as_second()) / 86_400;
        assert!((VALID_DAYS - 2..=VALID_DAYS).contains(&days) && days > 9 * 365, "{days}");
        let mode = fs::metadata(&tls.key_file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let first = fs::read(&tls.cert_file).unwrap();
        acceptor.reload(&tls).unwrap();
        assert_eq!(fs::read(&tls.cert_file).unwrap(), first, "created again");

        // The documented way to renew it.
        fs::remove_file(&tls.cert_file).unwrap();
        fs::remove_file(&tls.key_file).unwrap();
        acceptor.reload(&tls).unwrap();
        assert_ne!(fs::read(&tls.cert_file).unwrap(), first);
    }

    #[test]
    fn one_missing_file_is_an_error_and_the_other_is_not_changed() {
        for present in ["cert.pem", "key.pem"] {
            let dir = TempDir::new().unwrap();
            fs::write(dir.path().join(present), "mine").unwrap();
            let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
            let error = make_if_missing(&cert, &key).unwrap_err();
            assert!(
                matches!(&error, TlsError::OneMissing { present: path, .. } if path.ends_with(present)),
                "{error}"
            );
            assert_eq!(fs::read(dir.path().join(present)).unwrap(), b"mine");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn the_key_is_removed_if_the_certificate_cannot_be_written() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("both.pem");
        assert!(make_if_missing(&path, &path).is_err());
        assert!(!path.exists());
    }
}
