use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use rustix::process::geteuid;

use super::*;
use crate::config;

/// Returns the warnings about a configuration with these tables.
fn warnings_of(dir: &Path, tables: &str) -> String {
    let text =
        format!("[server]\naddress = \"127.0.0.1:0\"\n[server.tls]\nself_signed = true\n{tables}");
    let path = dir.join("logpushd.toml");
    fs::write(&path, text).unwrap();
    let document = config::read(&path).unwrap();
    let text = document.problems(warnings(&document)).to_string();
    text.replace(&format!("{}/", dir.display()), "")
}

const SOUND: &str = "[spool]\ndir = \"spool\"\n[endpoint.e]\npath = \"/{dataset}\"\nauth = \"none\"\n\
                     [sink.s.file]\npath = \"out/{dataset}.ndjson\"\n";

#[test]
fn sound_configuration_has_no_warning() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(warnings_of(dir.path(), SOUND), "");
}

#[test]
fn unknown_dataset_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let text = warnings_of(
        dir.path(),
        "[spool]\ndir = \"spool\"\n[endpoint.e]\npath = \"/{dataset}\"\nauth = \"none\"\n\
         datasets = [\"dns_log\"]\n[endpoint.f]\npath = \"/f\"\ndataset = \"firewall_event\"\nauth = \"none\"\n\
         [endpoint.g]\npath = \"/g\"\ndataset = \"my_own\"\nauth = \"none\"\n\
         [sink.s.file]\npath = \"out/x\"\ndatasets = [\"http_requests\", \"http_request\", \"my_own\"]\n",
    );
    assert!(
        text.contains("logpushd.toml:13:11: warning: Cloudflare has no dataset `firewall_event`"),
        "{text}"
    );
    assert!(
        text.contains("logpushd.toml:21:30: warning: Cloudflare has no dataset `http_request`"),
        "{text}"
    );
    assert!(text.contains("did you mean `http_requests`?"), "{text}");
    assert_eq!(text.matches("warning").count(), 3, "{text}");
}

#[test]
fn path_that_changes_every_second_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    for (keys, expected) in [
        ("compress_after = \"1h\"", true),
        ("compress_after = \"1h\"\ncompress = \"gzip\"\nrotate.max_age = \"1h\"", false),
        ("", false),
    ] {
        let text = warnings_of(
            dir.path(),
            &SOUND.replace("{dataset}.ndjson\"", &format!("{{dataset}}.ndjson\"\n{keys}")),
        );
        let warned = text.contains("12:18: warning: `compress_after` has no effect");
        assert_eq!(warned, expected, "{keys}: {text}");
    }
    for (path, expected) in [
        ("%F", false),
        ("%FT%H", false),
        ("%H%M", false),
        ("{dataset}", false),
        ("%H%M%S", true),
        ("%s", true),
        ("%T", true),
        ("%3f", true),
    ] {
        let text = warnings_of(dir.path(), &SOUND.replace("{dataset}.ndjson", path));
        assert_eq!(
            text.contains("11:8: warning: this path changes every second"),
            expected,
            "{path}: {text}"
        );
    }
}

#[test]
fn unwritable_directory_is_a_warning() {
    if geteuid().is_root() {
        // Root can write anywhere. The warnings for root are tested in tests/it.
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let shut = dir.path().join("shut");
    fs::create_dir(&shut).unwrap();
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o555)).unwrap();
    let text = warnings_of(
        dir.path(),
        &SOUND.replace("spool\"", "shut/spool\"").replace("out/", "shut/out/"),
    );
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o755)).unwrap();
    for part in
        ["6:7: warning: user ", "cannot create `shut/spool` in `shut`", "11:8: warning: user "]
    {
        assert!(text.contains(part), "{part} not in {text}");
    }
}

#[test]
fn file_instead_of_a_directory_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("spool"), "").unwrap();
    fs::create_dir_all(dir.path().join("out/x")).unwrap();
    let text = warnings_of(dir.path(), &SOUND.replace("{dataset}.ndjson", "x"));
    assert!(text.contains("6:7: warning: `spool` is not a directory"), "{text}");
    assert!(text.contains(": warning: `out/x` is a directory, not a file"), "{text}");
}

/// Writes a certificate that a private authority signed, valid for `days`.
fn signed(dir: &Path, days: i64) {
    let now = jiff::Timestamp::now().as_second();
    let day = |days: i64| {
        rcgen::date_time_ymd(1970, 1, 1)
            + Duration::from_secs(u64::try_from(now + days * 86400).unwrap())
    };
    let mut params = rcgen::CertificateParams::new(vec!["ca".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, key);
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (day(-30), day(days));
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = params.signed_by(&key, &issuer).unwrap().pem();
    fs::write(dir.join("cert.pem"), pem + &authority).unwrap();
    fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    fs::set_permissions(dir.join("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
}

fn warnings_of_certificate(dir: &Path, address: &str) -> String {
    let path = dir.join("logpushd.toml");
    let tls = "cert_file = \"cert.pem\"\nkey_file = \"key.pem\"";
    fs::write(&path, format!("[server]\naddress = \"{address}\"\n[server.tls]\n{tls}\n{SOUND}"))
        .unwrap();
    let document = config::read(&path).unwrap();
    document.problems(warnings(&document)).to_string()
}

#[test]
fn certificate_that_cloudflare_refuses_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    signed(dir.path(), 60);
    let text = warnings_of_certificate(dir.path(), "0.0.0.0:0");
    assert!(text.contains("logpushd.toml:4:13: warning: no public authority signed"), "{text}");
    assert_eq!(text.matches("warning").count(), 1, "{text}");
    // On a loopback address, a proxy has the public certificate.
    assert_eq!(warnings_of_certificate(dir.path(), "127.0.0.1:0"), "");

    signed(dir.path(), -1);
    let text = warnings_of_certificate(dir.path(), "127.0.0.1:0");
    assert!(text.contains("logpushd.toml:4:13: warning: the certificate has expired"), "{text}");
}

#[test]
fn syslog_sink_over_tcp_requires_the_list_of_connections() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logpushd.toml");
    let sink =
        |name: &str, address: &str| format!("[sink.{name}.syslog]\naddress = \"{address}\"\n");
    let sinks = [sink("t", "tcp://a:601"), sink("u", "udp://a:514"), sink("l", "tls://a:6514")];
    let tls = "[server.tls]\nself_signed = true\n";
    fs::write(&path, format!("{tls}{SOUND}{}", sinks.concat())).unwrap();
    let document = config::read(&path).unwrap();
    let missing = || Err(std::io::Error::other("cannot read /proc/self/net/tcp"));
    let text = document.problems(syslog::errors(&document, &missing())).to_string();
    assert_eq!(text.matches("cannot read /proc/self/net/tcp").count(), 2, "{text}");
    assert!(syslog::errors(&document, &Ok(())).is_empty());
}

#[test]
fn problems_with_files_of_a_sink_point_at_their_keys() {
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    signed(dir.path(), 60);
    let tables = |ca: &str| {
        format!(
            "{SOUND}[sink.siem.syslog]\naddress = \"tls://a:6514\"\n[sink.siem.syslog.tls]\n\
             ca_file = \"{ca}\"\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\n"
        )
    };
    assert_eq!(warnings_of(dir.path(), &tables("cert.pem")), "");
    fs::set_permissions(dir.path().join("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = warnings_of(dir.path(), &tables("cert.pem"));
    assert!(warnings.contains("logpushd.toml:17:12: warning: every user"), "{warnings}");
    assert_eq!(warnings.matches("warning").count(), 1, "{warnings}");

    warnings_of(dir.path(), &tables("key.pem"));
    let document = config::read(&dir.path().join("logpushd.toml")).unwrap();
    let errors = document.problems(errors(&document)).to_string();
    assert!(errors.contains("logpushd.toml:15:11: no certificate in "), "{errors}");
    let inputs: Vec<_> =
        secrets::inputs(&document.config).into_iter().map(|(key, _)| key).collect();
    for key in ["ca_file", "cert_file", "key_file"] {
        assert!(inputs.contains(&format!("sink.siem.syslog.tls.{key}")), "{key}: {inputs:?}");
    }
}

#[test]
fn secrets_of_an_http_sink_are_protected_on_disk_and_on_the_way() {
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let token = dir.path().join("token.txt");
    fs::write(&token, "Bearer abc\n").unwrap();
    let tables = |url: &str| {
        let headers = "secret_headers = { Authorization = \"token.txt\" }";
        format!("{SOUND}[sink.c.http]\nurl = \"{url}\"\n{headers}\n")
    };
    let https = tables("https://c.example.com/");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(warnings_of(dir.path(), &https), "");
    let document = config::read(&dir.path().join("logpushd.toml")).unwrap();
    let inputs = secrets::inputs(&document.config);
    assert!(inputs.contains(&("sink.c.http.secret_headers".to_owned(), &token)), "{inputs:?}");

    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let warnings = warnings_of(dir.path(), &https);
    let place = "logpushd.toml:14:18: warning: every user of this machine can read `token.txt`";
    assert!(warnings.contains(place), "{warnings}");
    assert_eq!(warnings.matches("warning").count(), 1, "{warnings}");

    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let warnings = warnings_of(dir.path(), &tables("http://c.example.com/"));
    let expected = "logpushd.toml:13:7: warning: the secrets of `sink.c.http.secret_headers` cross the \
                    network unencrypted";
    assert!(warnings.contains(expected), "{warnings}");
    assert_eq!(warnings_of(dir.path(), &tables("http://127.0.0.1:8080/")), "");
    let without = format!("{SOUND}[sink.c.http]\nurl = \"http://c.example.com/\"\n");
    assert_eq!(warnings_of(dir.path(), &without), "");
}

#[test]
fn much_memory_for_requests_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let warnings_of = |keys: &str| {
        let sink = format!("[sink.c.http]\nurl = \"https://c.example.com/\"\n{keys}\n");
        warnings_of(dir.path(), &format!("{SOUND}{sink}"))
    };
    let found = warnings_of("batch = { max_bytes = \"256MiB\" }\nin_flight = 256");
    let expected = "15:13: warning: this sink can hold 64 GiB of records in memory: 256 requests in flight \
                    with up to 256 MiB each";
    assert!(found.contains(expected), "{found}");
    let found = warnings_of("batch = { max_bytes = \"256MiB\", max_records = 100 }\nin_flight = 8");
    assert!(found.contains("2 GiB of records"), "{found}");
    assert_eq!(warnings_of("batch = { max_bytes = \"256MiB\" }"), "", "4 requests, 1 GiB");
    assert_eq!(warnings_of("in_flight = 256"), "", "4 MiB each, 1 GiB");
}

#[test]
fn addresses_that_exclude_each_other_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logpushd.toml");
    let warnings_of = |address: &str, admin: &str| {
        let tls = "[server.tls]\nself_signed = true\n";
        fs::write(&path, format!("[server]\naddress = {address}\n{tls}{SOUND}{admin}")).unwrap();
        let document = config::read(&path).unwrap();
        let warnings = document.problems(warnings(&document)).to_string();
        (document.problems(errors(&document)).to_string(), warnings)
    };
    let (errors, _) = warnings_of(r#"["[::1]:1443", "[::]:1443"]"#, "");
    assert!(
        errors.contains("toml:2:26: the daemon cannot listen on both `[::1]:1443` and `[::]:1443`")
    );
    let (errors, _) = warnings_of(r#"["0.0.0.0:1443", "[::]:1443"]"#, "");
    assert_eq!(errors, "");
    let (errors, _) = warnings_of(r#""0.0.0.0:1443""#, "[admin]\naddress = \"127.0.0.1:1443\"\n");
    assert!(errors.contains("toml:13:11: `admin.address` is `127.0.0.1:1443`"), "{errors}");
    let (errors, warnings) = warnings_of(r#""0.0.0.0:9464""#, "");
    assert_eq!(errors, "");
    assert!(warnings.contains("toml:2:11: warning: `admin.address` is"), "{warnings}");
}

#[test]
fn file_where_another_sink_needs_a_directory_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let warnings_of = |path: &str| {
        let sink = format!("[sink.t.file]\npath = \"{path}\"\n");
        warnings_of(dir.path(), &(SOUND.replace("{dataset}.ndjson", "a") + &sink))
    };
    let found = warnings_of("out/a/%F");
    let expected =
        "13:8: warning: sink `s` writes a file where this sink needs a directory, such as `out/a`";
    assert!(found.contains(expected), "{found}");
    assert_eq!(warnings_of("out/a.d/%F"), "");
}
