//! A certificate for development, made where the configured one is missing.

use std::{fs, path::Path};

use jiff::{Span, Timestamp, civil::Date, tz::TimeZone};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};

use super::TlsError;
use crate::durable;

const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
const VALID_DAYS: i64 = 365;

/// Only the daemon's user may read the key.
const KEY_MODE: u32 = 0o600;
const CERT_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;

/// Makes both files if both are missing, and says whether it made any. A key alone, which a start that
/// was cut off leaves, gets its certificate.
///
/// # Errors
/// One of the two is missing and the other is none of ours; a file cannot be written.
pub(super) fn make_if_missing(cert_file: &Path, key_file: &Path) -> Result<bool, TlsError> {
    let key = match (is_there(cert_file)?, is_there(key_file)?) {
        (true, true) => return Ok(false),
        (true, false) => return Err(one_missing(cert_file, key_file)),
        (false, true) => {
            let kept = fs::read_to_string(key_file).ok();
            let key = kept.and_then(|pem| KeyPair::from_pem(&pem).ok());
            key.ok_or_else(|| one_missing(key_file, cert_file))?
        }
        (false, false) => {
            let key = KeyPair::generate().map_err(TlsError::Generate)?;
            write(key_file, &key.serialize_pem(), KEY_MODE)?;
            key
        }
    };

    // rcgen's own constructor spares a dependency on the crate that it counts time with.
    let midnight = |date: Date| {
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        rcgen::date_time_ymd(date.year().into(), month, day)
    };
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let mut params =
        CertificateParams::new(NAMES.map(str::to_owned)).map_err(TlsError::Generate)?;
    // From yesterday: the client's clock may be behind.
    params.not_before = midnight(today.saturating_sub(Span::new().days(1)));
    params.not_after = midnight(today.saturating_add(Span::new().days(VALID_DAYS)));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "logpushd development certificate");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key).map_err(TlsError::Generate)?;
    write(cert_file, &certificate.pem(), CERT_MODE)?;
    Ok(true)
}

fn is_there(path: &Path) -> Result<bool, TlsError> {
    path.try_exists().map_err(|source| TlsError::Write { path: path.into(), source })
}

fn one_missing(present: &Path, missing: &Path) -> TlsError {
    TlsError::OneMissing { present: present.into(), missing: missing.into() }
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    durable::create_dir(durable::folder(path), FOLDER_MODE)
        .and_then(|()| durable::replace_with_mode(path, text.as_bytes(), mode))
        .map_err(|source| TlsError::Write { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    use super::*;
    use crate::{
        config::{Tls, TlsVersion},
        tls,
    };

    fn configured(dir: &TempDir) -> Tls {
        Tls {
            cert_file: dir.path().join("a/b/cert.pem"),
            key_file: dir.path().join("c/key.pem"),
            self_signed: true,
            acme: None,
            client_ca_file: None,
            min_version: TlsVersion::V1_3,
        }
    }

    #[test]
    fn both_files_are_made_once_and_can_be_loaded() {
        let dir = TempDir::new().unwrap();
        let tls = configured(&dir);
        let acceptor = tls::Acceptor::new(&tls).unwrap();
        let days =
            (acceptor.validity().unwrap().0.not_after - Timestamp::now().as_second()) / 86_400;
        assert!((VALID_DAYS - 2..=VALID_DAYS).contains(&days), "{days}");
        let mode = fs::metadata(&tls.key_file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let first = fs::read(&tls.cert_file).unwrap();
        acceptor.reload(&tls).unwrap();
        assert_eq!(fs::read(&tls.cert_file).unwrap(), first, "made again");
    }

    #[test]
    fn one_alone_is_an_error_and_is_left_as_it_is() {
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
    fn a_start_that_was_cut_off_between_the_two_is_finished() {
        let dir = TempDir::new().unwrap();
        let tls = configured(&dir);
        assert!(make_if_missing(&tls.cert_file, &tls.key_file).unwrap());
        let key = fs::read(&tls.key_file).unwrap();
        fs::remove_file(&tls.cert_file).unwrap();
        tls::Acceptor::new(&tls).unwrap();
        assert_eq!(fs::read(&tls.key_file).unwrap(), key, "others may know it");
        assert!(tls.cert_file.is_file());
    }
}
