use std::{fs, path::PathBuf};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;
use crate::{cli::ConfigFile, config};

/// A directory with a configuration and a certificate for `names`.
struct TestDir {
    dir: TempDir,
    config: Config,
}

fn dir(names: &[&str], endpoint: &str) -> TestDir {
    let dir = TempDir::new().unwrap();
    let key = KeyPair::generate().unwrap();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("fullchain.pem", &certificate.pem());
    write("privkey.pem", &key.serialize_pem());
    write("secrets.txt", "\n  s3cret~a+b c/=\u{e9} \nolder\n");
    write(
        "logpushd.toml",
        &format!(
            "[server]\naddress = \"0.0.0.0:8443\"\n[server.tls]\ncert_file = \"fullchain.pem\"\nkey_file = \
             \"privkey.pem\"\n[endpoint.main]\n{endpoint}\n[sink.out.stdout]\n[spool]\ndir = \"spool\"\n"
        ),
    );
    let config = config::load(&dir.path().join("logpushd.toml")).unwrap();
    TestDir { dir, config }
}

const ENDPOINT: &str = "path = \"/logpush/{dataset}\"\nsecret_file = \"secrets.txt\"";

fn options() -> Destinations {
    Destinations {
        config: ConfigFile { path: PathBuf::new() },
        host: None,
        dataset: Vec::new(),
        endpoint: None,
        json: false,
    }
}

impl TestDir {
    fn entries(&self, options: &Destinations) -> Vec<DestinationEntry> {
        entries(&self.config, options).unwrap()
    }

    fn refuses(&self, options: &Destinations) -> String {
        entries(&self.config, options).unwrap_err().to_string()
    }
}

const ENCODED: &str = "header_X-Logpush-Secret=s3cret%7Ea%2Bb%20c%2F%3D%C3%A9";

#[test]
fn unknown_dataset_is_a_warning() {
    let dir = dir(&["localhost"], "path = \"/logpush/{dataset}\"\nauth = \"none\"");
    let warnings = |dataset: &str| {
        let options = Destinations { dataset: vec![dataset.to_owned()], ..options() };
        dir.entries(&options).remove(0).warnings.join("\n")
    };
    assert!(!warnings("dns_logs").contains("no dataset"));
    let text = warnings("http_request");
    assert!(text.contains("no dataset `http_request`: did you mean `http_requests`?"), "{text}");
}

#[test]
fn name_is_from_the_certificate_and_secret_is_encoded() {
    let dir = dir(&["*.example.com", "logs.example.com", "other.example.com"], ENDPOINT);
    let entries = dir.entries(&options());
    let [entry] = &*entries else { panic!("{entries:?}") };
    let wanted = format!("https://logs.example.com:8443/logpush/http_requests?{ENCODED}");
    assert_eq!(entry.destination_conf, wanted);
    assert!(entry.is_example && entry.warnings.is_empty(), "{entry:?}");
    let file = dir.dir.path().join("secrets.txt");
    assert_eq!(
        entry.curl,
        format!(
            "printf '{{\"content\":\"test\"}}' | gzip | curl --data-binary @- --header 'Content-Encoding: gzip' --header \
             \"x-logpush-secret: $(sed -n 's/^[[:space:]]*//;s/[[:space:]]*$//;/./{{p;q;}}' {})\" \
               https://logs.example.com:8443/logpush/http_requests",
            file.display()
        )
    );
    let main = endpoint(&dir.config, "main").unwrap();
    let (text, warnings) = of_endpoint(&dir.config, main, "dns_logs", Some(":443")).unwrap();
    assert_eq!(text, format!("https://logs.example.com/logpush/dns_logs?{ENCODED}"));
    assert_eq!(warnings, [""; 0]);
    assert!(of_endpoint(&dir.config, main, "no/dataset", None).is_err());
    assert!(endpoint(&dir.config, "other").is_err());
}

#[test]
fn options_select_datasets_and_endpoints() {
    let two = format!(
        "{ENDPOINT}\n[endpoint.fixed]\npath = \"/dns\"\ndataset = \"dns_logs\"\nauth = \"none\""
    );
    let dir = dir(&["logs.example.com"], &two);
    let names = |options: &Destinations| -> Vec<_> {
        let entries = dir.entries(options).into_iter();
        entries.map(|entry| format!("{}/{}", entry.endpoint, entry.dataset)).collect()
    };
    let mut choice = options();
    assert_eq!(names(&choice), ["fixed/dns_logs", "main/http_requests"]);
    choice.dataset = vec!["dns_logs".to_owned(), "spectrum_events".to_owned()];
    assert_eq!(names(&choice), ["fixed/dns_logs", "main/dns_logs", "main/spectrum_events"]);
    choice.endpoint = Some("fixed".to_owned());
    assert_eq!(names(&choice), ["fixed/dns_logs"]);
    let entries = dir.entries(&choice);
    assert_eq!(entries[0].destination_conf, "https://logs.example.com:8443/dns");
    assert!(!entries[0].curl.contains("secret"), "{}", entries[0].curl);
    choice.dataset = vec!["spectrum_events".to_owned()];
    assert!(dir.refuses(&choice).contains("no endpoint takes the dataset spectrum_events"));
    choice.endpoint = Some("nobody".to_owned());
    assert!(dir.refuses(&choice).contains("the configuration has fixed, main"));
    choice = Destinations { dataset: vec!["DNS".to_owned()], ..options() };
    assert!(dir.refuses(&choice).contains("`DNS` is not a dataset name"));
}

#[test]
fn unknown_name_requires_the_host_option() {
    let with_host = |host: &str| Destinations { host: Some(host.to_owned()), ..options() };
    for names in [&["*.example.com"][..], &["192.0.2.1"], &[]] {
        let dir = dir(names, ENDPOINT);
        let error = dir.refuses(&options());
        assert!(error.contains("--host NAME"), "{error}");
        let entries = dir.entries(&with_host("logs.example.com:443"));
        let text = &entries[0].destination_conf;
        assert!(text.starts_with("https://logs.example.com/logpush/"), "{text}");
        let is_certified = names.contains(&"*.example.com");
        assert_eq!(entries[0].warnings.is_empty(), is_certified, "{:?}", entries[0].warnings);
    }
    let dir = dir(&["logs.example.com"], ENDPOINT);
    for wrong in ["a:0", "a:b", "a:65536", "a:1:2"] {
        assert!(dir.refuses(&with_host(wrong)).contains("NAME:PORT"), "{wrong}");
    }
    for (wrong, expected) in [
        ("b c", "--host b c: write labels of letters"),
        ("logs.example.com/", "write only the name"),
        ("a@logs.example.com:443", "write only the name"),
        ("b\u{fc}cher.example", "Punycode"),
        ("h&header_X=1", "write labels of letters"),
    ] {
        let error = dir.refuses(&with_host(wrong));
        assert!(error.contains(expected), "{expected:?} not in {error}");
    }
    let entries = dir.entries(&with_host("192.0.2.1"));
    assert!(entries[0].warnings.iter().any(|text| text.contains("IP SAN")), "{entries:?}");
}

#[test]
fn unreachable_daemon_is_a_warning() {
    let mut dir = dir(&["localhost"], ENDPOINT);
    dir.config.server.addresses = vec!["127.0.0.1:8443".parse().unwrap()];
    dir.config.server.tls.client_ca_file = Some("ca.pem".into());
    let warnings = &dir.entries(&options())[0].warnings;
    for part in ["cannot reach localhost", "can reach server.address", "client_ca_file"] {
        assert!(warnings.iter().any(|text| text.contains(part)), "{part} is not in {warnings:?}");
    }
    dir.config.server.addresses = vec!["127.0.0.1:0".parse().unwrap()];
    assert!(dir.refuses(&options()).contains("port 0"));
    fs::remove_file(dir.dir.path().join("fullchain.pem")).unwrap();
    assert!(dir.refuses(&options()).contains("--host NAME"));
    dir.config.server.tls.self_signed = true;
    dir.config.server.addresses = vec!["0.0.0.0:8443".parse().unwrap()];
    let entry = &dir.entries(&options())[0];
    assert!(entry.destination_conf.starts_with("https://localhost:8443/"), "{entry:?}");
    assert!(entry.curl.contains("--cacert"), "{}", entry.curl);
}

#[test]
fn path_that_cloudflare_refuses_is_an_error() {
    let dir = dir(&["logs.example.com"], "path = \"/~logs/{dataset}\"\nauth = \"none\"");
    let error = dir.refuses(&options());
    assert!(error.contains("endpoint main") && error.contains("cannot contain `~`"), "{error}");
}

#[test]
fn hec_endpoint_gets_a_splunk_destination() {
    let dir =
        dir(&["logs.example.com"], "protocol = \"splunk_hec\"\nsecret_file = \"secrets.txt\"");
    let entries = dir.entries(&options());
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!(entry.dataset, "splunk_hec");
    assert_eq!(
        entry.destination_conf,
        "splunk://logs.example.com:8443/services/collector/raw?channel=00000000-0000-4000-8000-000000000000\
         &insecure-skip-verify=false&sourcetype=cloudflare:json\
         &header_Authorization=Splunk%20s3cret%7Ea%2Bb%20c%2F%3D%C3%A9"
    );
    assert!(entry.curl.contains("--header \"Authorization: Splunk $(sed "), "{}", entry.curl);
    assert!(entry.curl.contains("https://logs.example.com:8443/services/collector/raw?channel="));
}
