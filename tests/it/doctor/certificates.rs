//! Certificates that Cloudflare rejects. Nothing is sent to a server that presents one.

use std::fs;

use rcgen::ExtendedKeyUsagePurpose;
use tempfile::TempDir;

use super::{
    Call, FAILED, HEADER, finding,
    pki::{Identity, Leaf, Pki},
    server::{Server, answer},
};
use crate::support::{Exit, Setup};

/// A server with a certificate, and the findings of `doctor` about it.
struct Case<'a> {
    golden: &'static str,
    host: &'static str,
    identity: Identity,
    /// Replaces the public authorities.
    ca: Option<&'a str>,
    exit: Exit,
}

impl Case<'_> {
    #[track_caller]
    fn check(self) {
        let Self { golden, host, identity, ca, exit } = self;
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("ca.pem");
        fs::write(&path, ca.unwrap_or_default()).unwrap();
        let server = Server::tls(identity, |_| answer("200 OK", "", "ok"));
        let destination = format!("https://{host}:{}/logs?{HEADER}", server.address.port());
        let call = Call { ca: ca.map(|_| path.as_path()), no_batch: true };
        let (report, ended) = call.run(&destination);
        assert_eq!(ended, exit, "{report:#}");
        // Only names and directories of this machine decide that.
        let mut report = report;
        let steps = report["steps"].as_array_mut().unwrap();
        steps.retain(|step| {
            let known = ["destination", "resolve", "connect", "secret"];
            !known.iter().any(|name| step["step"] == *name)
        });
        let text = super::render(&report, server.address);
        super::compare(golden, &text.replace(path.to_str().unwrap(), "ca.pem"));
        assert_eq!(server.seen().is_empty(), exit != Exit::Code(0), "{:?}", server.seen());
    }
}

fn leaf(names: &[&'static str]) -> Leaf {
    Leaf { names: names.to_vec(), ..Leaf::default() }
}

/// A test of one certificate: its properties, and the host name requested.
#[track_caller]
fn signed(golden: &'static str, host: &'static str, leaf: &Leaf, exit: Exit) {
    let pki = Pki::new();
    let (identity, root) = (pki.issue(leaf), pki.root_pem());
    Case { golden, host, identity, ca: Some(&root), exit }.check();
}

#[test]
fn a_valid_certificate_passes() {
    signed("chain_good", "localhost", &Leaf::default(), Exit::Code(0));
}

#[test]
fn an_expired_certificate_is_reported() {
    signed("expired", "localhost", &Leaf { valid: (2020, 2021), ..Leaf::default() }, FAILED);
    signed("not_yet", "localhost", &Leaf { valid: (2080, 2090), ..Leaf::default() }, FAILED);
}

#[test]
fn a_certificate_for_another_name_is_reported() {
    signed("wrong_name", "localhost", &leaf(&["logs.example.com", "*.example.com"]), FAILED);
    signed("no_name", "localhost", &leaf(&[]), FAILED);
}

#[test]
fn a_certificate_without_the_address_is_reported() {
    signed("no_ip_san", "127.0.0.1", &leaf(&["localhost"]), FAILED);
    signed("other_ip_san", "127.0.0.1", &leaf(&["localhost", "192.0.2.1"]), FAILED);
}

#[test]
fn a_client_certificate_is_reported() {
    let leaf = Leaf { purpose: ExtendedKeyUsagePurpose::ClientAuth, ..Leaf::default() };
    signed("wrong_purpose", "localhost", &leaf, FAILED);
}

#[test]
fn every_problem_of_a_certificate_is_reported() {
    let leaf = Leaf { valid: (2020, 2021), ..leaf(&["logs.example.com"]) };
    let mut identity = Pki::new().issue(&leaf);
    identity.chain.truncate(1);
    Case { golden: "all_wrong", host: "localhost", identity, ca: None, exit: FAILED }.check();
}

#[test]
fn a_private_authority_is_distinguished_from_a_missing_intermediate() {
    let pki = Pki::new();
    let root = pki.root_pem();
    let public = Leaf { has_issuer_url: true, ..Leaf::default() };
    let case = |golden, identity, ca| {
        Case { golden, host: "localhost", identity, ca, exit: FAILED }.check();
    };
    let mut identity = pki.issue(&Leaf::default());
    identity.chain.push(pki.root());
    case("private_authority", identity, None);

    let mut identity = pki.issue(&public);
    identity.chain.truncate(1);
    case("intermediate_missing", identity, Some(&*root));

    let mut identity = pki.issue(&Leaf::default());
    identity.chain.truncate(1);
    case("intermediate_or_private", identity, Some(&*root));

    let mut identity = pki.issue(&public);
    identity.chain[1] = Pki::new().root();
    case("foreign_chain", identity, Some(&*root));
}

#[test]
fn a_self_signed_certificate_is_reported() {
    let daemon = Setup::new().start();
    let destination = format!("https://{}/logpush/http_requests?{HEADER}", daemon.address);
    assert_eq!(Call::default().check("self_signed", &destination, daemon.address), FAILED);
    let (report, _) = Call::default().run(&destination);
    assert_eq!(
        finding(&report, "chain")["cloudflare"],
        "x509: certificate signed by unknown authority"
    );
}

#[test]
fn nothing_is_sent_to_a_server_that_changes_its_certificate() {
    let pki = Pki::new();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("ca.pem");
    fs::write(&path, pki.root_pem()).unwrap();
    let identities = [pki.issue(&Leaf::default()), Pki::new().issue(&Leaf::default())];
    let server = Server::changing(identities, |_| answer("200 OK", "", ""));
    let destination = format!("https://{}/logs?{HEADER}", server.address);
    let (report, exit) = Call::trusting(&path).run(&destination);
    assert_eq!((&finding(&report, "chain")["outcome"], exit), (&"pass".into(), FAILED));
    let ours = finding(&report, "check")["ours"].as_str().unwrap();
    assert!(ours.contains("invalid peer certificate: "), "{ours}");
    assert!(server.seen().is_empty());
}

#[test]
fn a_splunk_destination_may_skip_certificate_verification() {
    let identity = Pki::new().issue(&leaf(&["SplunkServerDefaultCert"]));
    let server = Server::tls(identity, |_| answer("200 OK", "", r#"{"text":"Success","code":0}"#));
    let destination = |skip: &str| {
        format!(
            "splunk://localhost:{}/services/collector/raw?channel=1&insecure-skip-verify={skip}&header_Authorization=\
             Splunk%20token",
            server.address.port()
        )
    };
    let (report, exit) = Call::default().run(&destination("false"));
    assert_eq!(exit, FAILED);
    assert_eq!(
        finding(&report, "name")["cloudflare"],
        "x509: certificate is valid for SplunkServerDefaultCert, not localhost"
    );
    assert!(server.seen().is_empty());

    let (report, exit) = Call::default().run(&destination("true"));
    assert_eq!(exit, Exit::Code(0), "{report:#}");
    assert_eq!(finding(&report, "name")["outcome"], "warn");
    assert_eq!(finding(&report, "check")["ours"], "200: Success");
    let seen = server.seen();
    assert!(seen[0].head.contains("authorization: splunk token\r\n"), "{}", seen[0].head);
    assert!(
        seen[0]
            .head
            .starts_with("post /services/collector/raw?channel=1&insecure-skip-verify=true ")
    );
}
