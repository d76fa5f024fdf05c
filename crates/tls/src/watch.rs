//! Notices that certificate, key or client authorities have changed on disk.
//!
//! By asking again and again: it costs three calls of `stat`, and it does not matter how the files
//! come to change (written in place, renamed, a link in the path turned to elsewhere).

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{Acceptor, Tls, TlsError};

/// What tells one state of a file from another: device, inode, size, and both times with their
/// nanoseconds.
type Looks = (u64, u64, u64, (i64, i64), (i64, i64));

/// How the files of a configuration look from the outside; a file that is not there looks like
/// nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Stamp(Vec<(PathBuf, Option<Looks>)>);

impl Stamp {
    pub(super) fn of(tls: &Tls) -> Self {
        let files = [Some(&tls.cert_file), Some(&tls.key_file), tls.client_ca_file.as_ref()];
        Self(files.into_iter().flatten().map(|file| (file.clone(), looks(file))).collect())
    }
}

fn looks(file: &Path) -> Option<Looks> {
    let file = fs::metadata(file).ok()?;
    let (modified, changed) =
        ((file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec()));
    Some((file.dev(), file.ino(), file.size(), modified, changed))
}

/// What a look at the files showed.
#[derive(Debug)]
pub enum Change {
    /// They are as they were, or are just being changed.
    None,
    /// They had changed, and are in use now.
    Taken,
    /// They have changed, and cannot be used: what was loaded before stays. Said once for a change.
    Refused(TlsError),
}

/// Watches the files of an [`Acceptor`].
#[derive(Debug, Default)]
pub struct Watch {
    /// What could not be used at the last look. Whoever writes two files is between them for a
    /// moment, so that is an error only if it stays as it is.
    unfit: Option<Stamp>,
    refused: Option<Stamp>,
}

impl Watch {
    /// Looks at the files, and loads them if they have changed.
    pub fn look(&mut self, acceptor: &Acceptor) -> Change {
        let (tls, loaded) = acceptor.source();
        let now = Stamp::of(&tls);
        if now == loaded || self.refused.as_ref() == Some(&now) {
            return Change::None;
        }
        match acceptor.refresh() {
            Ok(()) => {
                *self = Self::default();
                Change::Taken
            }
            Err(error) if self.unfit.as_ref() == Some(&now) => {
                self.refused = Some(now);
                Change::Refused(error)
            }
            Err(_) => {
                self.unfit = Some(now);
                Change::None
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
    fn a_pair_is_taken_when_it_fits_and_a_misfit_is_said_once() {
        let dir = TempDir::new().unwrap();
        put(dir.path(), &pair(2031));
        let tls = files(dir.path());
        let (acceptor, mut watch) = (Acceptor::new(&tls).unwrap(), Watch::default());
        assert!(matches!(watch.look(&acceptor), Change::None));

        // One file, then the other, with a look in between.
        let next = pair(2032);
        fs::write(&tls.cert_file, &next.0).unwrap();
        assert!(matches!(watch.look(&acceptor), Change::None), "it may come to fit");
        assert_eq!(acceptor.validity().unwrap().0.not_after, IN_2031);
        fs::write(&tls.key_file, &next.1).unwrap();
        assert!(matches!(watch.look(&acceptor), Change::Taken));
        assert_eq!(acceptor.validity().unwrap().0.not_after, IN_2032);
        assert!(matches!(watch.look(&acceptor), Change::None));

        // One that never fits: said at the second look, and never again.
        fs::write(&tls.key_file, pair(2033).1).unwrap();
        assert!(matches!(watch.look(&acceptor), Change::None));
        assert!(matches!(watch.look(&acceptor), Change::Refused(TlsError::Mismatch { .. })));
        for _ in 0..3 {
            assert!(matches!(watch.look(&acceptor), Change::None));
        }
        fs::remove_file(&tls.key_file).unwrap();
        assert!(matches!(watch.look(&acceptor), Change::None));
        assert!(matches!(watch.look(&acceptor), Change::Refused(TlsError::Read { .. })));
        assert_eq!(acceptor.validity().unwrap().0.not_after, IN_2032);

        fs::write(&tls.key_file, &next.1).unwrap();
        assert!(matches!(watch.look(&acceptor), Change::Taken), "mended");
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_a_change() {
        let dir = TempDir::new().unwrap();
        let of = |year: &str| dir.path().join(year);
        put(&of("2031"), &pair(2031));
        put(&of("2032"), &pair(2032));
        symlink(of("2031"), of("live")).unwrap();
        let (acceptor, mut watch) = (Acceptor::new(&files(&of("live"))).unwrap(), Watch::default());
        assert!(matches!(watch.look(&acceptor), Change::None));

        symlink(of("2032"), of("next")).unwrap();
        fs::rename(of("next"), of("live")).unwrap();
        assert!(matches!(watch.look(&acceptor), Change::Taken));
        assert_eq!(acceptor.validity().unwrap().0.not_after, IN_2032);
    }
}
