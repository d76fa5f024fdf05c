//! Tests of replays with files and a configuration, but without a daemon.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
};

use rustix::net::{self, AddressFamily, SocketType};
use tempfile::TempDir;

use super::*;
use crate::{cli::quarantine::QuarantineFilter, config};

/// A directory with a quarantine and its configuration.
pub(super) struct Folder {
    pub(super) config: Config,
    dir: TempDir,
}

impl Folder {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secrets.txt"), "first\nsecond\n").unwrap();
        let text = r#"
            [server]
            address = "127.0.0.1:8443"
            [server.tls]
            self_signed = true
            [endpoint.main]
            path = "/logpush/{dataset}"
            secret_file = "secrets.txt"
            [endpoint.fixed]
            path = "/dns"
            dataset = "dns_logs"
            auth = "none"
            [endpoint.rows]
            path = "/rows/{dataset}"
            format = "csv"
            columns = ["a"]
            auth = "none"
            [sink.archive.file]
            path = "out.ndjson"
            [spool]
            dir = "."
            [quarantine]
            dir = "."
        "#;
        let path = dir.path().join("logpushd.toml");
        fs::write(&path, text).unwrap();
        let config = config::load(&path).unwrap();
        Self { config, dir }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, dry_run: bool, paths: &[PathBuf]) -> (Result<(), Fatal>, String) {
        let config = crate::cli::ConfigFile { path: self.path("logpushd.toml") };
        let (filter, paths) = (QuarantineFilter::default(), paths.to_vec());
        let replay = Replay {
            config,
            filter,
            sink: None,
            apply_selection: false,
            dry_run,
            json: false,
            paths,
        };
        let mut out = Vec::new();
        let outcome = run(&self.config, &replay, &mut out);
        (outcome, String::from_utf8(out).unwrap())
    }
}

const LINE: &str = "{\"reason\":\"not_json\",\"endpoint\":\"main\",\"dataset\":\"dns_logs\",\"batch\":1,\
    \"received\":\"2026-01-02T03:04:05Z\",\"position\":1,\"length\":1,\"record\":\"x\"}\n";

#[test]
fn dry_run_prints_what_would_be_sent_and_changes_nothing() {
    let folder = Folder::new();
    let records = folder.path("records-2026-01-02.ndjson");
    fs::write(&records, [LINE, LINE, &LINE.replace("main", "fixed")].concat()).unwrap();
    fs::write(folder.path("records-2026-01-01.ndjson.replayed-7"), LINE).unwrap();
    fs::create_dir(folder.path("bodies")).unwrap();
    fs::write(folder.path("bodies").join(format!("main.http_requests.{:032x}", 7)), "x").unwrap();

    let (outcome, text) = folder.run(true, &[]);
    outcome.unwrap();
    for part in [
        "2 records would go to main/dns_logs",
        "1 record would go to fixed/dns_logs",
        "the body would go to main/http_requests",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(records.exists());

    fs::write(&records, [LINE, "{}\n"].concat()).unwrap();
    let (outcome, text) = folder.run(true, &[records]);
    let Err(Fatal::Data(error)) = outcome else { panic!("{outcome:?}") };
    assert!(
        error.contains("1 line skipped") && text.contains(".ndjson:2: 1 line skipped"),
        "{text}"
    );
    assert!(text.contains("1 record would go to main/dns_logs"), "{text}");
}

#[test]
fn without_a_daemon_nothing_is_renamed() {
    let mut folder = Folder::new();
    // A bound socket that does not listen refuses connections.
    let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let socket = TcpListener::from(socket);
    folder.config.server.addresses = vec![socket.local_addr().unwrap()];
    tls::Acceptor::new(&folder.config.server.tls).unwrap();
    let records = folder.path("records-2026-01-02.ndjson");
    fs::write(&records, LINE).unwrap();
    let (outcome, _) = folder.run(false, &[]);
    let Err(Fatal::Unavailable(error)) = outcome else { panic!("{outcome:?}") };
    assert!(error.contains("the daemon of this configuration must run there"), "{error}");
    assert!(records.exists());
}

#[test]
fn empty_quarantine_is_no_error() {
    let folder = Folder::new();
    let (outcome, text) = folder.run(false, &[]);
    outcome.unwrap();
    assert!(text.starts_with("nothing to replay in "), "{text}");
}

#[test]
fn whole_batch_is_not_sent() {
    let folder = Folder::new();
    let batch = folder.path(&format!("0000000000000042.0.main.dns_logs.1.1.8.{:032x}.json", 7));
    fs::write(&batch, "{}").unwrap();
    let (outcome, _) = folder.run(true, &[batch]);
    assert!(outcome.unwrap_err().to_string().contains("replay the records file"));
}

#[test]
fn every_body_has_its_own_blank_first_line() {
    let (one, other) = (Path::new("a/records.replay-1"), Path::new("b/records.replay-2"));
    assert_eq!(head(one, 1), head(Path::new("elsewhere/records.replay-1"), 1));
    assert_ne!(head(one, 1), head(one, 2));
    assert_ne!(head(one, 1), head(other, 1));
    assert!(head(one, 1).trim_ascii().is_empty() && head(one, 1).ends_with(b" \n"));

    let mut decoder = crate::decode::Decoder::new(
        crate::decode::Limits { inflated_bytes: 1 << 20, record_bytes: 1024 },
        crate::decode::Encoding::Identity,
    );
    let body = [head(one, 1), b"test\n".to_vec()].concat();
    decoder.push(&body, &mut drop).unwrap();
    let summary = decoder.finish(&mut drop).unwrap();
    assert!(!summary.destination_check);
    assert_eq!((summary.records, summary.rejected), (0, 1));
}

#[test]
fn unknown_sink_is_refused_with_the_names_of_all_sinks() {
    let folder = Folder::new();
    check_sink(&folder.config, None).unwrap();
    check_sink(&folder.config, Some("archive")).unwrap();
    let Err(Fatal::Usage(text)) = check_sink(&folder.config, Some("archiv")) else {
        panic!("no refusal")
    };
    assert_eq!(text, "the configuration has no sink `archiv`; it has archive");
}
