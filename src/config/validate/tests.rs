//! Tests of the shipped configuration files, and of files that must be refused.

mod reference;
mod sample;
mod values;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::*;
use crate::{
    config::{Auth, PathPattern, Protocol, SinkKind, TlsVersion, load},
    select::{Choice, Comparison, Condition, Fields, Scalar, Test},
    sink::{
        file::{self, Compress, CompressAfter, Fsync, Retain, Rotate},
        record_time::{EventWindow, RecordTime},
        stdout,
    },
};

/// The files that [`Folder`] writes next to every configuration. The text of secrets is never
/// printed.
const BESIDE: [(&str, &str); 4] = [
    ("secrets.txt", "do-not-print-me\n"),
    ("empty.txt", ""),
    ("fullchain.pem", "do-not-print-me\n"),
    ("privkey.pem", "do-not-print-me\n"),
];

/// The smallest file that is valid, and the required settings of `config/logpushd.toml`.
const MINIMAL: &str = r#"
    [server.tls]
    cert_file = "fullchain.pem"
    key_file = "privkey.pem"
    [endpoint.main]
    path = "/logpush/{dataset}"
    secret_file = "secrets.txt"
    [sink.archive.file]
    path = "/var/log/logpushd/{dataset}/%Y-%m-%d.ndjson"
"#;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in BESIDE {
            fs::write(dir.path().join(name), text).unwrap();
        }
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self, text: &str) -> Result<Config, Problems> {
        fs::write(self.path("logpushd.toml"), text).unwrap();
        load(&self.path("logpushd.toml"))
    }

    /// Returns the printed problems, without the name of the temporary directory.
    fn refusal(&self, text: &str) -> String {
        let problems = self.load(text).unwrap_err().to_string();
        problems.replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn shipped(name: &str) -> String {
    fs::read_to_string(repository("config").join(name)).unwrap()
}

/// `LOGPUSHD_BLESS=1 cargo test` rewrites the expected output. Review the difference.
#[test]
fn refusals_read_as_recorded() {
    let bless = env::var_os("LOGPUSHD_BLESS").is_some();
    let mut cases: Vec<_> = fs::read_dir(repository("tests/data/config/bad"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    cases.sort();
    assert!(cases.len() >= 20, "only {} cases found", cases.len());

    let mut failures = Vec::new();
    for case in cases {
        let name = case.file_name().unwrap().to_str().unwrap();
        let refusal = Folder::new()
            .refusal(&fs::read_to_string(&case).unwrap())
            .replace("logpushd.toml", name)
            + "\n";
        assert!(!refusal.contains("do-not-print-me"), "{name} prints a secret");
        let recorded = case.with_extension("stderr");
        if bless {
            fs::write(&recorded, &refusal).unwrap();
        }
        let expected = fs::read_to_string(&recorded).unwrap_or_default();
        if refusal != expected {
            failures.push(format!("{name}: expected\n{expected}\ngot\n{refusal}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_recorded_refusal_has_its_case() {
    for entry in fs::read_dir(repository("tests/data/config/bad")).unwrap() {
        let path = entry.unwrap().path();
        assert!(path.with_extension("toml").exists(), "{} has no case", path.display());
        assert!(path.with_extension("stderr").exists(), "{} is not recorded", path.display());
    }
}

fn of_stdout() -> SinkKind {
    SinkKind::Stdout(Box::new(stdout::Settings { format: stdout::StdoutFormat::Ndjson }))
}

#[test]
fn the_quickstart_needs_nothing() {
    let config = load(&repository("config/quickstart.toml")).unwrap();
    assert!(config.server.addresses.iter().all(|address| address.ip().is_loopback()));
    assert!(config.server.tls.self_signed);
    assert_eq!(config.server.tls.cert_file, repository("certs/dev-fullchain.pem"));
    assert_eq!(config.spool.dir, repository("data"));
    assert_eq!(config.endpoints[0].auth, Auth::None);
    assert_eq!(config.endpoints[0].sinks, ["files", "terminal"]);
    assert_eq!(config.sinks[1].kind, of_stdout());
}

#[test]
fn directory_of_the_file_is_not_a_template() {
    let folder = Folder::new();
    let odd = folder.path("100%{x}");
    fs::create_dir(&odd).unwrap();
    let text = MINIMAL
        .replace("/var/log/logpushd", "logs")
        .replace("\"fullchain", "\"../fullchain")
        .replace("\"privkey", "\"../privkey")
        .replace("\"secrets", "\"../secrets");
    fs::write(odd.join("logpushd.toml"), text).unwrap();
    let config = load(&odd.join("logpushd.toml")).unwrap();
    let SinkKind::File(sink) = &config.sinks[0].kind else { unreachable!() };
    let path = crate::sink::template::PathTemplate::parse(&sink.path).unwrap().render(
        "e",
        "d",
        jiff::Timestamp::UNIX_EPOCH,
    );
    assert_eq!(path, odd.join("logs/d/1970-01-01.ndjson"));
}

#[test]
fn unreadable_file_is_one_problem_without_a_position() {
    let folder = Folder::new();
    let missing = load(&folder.path("missing.toml")).unwrap_err().to_string();
    assert!(missing.contains("missing.toml: cannot read the file: No such file"), "{missing}");
    assert!(missing.contains("name the configuration with -c"), "{missing}");
    let is_folder = load(folder.0.path()).unwrap_err().to_string();
    assert!(is_folder.contains(": cannot read the file: Is a directory"), "{is_folder}");
    fs::write(folder.path("bytes.toml"), b"# fine\n# \xff\n").unwrap();
    let bytes = load(&folder.path("bytes.toml")).unwrap_err().to_string();
    assert!(bytes.contains("bytes.toml:2:3: not valid UTF-8 at byte 9 of the file\n"), "{bytes}");
}

/// Truncates the file, or damages it in the middle.
#[test]
fn damaged_file_is_read_or_refused_but_never_panics() {
    let folder = Folder::new();
    let text = shipped("logpushd.toml");
    let mut outcomes = BTreeMap::new();
    for cut in (0..text.len()).step_by(7).filter(|cut| text.is_char_boundary(*cut)) {
        let (head, tail) = text.split_at(cut);
        for damaged in
            [head.to_owned(), tail.to_owned(), format!("{head}\"{tail}"), format!("{head}[{tail}")]
        {
            let mut cx = Context::new(folder.0.path());
            let outcome = match parse(&damaged, &mut cx) {
                Ok(_) => true,
                Err(problems) => {
                    assert!(!problems.is_empty(), "refused without a reason:\n{damaged}");
                    assert!(!Problems::new("x", damaged, problems).to_string().is_empty());
                    false
                }
            };
            *outcomes.entry(outcome).or_insert(0) += 1;
        }
    }
    assert_eq!(outcomes.len(), 2, "{outcomes:?}");
}

#[test]
fn acme_keeps_the_certificate_in_its_cache() {
    let load = |acme: &str| {
        let text = format!(
            "[server.tls.acme]\n{acme}\n[endpoint.main]\npath = \"/l/{{dataset}}\"\nauth = \"none\"\n[sink.out.stdout]\n"
        );
        check_text(Path::new("/etc/logpushd/logpushd.toml"), &text).unwrap()
    };
    let tls = load("domains = [\"Logs.example.com.\"]\ncache_dir = \"a\"").server.tls;
    let acme = tls.acme.unwrap();
    assert_eq!(acme.domains, ["logs.example.com"]);
    // Certificate and key are one file of the cache.
    assert_eq!((&tls.cert_file, &tls.key_file), (&acme.certificate_file(), &tls.cert_file));
    assert!(tls.cert_file.starts_with("/etc/logpushd/a"), "{}", tls.cert_file.display());
}
