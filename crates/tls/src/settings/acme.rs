//! The settings of `[server.tls.acme]`.

use std::path::{Path as FilePath, PathBuf};

use http::Uri;
use settings::{
    Context, Diagnostic, Value, check_domain, reference::Takes, setting, settings, types::Path,
};

/// The limit of Let's Encrypt for one certificate.
const MAX_DOMAINS: usize = 100;

settings! {
    /// The daemon obtains its certificate from an ACME directory such as Let's Encrypt, and
    /// renews it when a third of its lifetime is left. The directory connects to port 443 of
    /// each name: listen on that port, or forward it. See docs/certificates.md.
    ///
    /// The daemon answers the challenge (TLS-ALPN-01) on its own listener.
    pub struct Acme in ".acme" derive(Eq) {
        /// The names in the certificate: the hosts in the destinations of your jobs.
        ///
        /// Each name must lead to this daemon. Wildcards and IP addresses are not supported.
        pub domains: Domains as ["logs.example.com"],
        /// Where the certificate authority can reach you.
        ///
        /// Let's Encrypt no longer sends reminders.
        pub contact: Option<Contact> as "mailto:ops@example.com" else "an account without a contact",
        /// The URL of the ACME directory. By using it, you agree to the terms of its
        /// certificate authority.
        ///
        /// Try a staging directory first: the rate limits for failures are strict.
        pub directory_url: DirectoryUrl = "https://acme-v02.api.letsencrypt.org/directory",
        /// A PEM file with the CA of the directory's own certificate, if the directory is
        /// private.
        pub directory_ca_file: Option<DirectoryCa> as "pebble.pem"
            else "the public certificate authorities",
        /// The directory for the account and the certificate, which only the daemon's user can
        /// read.
        ///
        /// With a certificate in it, the daemon starts even if the ACME directory is
        /// unreachable.
        pub cache_dir: Path as "acme" else "the directory `acme` in `spool.dir`",
    }
}

setting! {
    /// Distinct domain names in lower case, without a trailing dot.
    pub struct Domains(Vec<String>): Takes::StringOrList("name of a host"), read by domains;
}

setting! {
    /// A contact address, `mailto:...`.
    pub struct Contact(String): Takes::String("mailto: address"), read by contact;
}

setting! {
    /// The `https://` URL of an ACME directory.
    pub struct DirectoryUrl(String): Takes::String("URL"), read by directory_url;
}

setting! {
    /// A PEM file with the authorities that may sign a directory's certificate.
    pub struct DirectoryCa(PathBuf): Takes::String("path"), read by directory_ca;
}

impl Acme {
    /// The default of `cache_dir`.
    pub fn default_cache_dir(spool_dir: &FilePath) -> PathBuf {
        spool_dir.join("acme")
    }

    /// Sets the default of `cache_dir` if the configuration does not set it.
    pub(super) fn set_default_paths(&mut self, spool_dir: &FilePath) {
        if self.cache_dir.as_os_str().is_empty() {
            self.cache_dir = Self::default_cache_dir(spool_dir);
        }
    }

    /// The file of the certificate and its key: one file, so that both are replaced atomically.
    ///
    /// The name depends on the directory and the domains, so a certificate from another directory or
    /// for other names is never used.
    pub fn certificate_file(&self) -> PathBuf {
        let mut domains: Vec<&str> = self.domains.iter().map(String::as_str).collect();
        domains.sort_unstable();
        let digest = digest(&[&[self.directory_url.as_str()], domains.as_slice()].concat());
        // The first domain makes the name readable. A file name is limited to 255 bytes.
        let first = self.domains.first().map_or("", String::as_str);
        self.cache_dir.join(format!("{first:.100}-{digest}.pem"))
    }

    /// The file of the account at the directory, with its key.
    pub fn account_file(&self) -> PathBuf {
        self.cache_dir.join(format!("account-{}.json", digest(&[&self.directory_url])))
    }
}

fn domains(value: &Value<'_>, cx: &mut Context) -> Option<Vec<String>> {
    let name = value.name();
    let items = value.one_or_items(cx)?;
    let count = items.len();
    if count > MAX_DOMAINS {
        cx.push(value.problem(format!("`{name}` must have 1 to {MAX_DOMAINS} names")));
        return None;
    }
    let mut domains: Vec<String> = Vec::new();
    for item in items {
        let Some(text) = item.string(cx) else { continue };
        let domain = text.get_ref().to_ascii_lowercase();
        let domain = domain.strip_suffix('.').unwrap_or(&domain);
        let shown = text.get_ref().escape_debug();
        if let Err(hint) = check(domain) {
            let message = format!("cannot obtain a certificate for `{shown}`");
            cx.push(Diagnostic::at(text.span(), message).hint(hint));
        } else if domains.iter().any(|known| known == domain) {
            cx.push(Diagnostic::at(text.span(), format!("`{shown}` is listed twice in `{name}`")));
        }
        domains.push(domain.to_owned());
    }
    (domains.len() == count).then_some(domains)
}

/// Checks that ACME can issue a certificate for `domain`. The error is a hint.
fn check(domain: &str) -> Result<(), &'static str> {
    if domain.starts_with("*.") {
        return Err(
            "TLS-ALPN-01 cannot validate a wildcard: list the names, or obtain the certificate by \
             DNS-01 with another ACME client and set cert_file and key_file",
        );
    }
    check_domain(domain)
}

fn contact(value: &Value<'_>, cx: &mut Context) -> Option<String> {
    let text = value.string(cx)?.into_inner();
    let address = text.strip_prefix("mailto:").unwrap_or_default();
    let is_plain = text.bytes().all(|b| b.is_ascii_graphic()) && !text.contains(['?', ',']);
    if !is_plain || !address.contains('@') {
        let message = format!("`{}` is not a contact address", text.escape_debug());
        let example = value.example();
        let hint = format!("write one mail address such as {example}, or remove the key");
        cx.push(value.problem(message).hint(hint));
        return None;
    }
    Some(text)
}

fn directory_url(value: &Value<'_>, cx: &mut Context) -> Option<String> {
    let url = value.string(cx)?.into_inner();
    let is_usable = url.parse::<Uri>().is_ok_and(|uri| {
        let has_user = uri.authority().is_none_or(|authority| authority.as_str().contains('@'));
        uri.scheme_str() == Some("https") && !has_user
    });
    if !is_usable || url.contains('#') {
        let message = format!("`{}` is not the URL of an ACME directory", url.escape_debug());
        let hint = format!("write an https:// URL such as {}", value.example());
        cx.push(value.problem(message).hint(hint));
        return None;
    }
    Some(url)
}

fn directory_ca(value: &Value<'_>, cx: &mut Context) -> Option<PathBuf> {
    value.readable("name a PEM file with the CA that signed the directory's certificate", cx)
}

/// 64 bits of a digest, enough to distinguish the configurations of one operator.
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
    fn file_names_depend_on_directory_and_domains() {
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
