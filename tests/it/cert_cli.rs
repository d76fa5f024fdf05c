//! `logpushd cert`: requests that other programs can read and sign, and checks of certificates.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Connection, Exit, Finished, Http, Setup, finish, free_port, logpushd, names_in, require,
    tls::{Authority, Client, Pair},
};

/// `logpushd cert ARGUMENTS`, in a directory.
fn cert(dir: &Path, arguments: &[&str]) -> Finished {
    finish(logpushd().arg("cert").args(arguments).current_dir(dir))
}

#[track_caller]
fn good(finished: Finished) -> String {
    assert_eq!(finished.exit, Exit::Code(0), "{finished:?}");
    assert_eq!(finished.stderr, "", "{finished:?}");
    finished.stdout
}

#[track_caller]
fn fails(finished: &Finished, code: i32, says: &[&str]) {
    assert_eq!(finished.exit, Exit::Code(code), "{finished:?}");
    for part in says {
        assert!(finished.stderr.contains(part), "{part:?} not in {}", finished.stderr);
    }
}

#[track_caller]
fn openssl(dir: &Path, arguments: &str) -> String {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output();
    let output = output.expect("these tests need the openssl command");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments}: {}", text(&output.stderr));
    text(&output.stdout) + &text(&output.stderr)
}

#[track_caller]
fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} not in {text}");
    }
}

#[test]
fn a_request_can_be_read_and_signed_and_the_certificate_is_served() {
    if !require::has(&[&require::OPENSSL]) {
        return;
    }
    let setup = Setup::new()
        .table("server.tls", "cert_file = \"fullchain.pem\"\nkey_file = \"logs.example.com.key\"");
    let dir = setup.directory();
    let output = good(cert(
        dir,
        &[
            "csr",
            "--name",
            "Logs.example.com",
            "--san",
            "also.example.com",
            "--san",
            "127.0.0.1",
            "--organization",
            "An Example & Sons",
            "--country",
            "de",
        ],
    ));
    holds(
        &output,
        &["logs.example.com.key (new", "logs.example.com.csr", "all intermediate certificates"],
    );
    let mode = fs::metadata(dir.join("logs.example.com.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let read = openssl(dir, "req -in logs.example.com.csr -verify -noout -text -nameopt RFC2253");
    holds(
        &read,
        &[
            "verify OK",
            "CN=logs.example.com,O=An Example & Sons,C=DE",
            "DNS:logs.example.com, DNS:also.example.com, IP Address:127.0.0.1",
            "ASN1 OID: prime256v1",
        ],
    );

    openssl(
        dir,
        "req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=ours -keyout ca.key -out ca.pem",
    );
    openssl(
        dir,
        "x509 -req -in logs.example.com.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
         -copy_extensions copy -out cert.pem",
    );
    let chain = fs::read_to_string(dir.join("cert.pem")).unwrap()
        + &fs::read_to_string(dir.join("ca.pem")).unwrap();
    setup.write("fullchain.pem", chain);
    let key = ["--key", "logs.example.com.key"];
    let shown = good(cert(dir, &[&["show", "fullchain.pem", "--ca", "ca.pem"], &key[..]].concat()));
    holds(
        &shown,
        &[
            "fullchain.pem: 2 certificates",
            "issuer   CN=ours",
            "names    logs.example.com, also.example.com, 127.0.0.1",
            " days left",
            "key      ECDSA P-256",
            "complete: it leads to an authority in ca.pem, CN=ours",
            "logs.example.com.key belongs to certificate 1",
        ],
    );
    let fingerprint = openssl(dir, "x509 -in cert.pem -noout -fingerprint -sha256");
    holds(&shown, &[fingerprint.trim().split_once('=').unwrap().1]);

    let daemon = setup.start();
    let trust = Client::trusting(&daemon.path("ca.pem"));
    assert!(Connection::open(daemon.address, trust, Http::Two).is_ok());
    let address = daemon.address.to_string();
    let name = ["--name", "logs.example.com", "--ca", "ca.pem"];
    let shown =
        good(cert(daemon.setup().directory(), &[&["show", &address], &name[..], &key].concat()));
    holds(&shown, &[&format!("{address}: 2 certificates"), "matches logs.example.com", "complete"]);
    // Requested by its address, and trusting the public authorities.
    let shown = good(cert(
        daemon.setup().directory(),
        &["show", &format!("https://{address}/x"), "--json"],
    ));
    let json: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&json["trusted"], &json["chain"]), (&Value::from(false), &"unknown_issuer".into()));
    assert_eq!((&json["name_matches"], &json["key_matches"]), (&Value::from(true), &Value::Null));
    assert_eq!(json["leads_to"], "CN=ours");
    assert_eq!(json["certificates"][0]["names"][0], "logs.example.com");
    // 30, within the second in which it was signed.
    assert!(matches!(json["certificates"][0]["days_left"].as_i64(), Some(29 | 30)), "{json}");
    let other = ["show", &address, "--name", "other.example.com", "--ca", "ca.pem"];
    holds(&good(cert(daemon.setup().directory(), &other)), &["does not match other.example.com"]);
    daemon.stop().exited_cleanly();
}

#[test]
fn an_existing_key_is_used_and_never_overwritten() {
    if !require::has(&[&require::OPENSSL]) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    good(cert(dir, &["csr", "--name", "a.example.com", "--rsa", "3072"]));
    let key = fs::read(dir.join("a.example.com.key")).unwrap();
    holds(&openssl(dir, "req -in a.example.com.csr -verify -noout -text"), &["(3072 bit)"]);

    fails(
        &cert(dir, &["csr", "--name", "a.example.com"]),
        74,
        &["a.example.com.key exists", "--key"],
    );
    let reused = ["csr", "--name", "b.example.com", "--key", "a.example.com.key"];
    fails(&cert(dir, &[&reused[..], &["--rsa", "2048"]].concat()), 74, &["omit --rsa"]);
    let request = good(cert(dir, &[&reused[..], &["--out", "-"]].concat()));
    assert!(request.starts_with("-----BEGIN CERTIFICATE REQUEST-----"), "{request}");
    fs::write(dir.join("request.pem"), &request).unwrap();
    holds(
        &openssl(dir, "req -in request.pem -verify -noout -text"),
        &["verify OK", "(3072 bit)", "CN = b.example.com"],
    );
    fails(&cert(dir, &[&reused[..], &["--out", "-", "--json"]].concat()), 64, &["omit --json"]);
    let json = good(cert(dir, &[&reused[..], &["--json"]].concat()));
    let files = json!({
        "csr_file": "b.example.com.csr",
        "key_file": "a.example.com.key",
        "key_created": false,
    });
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), files);
    holds(&good(cert(dir, &reused)), &["a.example.com.key (existing)"]);
    assert_eq!(fs::read(dir.join("a.example.com.key")).unwrap(), key);

    // A request under any name does not overwrite it either, nor a certificate.
    fs::hard_link(dir.join("a.example.com.key"), dir.join("linked")).unwrap();
    for out in ["a.example.com.key", "./a.example.com.key", "linked"] {
        let words = [&reused[..], &["--out", out]].concat();
        fails(&cert(dir, &words), 64, &["is the file of the key"]);
    }
    fs::remove_file(dir.join("linked")).unwrap();
    let both = ["csr", "--name", "e.example.com", "--key", "new", "--out", "./new"];
    fails(&cert(dir, &both), 64, &["is the file of the key"]);
    let chain = Authority::new().pem();
    fs::write(dir.join("fullchain.pem"), &chain).unwrap();
    let words = [&reused[..], &["--out", "fullchain.pem"]].concat();
    fails(&cert(dir, &words), 74, &["fullchain.pem exists", "is not a certificate request"]);
    assert_eq!(fs::read_to_string(dir.join("fullchain.pem")).unwrap(), chain);
    fs::remove_file(dir.join("fullchain.pem")).unwrap();
    good(cert(dir, &[&reused[..], &["--out", "request.pem"]].concat()));
    assert_eq!(fs::read(dir.join("a.example.com.key")).unwrap(), key);

    // The formats that other programs write.
    openssl(dir, "ecparam -name prime256v1 -genkey -noout -out sec1.key");
    good(cert(dir, &["csr", "--name", "c.example.com", "--key", "sec1.key"]));
    holds(&openssl(dir, "req -in c.example.com.csr -verify -noout"), &["verify OK"]);
    let none = ["csr", "--name", "d.example.com", "--key", "request.pem"];
    fails(&cert(dir, &none), 78, &["no private key in request.pem"]);

    for wrong in [
        &["--name", "192.0.2.1"][..],
        &["--name", "https://a.example.com/"],
        &["--name", "a.example.com", "--san", "b_c.example.com"],
        &["--name", "a.example.com", "--country", "Germany"],
        &["--name", "a.example.com", "--rsa", "1024"],
    ] {
        fails(&cert(dir, &[&["csr"], wrong].concat()), 64, &["error: invalid value"]);
    }
    assert_eq!(names_in(dir).len(), 6);
}

#[test]
fn links_created_by_another_user_are_not_followed() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    fs::write(dir.join("victim"), "theirs").unwrap();
    for name in ["a.example.com.new", "a.example.com.csr.new"] {
        std::os::unix::fs::symlink("victim", dir.join(name)).unwrap();
    }
    good(cert(dir, &["csr", "--name", "a.example.com"]));
    assert_eq!(fs::read_to_string(dir.join("victim")).unwrap(), "theirs");
    let names = ["csr", "csr.new", "key", "new"].map(|end| format!("a.example.com.{end}"));
    assert_eq!(names_in(dir), [&names[..], &["victim".to_owned()]].concat());
}

#[test]
fn problems_of_a_certificate_chain_are_reported() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let authority = |name: &str| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let root =
        CertifiedIssuer::self_signed(authority("the root"), KeyPair::generate().unwrap()).unwrap();
    let middle = KeyPair::generate().unwrap();
    let middle = CertifiedIssuer::signed_by(authority("the middle"), middle, &root).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["a.example.com".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let own = params.signed_by(&key, &middle).unwrap().pem();
    let (alone, ours) = (Pair::self_signed(), Authority::new());
    for (name, text) in [
        ("root.pem", root.pem()),
        ("client.pem", ours.sign().cert),
        ("ours.pem", ours.pem()),
        ("whole.pem", own.clone() + &middle.pem()),
        ("cut.pem", own),
        ("self.pem", alone.cert),
        ("key.pem", key.serialize_pem()),
        ("other.key", alone.key),
    ] {
        fs::write(dir.join(name), text).unwrap();
    }

    let cases = [
        // An expired certificate is not reported as untrusted.
        (
            "whole.pem",
            &["complete: it leads to an authority in root.pem, CN=the root", "EXPIRED "][..],
        ),
        ("cut.pem", &["1 certificate\n", "incomplete or private", "it ends at CN=the middle"]),
        ("self.pem", &["self-signed", "Cloudflare refuses it"]),
        (
            "root.pem",
            &["an authority in root.pem", "names    none", "Cloudflare ignores the common name"],
        ),
    ];
    for (file, says) in cases {
        holds(&good(cert(dir, &["show", file, "--ca", "root.pem"])), says);
    }
    let purpose = good(cert(dir, &["show", "client.pem", "--ca", "ours.pem"]));
    holds(&purpose, &["invalid: ", "server authentication"]);
    holds(&good(cert(dir, &["show", "whole.pem"])), &["which is not a public authority"]);

    let misfit = cert(dir, &["show", "whole.pem", "--key", "other.key"]);
    fails(&misfit, 78, &["other.key does not belong to the first certificate in whole.pem"]);
    holds(&misfit.stdout, &["whole.pem: 2 certificates", "other.key does not belong"]);
    let misfit = cert(dir, &["show", "whole.pem", "--key", "other.key", "--json"]);
    let json: Value = serde_json::from_str(&misfit.stdout).unwrap();
    assert_eq!(json["key_matches"], false);
    assert!(json["certificates"][0]["days_left"].as_i64().unwrap() < -1000);

    fails(&cert(dir, &["show", "key.pem"]), 78, &["no certificate in key.pem", "private key"]);
    fails(&cert(dir, &["show", "./missing.pem"]), 74, &["no file ./missing.pem"]);
    for gone in ["fullchain-gone.pem", "gone.CRT", "gone.cer"] {
        fails(&cert(dir, &["show", gone]), 74, &[&format!("no file {gone}")]);
    }
    fails(&cert(dir, &["show", "self.pem", "--key", "missing.key"]), 74, &["missing.key"]);
    fails(&cert(dir, &["show", "self.pem", "--ca", "missing.pem"]), 74, &["missing.pem"]);
    let nobody = format!("127.0.0.1:{}", free_port());
    fails(&cert(dir, &["show", &nobody]), 69, &["connecting to 127.0.0.1:", "refused"]);
}

#[test]
fn the_certificate_of_a_server_that_requires_one_is_shown() {
    let setup = Setup::new().table("server.tls", "self_signed = true\nclient_ca_file = \"ca.pem\"");
    setup.write("ca.pem", Authority::new().pem());
    let daemon = setup.start();
    let shown = good(cert(daemon.setup().directory(), &["show", &daemon.address.to_string()]));
    holds(&shown, &["CN=logpushd development certificate", "self-signed", "matches 127.0.0.1"]);
    daemon.stop().exited_cleanly();
}
