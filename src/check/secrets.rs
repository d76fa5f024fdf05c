//! Checks secret files and key files: suspicious lines, and permissions.
//!
//! No message contains a part of a secret.

use std::{os::unix::fs::MetadataExt as _, path::Path};

use settings::secret_file::read_first_line;

use crate::config::{self, Auth, Config, Diagnostic, Document, Secret};

/// The minimum length of a secret. Shorter ones can be guessed.
const MIN_CHARS: usize = 16;

const LONGER: &str = "use at least 16 characters: openssl rand -hex 32 creates a good secret";

/// The mode bits `S_IROTH` and `S_IXOTH`.
const OTHERS_READ: u32 = 0o004;
const OTHERS_SEARCH: u32 = 0o001;

/// Warns about short secrets, and about lines that look like comments or headers.
pub(super) fn dubious(document: &Document) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    for endpoint in &document.config.endpoints {
        let (header, file) = match &endpoint.auth {
            Auth::Secret { header, file } => (header.as_str(), file),
            Auth::Token { file } => ("authorization", file),
            Auth::None => continue,
        };
        let key = format!("endpoint.{}.secret_file", endpoint.name);
        for secret in config::read_secrets(file).unwrap_or_default() {
            if let Some((what, hint)) = doubt(&secret, header) {
                let message = format!("line {} of `{}` {what}", secret.line, file.display());
                warnings.push(document.warning(&key, message).hint(hint));
            }
        }
    }
    for sink in &document.config.sinks {
        let Some(file) = &sink.mask_key_file else { continue };
        let chars = read_first_line(file).map_or(MIN_CHARS, |key| key.chars().count());
        if chars < MIN_CHARS {
            let message = format!("`{}` has {}", file.display(), too_short("key", chars));
            let key = sink.full_name("mask_key_file");
            warnings.push(document.warning(&key, message).hint(LONGER));
        }
    }
    warnings
}

fn doubt(secret: &Secret, header: &str) -> Option<(String, &'static str)> {
    let line = secret.whole_line();
    let name = line.split_once(':').map_or("", |(name, _)| name);
    let starts = |prefix: &str| {
        let start = line.get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    if line.starts_with('#') {
        let what = "begins with `#`, but is a valid secret";
        return Some((what.to_owned(), "remove the line: the file has no comments"));
    }
    if name.eq_ignore_ascii_case(header)
        || name.eq_ignore_ascii_case("authorization")
        || starts("x-") && !name.is_empty()
        || starts("splunk ")
        || starts("bearer ")
        || starts("header_")
    {
        let what = "looks like a header";
        return Some((what.to_owned(), "write only the value, or `name: value` with another name"));
    }
    let chars = secret.value().chars().count();
    (chars < MIN_CHARS).then(|| (format!("has {}", too_short("secret", chars)), LONGER))
}

fn too_short(secret: &str, chars: usize) -> String {
    format!("a {secret} of {chars} characters, which can be guessed")
}

/// Warns about secret files and private keys that every user of the machine can read.
pub(super) fn readable_by_others(document: &Document) -> Vec<Diagnostic> {
    let exposed = files(&document.config).into_iter().filter(|(_, path)| is_exposed(path));
    let warning = |(key, path): (String, &Path)| {
        let path = path.display();
        let message = format!("every user of this machine can read `{path}`");
        document.warning(&key, message).hint(format!("chmod o= {path}"))
    };
    exposed.map(warning).collect()
}

fn files(config: &Config) -> Vec<(String, &Path)> {
    let mut files = vec![("server.tls.key_file".to_owned(), config.server.tls.key_file.as_path())];
    for endpoint in &config.endpoints {
        if let Auth::Secret { file, .. } | Auth::Token { file } = &endpoint.auth {
            files.push((format!("endpoint.{}.secret_file", endpoint.name), &**file));
        }
    }
    for sink in &config.sinks {
        let claims = sink.kind.claims();
        let secrets = claims.secrets.iter().map(|secret| (sink.full_name(secret.key), secret.file));
        files.extend(secrets);
        let mask_key = sink.mask_key_file.as_deref();
        files.extend(mask_key.map(|file| (sink.full_name("mask_key_file"), file)));
        let key_file = claims.tls.and_then(|tls| tls.files.key_file.as_deref());
        files.extend(key_file.map(|file| (sink.full_name("tls.key_file"), file)));
    }
    files
}

/// Returns all files of secrets, keys and certificates that the daemon reads, with their keys.
pub(super) fn inputs(config: &Config) -> Vec<(String, &Path)> {
    let tls = &config.server.tls;
    let mut inputs = files(config);
    inputs.push(("server.tls.cert_file".to_owned(), &tls.cert_file));
    let client_ca = tls.client_ca_file.as_deref();
    inputs.extend(client_ca.map(|path| ("server.tls.client_ca_file".to_owned(), path)));
    for sink in &config.sinks {
        let Some(tls) = sink.kind.claims().tls else { continue };
        let ca = tls.files.ca_file.as_deref();
        inputs.extend(ca.map(|path| (sink.full_name("tls.ca_file"), path)));
        let cert = tls.files.cert_file.as_deref();
        inputs.extend(cert.map(|path| (sink.full_name("tls.cert_file"), path)));
    }
    inputs
}

/// Returns whether all users can read the file and search its parent directories.
fn is_exposed(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    let allows = |path: &Path, bit: u32| path.metadata().is_ok_and(|file| file.mode() & bit != 0);
    allows(&path, OTHERS_READ) && path.ancestors().skip(1).all(|dir| allows(dir, OTHERS_SEARCH))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn suspicious_lines_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secrets.txt");
        let good = "0123456789abcdef";
        for (line, expected) in [
            (good.to_owned(), None),
            (format!("new: {good}"), None),
            ("new: 0123456789abcde".to_owned(), Some("15 characters")),
            ("short".to_owned(), Some("5 characters")),
            (format!("# {good}"), Some("begins with `#`")),
            (format!("X-Logpush-Secret: {good}"), Some("looks like a header")),
            (format!("x-logpush-secret:{good}"), Some("looks like a header")),
            (format!("Authorization: Splunk {good}"), Some("looks like a header")),
            (format!("Splunk {good}"), Some("looks like a header")),
        ] {
            fs::write(&path, &line).unwrap();
            let secret = config::read_secrets(&path).unwrap().remove(0);
            let doubt = doubt(&secret, "x-logpush-secret").map(|(what, _)| what);
            assert_eq!(doubt.is_some(), expected.is_some(), "{line}: {doubt:?}");
            assert!(doubt.unwrap_or_default().contains(expected.unwrap_or_default()), "{line}");
        }
    }

    #[test]
    fn file_is_exposed_if_its_mode_and_all_directories_allow_it() {
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        let path = dir.path().join("key.pem");
        fs::write(&path, "x").unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        for (dir_mode, mode, expected) in
            [(0o755, 0o644, true), (0o755, 0o640, false), (0o700, 0o644, false)]
        {
            set(dir.path(), dir_mode);
            set(&path, mode);
            assert_eq!(is_exposed(&path), expected, "{dir_mode:o} {mode:o}");
        }
    }
}
