//! What TLS is told: the files of the listener, who gives its certificate, and what a client trusts.

use std::path::{Path, PathBuf};

/// `[server.tls]`
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// PEM: the certificate and every intermediate.
    pub cert_file: PathBuf,
    /// PEM: PKCS#8, PKCS#1 or SEC1.
    pub key_file: PathBuf,
    /// Development: the two files are made if both are missing.
    pub self_signed: bool,
    /// Get the certificate from an authority; the two files are then one, in its cache.
    pub acme: Option<Acme>,
    /// PEM: clients must show a certificate that one of these signed.
    pub client_ca_file: Option<PathBuf>,
    /// The oldest protocol version spoken.
    pub min_version: TlsVersion,
}

/// `server.tls.min_version`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TlsVersion {
    /// `"1.2"`
    V1_2,
    /// `"1.3"`
    V1_3,
}

/// `[sink.NAME.KIND.tls]`
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClientTls {
    /// PEM: who may have signed the server's certificate; `None`: whom the system trusts.
    pub ca_file: Option<PathBuf>,
    /// PEM: the client's certificate with its chain, and its key.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The name that must stand in the server's certificate; `None`: the host of the address.
    pub server_name: Option<String>,
}

/// `[server.tls.acme]`
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Acme {
    /// Names in lower case, without a dot at the end. At least one.
    pub domains: Vec<String>,
    /// `mailto:...`
    pub contact: Option<String>,
    /// Where the directory's own description is, an `https://` URL.
    pub directory_url: String,
    /// PEM: whom to trust instead of the public web's authorities, when talking to the directory.
    pub directory_ca_file: Option<PathBuf>,
    /// Where account and certificates are kept.
    pub cache_dir: PathBuf,
}

impl Acme {
    /// The default of `directory_url`.
    pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

    /// The default of `cache_dir`.
    pub fn default_cache_dir(spool_dir: &Path) -> PathBuf {
        spool_dir.join("acme")
    }

    /// Where certificate and key are kept, both in one file, so that they are exchanged as one.
    ///
    /// Another directory or other names are another file: a certificate is never taken for what it
    /// is not.
    pub fn certificate_file(&self) -> PathBuf {
        let mut domains: Vec<&str> = self.domains.iter().map(String::as_str).collect();
        domains.sort_unstable();
        let digest = digest(&[&[self.directory_url.as_str()], domains.as_slice()].concat());
        // For people. A file's name must not be longer than 255 bytes.
        let first = self.domains.first().map_or("", String::as_str);
        self.cache_dir.join(format!("{first:.100}-{digest}.pem"))
    }

    /// Where the account at the directory is kept, with its key.
    pub fn account_file(&self) -> PathBuf {
        self.cache_dir.join(format!("account-{}.json", digest(&[&self.directory_url])))
    }
}

/// 64 bits are enough to tell apart what one operator has configured.
fn digest(parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update(b"\n");
    }
    hasher.finalize().to_hex().chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acme(directory: &str, domains: &[&str]) -> Acme {
        Acme {
            domains: domains.iter().map(|&domain| domain.to_owned()).collect(),
            contact: None,
            directory_url: directory.to_owned(),
            directory_ca_file: None,
            cache_dir: PathBuf::from("/cache"),
        }
    }

    #[test]
    fn another_directory_or_other_names_are_another_file() {
        let one = acme("https://a/dir", &["a.example", "b.example"]);
        let same = acme("https://a/dir", &["b.example", "a.example"]);
        let name = |acme: &Acme| acme.certificate_file().to_str().unwrap().to_owned();
        assert!(name(&one).starts_with("/cache/a.example-"), "{}", name(&one));
        assert_eq!(name(&one).rsplit('-').next(), name(&same).rsplit('-').next());
        for other in [
            acme("https://b/dir", &["a.example", "b.example"]),
            acme("https://a/dir", &["a.example"]),
            acme("https://a/dir", &["a.example", "b.example", "c.example"]),
        ] {
            assert_ne!(name(&one), name(&other));
        }
        assert_eq!(one.account_file(), same.account_file());
        assert_ne!(one.account_file(), acme("https://b/dir", &["a.example"]).account_file());

        let long = acme("https://a/dir", &[&"a.".repeat(126)]).certificate_file();
        assert!(long.file_name().unwrap().len() < 255);
    }
}
