//! Tests of which certificate and key files are accepted, and of the errors for others.

use std::{path::PathBuf, process::Command};

use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_RSA_SHA256};
use tempfile::TempDir;

use super::*;

#[test]
fn every_form_of_key_is_accepted() {
    let dir = TempDir::new().unwrap();
    let ec = KeyPair::generate().unwrap();
    let rsa = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let forms = [
        ("EC PKCS#8", &ec, ec.serialize_pem(), "BEGIN PRIVATE KEY"),
        ("EC SEC1", &ec, openssl(&["ec"], &ec), "BEGIN EC PRIVATE KEY"),
        ("RSA PKCS#8", &rsa, rsa.serialize_pem(), "BEGIN PRIVATE KEY"),
        ("RSA PKCS#1", &rsa, openssl(&["rsa", "-traditional"], &rsa), "BEGIN RSA PRIVATE KEY"),
    ];
    for (form, pair, pem, marker) in forms {
        assert!(pem.contains(marker), "{form}: {pem}");
        let tls = files(&dir, &certificate(pair), &pem);
        load(&tls).unwrap_or_else(|error| panic!("{form}: {error}"));
    }
}

#[test]
fn lenient_pem_is_loaded() {
    let dir = TempDir::new().unwrap();
    let (authority, key) = (authority(), KeyPair::generate().unwrap());
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = params.signed_by(&key, &authority).unwrap().pem();
    let (ca, key) = (authority.pem(), key.serialize_pem());
    let leaf_file = files(&dir, &leaf, &key).cert_file;
    let trusted = Command::new("openssl")
        .args(["x509", "-trustout", "-addtrust", "serverAuth", "-in"])
        .arg(&leaf_file)
        .output();
    let trusted = String::from_utf8(trusted.unwrap().stdout).unwrap();
    assert!(trusted.contains("BEGIN TRUSTED CERTIFICATE"), "{trusted}");
    let indented = |pem: &str| pem.replace('\n', "\n    ");
    for (form, cert) in [
        ("no newline between", format!("{}{ca}", leaf.trim_end())),
        ("text", format!("subject=CN = x\nissuer=CN = y\n{leaf}\ntext: z\n{ca}")),
        ("CRLF", format!("{leaf}{ca}").replace('\n', "\r\n")),
        ("indented", indented(&format!("    {leaf}{ca}"))),
        ("byte order mark", format!("\u{feff}{leaf}{ca}")),
        ("trusted", format!("{trusted}{ca}")),
        ("key before", format!("{key}{leaf}{ca}")),
        ("key after", format!("{leaf}{ca}{key}")),
        ("X509", format!("{}{ca}", leaf.replace("CERTIFICATE", "X509 CERTIFICATE"))),
    ] {
        let tls = files(&dir, &cert, &key);
        let loaded = load(&tls).unwrap_or_else(|error| panic!("{form}: {error}"));
        assert_eq!(loaded.certificate.unwrap().chain().len(), 2, "{form}");
        let key = [&indented(&key), "\u{feff}", &key.replace('\n', "\r\n"), &cert].concat();
        load(&files(&dir, &cert, &key)).unwrap_or_else(|error| panic!("{form}, key: {error}"));
    }
    // Damage is never skipped, and is reported with file and line.
    let (good, lines) = (leaf.clone(), leaf.lines().count());
    for (damaged, line) in [
        (format!("{good}{}", ca.replace("-----BEGIN", "----BEGIN")), lines + 1),
        (format!("{good}{}", ca.replace("-----END", "-----EMD")), lines + 1),
        (format!("{good}-----BEGIN PKCS7-----\nAAAA\n-----END PKCS7-----\n"), lines + 1),
        (format!("{good}-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----\n"), lines + 1),
    ] {
        let error = load(&files(&dir, &damaged, &key)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("cert.pem:{line}: ")), "{text}");
        assert_eq!(error.role(), Some(Role::Certificate));
    }
}

#[test]
fn the_whole_chain_is_presented_and_the_validity_of_the_leaf_is_known() {
    let dir = TempDir::new().unwrap();
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2030, 1, 2);
    let leaf = params.signed_by(&key, &authority).unwrap().pem();

    let alone = load(&files(&dir, &leaf, &key.serialize_pem())).unwrap();
    assert!(alone.certificate.unwrap().misses_intermediates);

    let chain = format!("{leaf}{}", authority.pem());
    let tls = files(&dir, &chain, &key.serialize_pem());
    assert_eq!(read_certificates(&tls.cert_file, Role::Certificate).unwrap().len(), 2);
    let loaded = load(&tls).unwrap();
    let certificate = loaded.certificate.unwrap();
    assert!(!certificate.misses_intermediates);
    assert_eq!(certificate.validity.unwrap().not_after, 1_893_542_400);
    let offered = ["h2", "http/1.1", "http/1.0"].map(|name| name.as_bytes().to_vec());
    assert_eq!(loaded.config.alpn_protocols, offered);

    let reversed = format!("{}{leaf}", authority.pem());
    let error = load(&files(&dir, &reversed, &key.serialize_pem())).unwrap_err().to_string();
    assert!(error.contains("certificate number 2"), "{error}");
}

#[test]
fn a_certificate_with_an_unusual_end_date_is_used() {
    let dir = TempDir::new().unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2030, 1, 2);
    let mut der = params.self_signed(&key).unwrap().der().to_vec();
    let end = b"300102000000Z";
    let at = der.windows(end.len()).position(|part| part == end).unwrap();
    der[at + end.len() - 1] = b'+';
    let (cert, key) = (dir.path().join("odd.der"), key.serialize_pem());
    fs::write(&cert, der).unwrap();
    let pem = Command::new("openssl").args(["x509", "-inform", "DER", "-in"]).arg(&cert).output();
    let pem = String::from_utf8(pem.unwrap().stdout).unwrap();

    let mut tls = files(&dir, &pem, &key);
    let identity = load(&tls).unwrap().certificate.unwrap();
    assert_eq!(identity.validity, None);
    assert_eq!(identity.warnings(&tls), [UNPARSED]);
    assert!(Acceptor::new(&tls).unwrap().validity().is_none());

    // A certificate from ACME must have a known validity.
    let error = check_pem(format!("{pem}{key}").as_bytes(), &tls.cert_file).unwrap_err();
    assert!(matches!(error, TlsError::UnreadableCertificate { .. }), "{error}");
    tls.acme = Some(Acme {
        domains: vec!["localhost".to_owned()],
        contact: None,
        directory_url: "https://acme.example/directory".to_owned(),
        directory_ca_file: None,
        cache_dir: dir.path().to_owned(),
    });
    assert!(load(&tls).unwrap().certificate.is_none());
}

#[test]
fn errors_name_the_file_and_the_remedy() {
    let dir = TempDir::new().unwrap();
    let key = KeyPair::generate().unwrap();
    let (cert, pem) = (certificate(&key), key.serialize_pem());
    let other = KeyPair::generate().unwrap().serialize_pem();
    let sealed = openssl(&["pkcs8", "-topk8", "-passout", "pass:x"], &key);
    let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let broken = cert.replacen("MII", "M!I", 1);
    let cases: &[(&str, &str, &[&str])] = &[
        ("", &pem, &["no certificate in ", "cert.pem", "BEGIN CERTIFICATE"]),
        (&cert, "", &["no private key in ", "key.pem", "BEGIN PRIVATE KEY"]),
        (&pem, &cert, &["cert.pem", "it contains a private key", "swapped"]),
        (&cert, &cert, &["key.pem", "it contains a certificate", "swapped"]),
        (&csr, &pem, &["cert.pem", "signing request"]),
        (&cert, &sealed, &["key.pem", "encrypted", "openssl pkey"]),
        (&cert, &other, &["the private key in ", "key.pem", "does not belong", "cert.pem"]),
        (&broken, &pem, &["cert.pem:2: a character in the block CERTIFICATE"]),
        ("\u{30}\u{2}binary", &pem, &["cert.pem", "DER", "openssl x509"]),
    ];
    for (cert, key, expected) in cases {
        let error = load(&files(&dir, cert, key)).unwrap_err().to_string();
        for part in *expected {
            assert!(error.contains(part), "{part:?} not in {error:?}");
        }
    }

    let tls = files(&dir, &cert, &pem);
    fs::remove_file(&tls.cert_file).unwrap();
    let error = load(&tls).unwrap_err().to_string();
    assert!(error.contains("check cert_file") && error.contains("cert.pem"), "{error}");
}

#[test]
fn reload_uses_valid_files_and_keeps_the_old_ones_after_an_error() {
    let dir = TempDir::new().unwrap();
    let key = KeyPair::generate().unwrap();
    let tls = files(&dir, &certificate(&key), &key.serialize_pem());
    let acceptor = Acceptor::new(&tls).unwrap();
    let first = acceptor.current();

    fs::write(&tls.key_file, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(matches!(acceptor.reload(&tls), Err(TlsError::Mismatch { .. })));
    assert!(Arc::ptr_eq(&first, &acceptor.current()));

    let next = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2031, 1, 1);
    fs::write(&tls.cert_file, params.self_signed(&next).unwrap().pem()).unwrap();
    fs::write(&tls.key_file, next.serialize_pem()).unwrap();
    acceptor.reload(&tls).unwrap();
    assert!(!Arc::ptr_eq(&first, &acceptor.current()));
    assert_eq!(acceptor.validity().unwrap().0.not_after, 1_924_992_000);
}

#[test]
fn a_client_authority_must_be_a_certificate() {
    let dir = TempDir::new().unwrap();
    let key = KeyPair::generate().unwrap();
    let mut tls = files(&dir, &certificate(&key), &key.serialize_pem());
    let path = dir.path().join("ca.pem");
    tls.client_ca_file = Some(path.clone());

    fs::write(&path, "nothing").unwrap();
    let error = load(&tls).unwrap_err().to_string();
    assert!(error.contains("ca.pem") && error.contains("no certificate"), "{error}");

    fs::write(&path, authority().pem()).unwrap();
    load(&tls).unwrap();
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "an authority");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn certificate(key: &KeyPair) -> String {
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.self_signed(key).unwrap().pem()
}

fn files(dir: &TempDir, cert: &str, key: &str) -> Tls {
    let path = |name: &str, text: &str| -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    Tls {
        cert_file: path("cert.pem", cert),
        key_file: path("key.pem", key),
        self_signed: false,
        acme: None,
        client_ca_file: None,
        min_version: TlsVersion::V1_2,
    }
}

/// Runs `openssl ARGS` on the key, for formats that rcgen does not write.
fn openssl(args: &[&str], key: &KeyPair) -> String {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("in.pem");
    fs::write(&path, key.serialize_pem()).unwrap();
    let output = Command::new("openssl").args(args).arg("-in").arg(&path).output();
    let output = output.expect("these tests need the openssl command");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
