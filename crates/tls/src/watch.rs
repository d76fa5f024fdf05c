//! Detects changes of the files of certificate, key and client authorities.
//!
//! It polls: a poll costs three calls of `stat`, and detects every kind of change (a write in place, a
//! rename, a changed symbolic link in the path).

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Acceptor, Tls, TlsError};

/// The metadata that changes when a file changes: device, inode, size, and the times of modification and
/// status change in seconds and nanoseconds.
type FileStamp = (u64, u64, u64, (i64, i64), (i64, i64));

/// The stamps of all files of a configuration. A missing file has none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct FileStamps(Vec<(PathBuf, Option<FileStamp>)>);

impl FileStamps {
    pub(super) fn of(tls: &Tls) -> Self {
        let files = [Some(&tls.cert_file), Some(&tls.key_file), tls.client_ca_file.as_ref()];
        Self(files.into_iter().flatten().map(|file| (file.clone(), stamp(file))).collect())
    }
}

fn stamp(file: &Path) -> Option<FileStamp> {
    let file = fs::metadata(file).ok()?;
    let (modified, changed) =
        ((file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec()));
    Some((file.dev(), file.ino(), file.size(), modified, changed))
}

/// The result of a poll.
#[derive(Debug)]
pub enum FilesChange {
    /// The files have not changed, or a change is not complete yet.
    None,
    /// The files have changed, and the new ones are in use.
    Loaded,
    /// The files have changed, but cannot be used, so the old configuration stays in use. Reported once
    /// for each change.
    Rejected(TlsError),
}

/// Watches the files of an [`Acceptor`].
#[derive(Debug, Default)]
pub struct Watch {
    /// Files that could not be used at the last poll. A program that replaces two files may be between
    /// them, so this is an error only if the next poll finds the same files.
    suspect: Option<FileStamps>,
    rejected: Option<FileStamps>,
}

impl Watch {
    /// Loads the files if they have changed.
    pub fn poll(&mut self, acceptor: &Acceptor) -> FilesChange {
        let (tls, loaded) = acceptor.stamped_settings();
        let now = FileStamps::of(&tls);
        if now == loaded || self.rejected.as_ref() == Some(&now) {
            return FilesChange::None;
        }
        match acceptor.refresh() {
            Ok(()) => {
                *self = Self::default();
                FilesChange::Loaded
            }
            Err(error) if self.suspect.as_ref() == Some(&now) => {
                self.rejected = Some(now);
                FilesChange::Rejected(error)
            }
            Err(_) => {
                self.suspect = Some(now);
                FilesChange::None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rcgen::{CertificateParams, KeyPair};
    use tempfile::TempDir;

    use super::*;
    use crate::TlsVersion;

    fn pair(year: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn put(dir: &Path, (cert, key): &(String, String)) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("cert.pem"), cert).unwrap();
        fs::write(dir.join("key.pem"), key).unwrap();
    }

    fn files(dir: &Path) -> Tls {
        Tls {
            cert_file: dir.join("cert.pem"),
            key_file: dir.join("key.pem"),
            self_signed: false,
            acme: None,
            client_ca_file: None,
            min_version: TlsVersion::V1_2,
        }
    }

    const IN_2031: i64 = 1_924_992_000;
    const IN_2032: i64 = 1_956_528_000;

    #[test]
    fn a_matching_pair_is_loaded_and_a_mismatch_is_reported_once() {
        let dir = TempDir::new().unwrap();
        put(dir.path(), &pair(2031));
        let tls = files(dir.path());
        let (acceptor, mut watch) = (Acceptor::new(&tls).unwrap(), Watch::default());
        assert!(matches!(watch.poll(&acceptor), FilesChange::None));

        // One file, then the other, with a poll in between.
        let next = pair(2032);
        fs::write(&tls.cert_file, &next.0).unwrap();
        assert!(matches!(watch.poll(&acceptor), FilesChange::None), "the pair may be incomplete");
        assert_eq!(acceptor.validity().unwrap().0.not_after, IN_2031);
        fs::write(&tls.key_file, &next.1).unwrap();
        assert!(matches!(watch.poll(&acceptor), FilesChange::Loaded));
        assert_eq!(acceptor.validity().unwrap().0.not_after, IN_2032);
        assert!(matches!(watch.poll(&acceptor), FilesChange::None));

        // A permanent mismatch: reported at the second poll, and only there.
        fs::write(&tls.key_file, pair(2033).1).unwrap();
        assert!(matches!(watch.poll(&acceptor), FilesChange::None));
        assert!(matches!(watch.poll(&acceptor), FilesChange::Rejected(TlsError::Mismatch { .. })));
        for _ in 0..3 {
            assert!(matches!(watch.poll(&acceptor), FilesChange::None));
        }
        fs::remove_file(&tls.key_file).unwrap();
        assert!(matches!(watch.poll(&acceptor), FilesChange::None));
        assert!(matches!(watch.poll(&acceptor), FilesChange::Rejected(TlsError::Read { .. })));
        assert_eq!(acceptor.validity().unwrap().0.not_after, IN_2032);

        fs::write(&tls.key_file, &next.1).unwrap();
        assert!(matches!(watch.poll(&acceptor), FilesChange::Loaded), "repaired");
    }

    #[test]
    fn a_changed_symbolic_link_is_a_change() {
        let dir = TempDir::new().unwrap();
        let of = |year: &str| dir.path().join(year);
        put(&of("2031"), &pair(2031));
        put(&of("2032"), &pair(2032));
        symlink(of("2031"), of("live")).unwrap();
        let (acceptor, mut watch) = (Acceptor::new(&files(&of("live"))).unwrap(), Watch::default());
        assert!(matches!(watch.poll(&acceptor), FilesChange::None));

        symlink(of("2032"), of("next")).unwrap();
        fs::rename(of("next"), of("live")).unwrap();
        assert!(matches!(watch.poll(&acceptor), FilesChange::Loaded));
        assert_eq!(acceptor.validity().unwrap().0.not_after, IN_2032);
    }
}
