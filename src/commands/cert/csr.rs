//! `logpushd cert csr`: creates a private key and a certificate request.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::json;

use crate::{
    cli::cert::{Csr, RsaBits},
    durable,
    fatal::Fatal,
    tls,
};

/// The maximum length of a common name (RFC 5280, appendix A.1). A longer name is only a subject
/// alternative name.
const MAX_COMMON_NAME: usize = 64;

const KEY_MODE: u32 = 0o600;
const CSR_MODE: u32 = 0o644;

pub(super) fn run(csr: &Csr, out: &mut dyn Write) -> Result<(), Fatal> {
    let key_file = csr.key.clone().unwrap_or_else(|| PathBuf::from(format!("{}.key", stem(csr))));
    let csr_file = csr.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.csr", stem(csr))));
    if csr.json && csr_file == Path::new("-") {
        let text = "--out - prints the request, not JSON: omit --json, or name a file";
        return Err(Fatal::Usage(text.to_owned()));
    }
    check_overwrite(&csr_file, &key_file)?;
    let (key, is_new) = key(csr, &key_file)?;
    let request = request(csr, &key).map_err(|error| {
        Fatal::Config(format!("cannot create a request with {}: {error}", key_file.display()))
    })?;
    if csr_file == Path::new("-") {
        out.write_all(request.as_bytes())?;
        return Ok(());
    }
    durable::replace_with_mode(&csr_file, request.as_bytes(), CSR_MODE)?;
    if csr.json {
        let report = json!({
            "csr_file": csr_file.display().to_string(),
            "key_file": key_file.display().to_string(),
            "key_created": is_new,
        });
        return Ok(crate::commands::json::write(out, &report)?);
    }
    let origin = if is_new { "new; only the daemon needs it" } else { "existing" };
    let (key_file, csr_file) = (key_file.display(), csr_file.display());
    write!(
        out,
        "\
key      {key_file} ({origin})
request  {csr_file}

Next steps:
1. Let a public certificate authority sign the request. Cloudflare trusts no other authority.
2. Write the certificate to fullchain.pem, followed by all intermediate certificates.
3. Check both files: logpushd cert show fullchain.pem --key {key_file}
4. Set them in [server.tls]: cert_file = \"fullchain.pem\", key_file = \"{key_file}\"
5. Run logpushd validate. A running daemon loads changed files by itself.
"
    )?;
    Ok(())
}

/// Returns the name of the default files without an extension.
fn stem(csr: &Csr) -> String {
    csr.name.replace('*', "wildcard")
}

/// Refuses to overwrite anything but a certificate request: not a key, and no certificate of a
/// daemon.
fn check_overwrite(csr_file: &Path, key_file: &Path) -> Result<(), Fatal> {
    let at = csr_file.display();
    if csr_file == Path::new("-") {
        return Ok(());
    }
    if is_same(csr_file, key_file) {
        return Err(Fatal::Usage(format!(
            "--out {at} is the file of the key: name another file for the request"
        )));
    }
    let text = match fs::read(csr_file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(durable::error_at("reading", csr_file)(error).into()),
    };
    let requests =
        ["-----BEGIN CERTIFICATE REQUEST-----", "-----BEGIN NEW CERTIFICATE REQUEST-----"];
    let is_request =
        requests.iter().any(|head| text.trim_ascii_start().starts_with(head.as_bytes()));
    if text.is_empty() || is_request {
        return Ok(());
    }
    Err(Fatal::Io(format!(
        "{at} exists and is not a certificate request: move it, or name another file with --out"
    )))
}

/// Returns whether two paths lead to the same file, which may not exist.
fn is_same(one: &Path, other: &Path) -> bool {
    let resolved = |path: &Path| {
        fs::canonicalize(path).or_else(|_| {
            let folder = fs::canonicalize(durable::parent(path))?;
            Ok::<_, io::Error>(folder.join(path.file_name().unwrap_or_default()))
        })
    };
    let inode = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let is_same_path =
        resolved(one).is_ok_and(|one| resolved(other).is_ok_and(|other| one == other));
    one == other || is_same_path || inode(one).is_some_and(|one| inode(other) == Some(one))
}

/// Reads the existing key or creates one, and returns whether it is new.
fn key(csr: &Csr, path: &Path) -> Result<(KeyPair, bool), Fatal> {
    let at = path.display();
    let exists = path.try_exists().map_err(durable::error_at("looking for", path))?;
    if exists && csr.key.is_none() {
        return Err(Fatal::Io(format!(
            "{at} exists: to use this key, name it with --key; otherwise move it"
        )));
    }
    if exists && csr.rsa.is_some() {
        return Err(Fatal::Io(format!(
            "{at} exists, and --rsa creates a new key: omit --rsa, or name another file"
        )));
    }
    if exists {
        let der = tls::private_key(path).map_err(super::fatal)?;
        let key = KeyPair::try_from(&der)
            .map_err(|error| Fatal::Config(format!("the key in {at} cannot be used: {error}")))?;
        return Ok((key, false));
    }
    let key = match csr.rsa {
        None => KeyPair::generate(),
        Some(bits) => {
            let size = match bits {
                RsaBits::Bits2048 => RsaKeySize::_2048,
                RsaBits::Bits3072 => RsaKeySize::_3072,
                RsaBits::Bits4096 => RsaKeySize::_4096,
            };
            KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size)
        }
    };
    let key = key.map_err(|error| Fatal::Bug(format!("cannot create a key: {error}")))?;
    write_new(path, &key.serialize_pem())?;
    Ok((key, true))
}

/// Writes a new file, and fails if it exists.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = durable::open(options.write(true).create_new(true).mode(KEY_MODE), path)?;
    durable::write_all(&file, text.as_bytes(), path)?;
    durable::sync(&file, path)?;
    durable::sync_dir(durable::parent(path))
}

fn request(csr: &Csr, key: &KeyPair) -> Result<String, rcgen::Error> {
    let mut names = vec![csr.name.clone()];
    for name in &csr.san {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    let parts = [
        (DnType::CountryName, &csr.country),
        (DnType::StateOrProvinceName, &csr.state),
        (DnType::LocalityName, &csr.locality),
        (DnType::OrganizationName, &csr.organization),
    ];
    for (kind, value) in parts {
        if let Some(value) = value {
            params.distinguished_name.push(kind, value.as_str());
        }
    }
    if csr.name.len() <= MAX_COMMON_NAME {
        params.distinguished_name.push(DnType::CommonName, csr.name.as_str());
    }
    params.serialize_request(key)?.pem()
}
