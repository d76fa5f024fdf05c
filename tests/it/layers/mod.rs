//! Which modules a part of the sources must not use, where the compiler does not prevent it.
//!
//! Crates can only import their dependencies. Within a crate, and for the standard library, these
//! rules apply.

mod imports;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use self::imports::paths;
use crate::support::repository;

/// Modules that read or change anything but memory.
const OUTSIDE: &[&str] = &[
    "jiff::Timestamp::now",
    "jiff::Zoned::now",
    "std::env",
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "tokio",
];

/// The types of sinks: code that is about no particular one asks `SinkKind::claims`.
const KINDS: &[&str] = &[
    "crate::config::SinkKind",
    "crate::sink::SinkKind",
    "crate::sink::clickhouse",
    "crate::sink::elasticsearch",
    "crate::sink::file",
    "crate::sink::http",
    "crate::sink::kinds",
    "crate::sink::loki",
    "crate::sink::otlp",
    "crate::sink::splunk_hec",
    "crate::sink::stdout",
    "crate::sink::syslog",
];

/// A part of the sources, and the paths that its files must not name.
const RULES: &[(&str, &[&[&str]])] = &[
    (
        "crates/cloudflare/src/api",
        &[OUTSIDE, &["crate::doctor", "crate::http_client", "crate::job", "crate::push"]],
    ),
    (
        "crates/cloudflare/src/destination",
        &[
            OUTSIDE,
            &[
                "crate::api",
                "crate::http_client::BlockingClient",
                "crate::http_client::Client",
                "crate::http_client::steps",
                "crate::tls",
                "rustls",
            ],
        ],
    ),
    ("crates/http_client/src/retry.rs", &[&["crate", "reqwest", "tokio"]]),
    ("crates/records/src", &[OUTSIDE, &["hyper"]]),
    ("crates/spool/src", &[&["hyper", "std::net", "tokio", "toml"]]),
    ("crates/tls/src", &[&["std::net::TcpListener", "std::net::TcpStream", "tokio::net"]]),
    (
        "src/acme",
        &[&["crate::daemon", "crate::delivery", "crate::http", "crate::sink", "crate::spool"]],
    ),
    ("src/check", &[KINDS]),
    ("src/commands", &[KINDS]),
    (
        "src/config",
        &[&["crate::daemon", "crate::delivery", "crate::http", "crate::spool", "tokio"]],
    ),
    ("src/daemon", &[KINDS]),
    ("src/delivery", &[&["crate::daemon", "crate::http", "hyper"]]),
    ("src/http", &[&["crate::daemon", "crate::delivery", "crate::http_client", "crate::sink"]]),
    (
        "src/ingest.rs",
        &[&["crate::daemon", "crate::delivery", "crate::http", "crate::sink", "hyper", "tokio"]],
    ),
    ("src/listen.rs", &[&["crate::daemon", "crate::http", "hyper", "rustls"]]),
    ("src/metrics", &[KINDS, &["crate::daemon", "crate::delivery", "crate::http"]]),
    (
        "src/quarantine",
        &[&["crate::daemon", "crate::delivery", "crate::http", "crate::ingest", "hyper"]],
    ),
    ("src/serve", &[&["crate::daemon", "crate::delivery", "crate::sink", "crate::spool"]]),
];

fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let files = fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
    let is_source = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "rs");
    files.flat_map(|file| sources(&file)).filter(is_source).collect()
}

/// The module of a file within its crate: `http`, `body` for `src/http/body.rs`.
fn module(file: &Path) -> Vec<String> {
    let parts: Vec<_> = file.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let src = parts.iter().rposition(|part| part == "src").unwrap();
    let mut module = parts[src + 1..].to_vec();
    let name = module.pop().unwrap();
    match name.trim_end_matches(".rs") {
        "lib" | "main" | "mod" => {}
        name => module.push(name.to_owned()),
    }
    module
}

fn named_in(file: &Path) -> BTreeSet<String> {
    paths(&fs::read_to_string(file).unwrap(), &module(file))
}

fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Whether `path` is `forbidden` or in it, or a glob import that includes it.
fn is_in(path: &str, forbidden: &str) -> bool {
    // `src/lib.rs` names them as modules of the daemon.
    let is_crate = ["http_client::", "spool::", "tls::"].iter().any(|name| path.starts_with(name));
    let path = match path.strip_prefix("sinks::") {
        Some(rest) => format!("crate::sink::{rest}"),
        None if is_crate => format!("crate::{path}"),
        None => path.to_owned(),
    };
    is_below(&path, forbidden)
        || path.strip_suffix("::*").is_some_and(|module| is_below(forbidden, module))
}

#[test]
fn data_flows_downward() {
    let mut faults = Vec::new();
    for (part, rules) in RULES {
        let files = sources(&repository(part));
        assert!(!files.is_empty(), "{part}");
        for file in files {
            let itself = format!("crate::{}", module(&file).join("::"));
            for path in named_in(&file).iter().filter(|path| !is_below(path, &itself)) {
                if rules.iter().copied().flatten().any(|forbidden| is_in(path, forbidden)) {
                    faults.push(format!("{}: {path}", file.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn one_file_decompresses_three_compress_and_one_reads_pem() {
    // Of the crates with flate2, clippy.toml lets only decode/gunzip.rs decompress.
    let homes: [(&str, &[&str]); 2] = [
        (
            "flate2",
            &[
                "crates/cloudflare/src/gzip.rs",
                "crates/records/src/decode/gunzip.rs",
                "crates/sinks/src/file/compress.rs",
                // The bodies of requests.
                "crates/sinks/src/network/compression.rs",
            ],
        ),
        ("rustls_pemfile", &["crates/tls/src/lib.rs"]),
    ];
    for (name, homes) in homes {
        let mut users: Vec<_> = ["src", "crates"]
            .into_iter()
            .flat_map(|directory| sources(&repository(directory)))
            .filter(|file| named_in(file).iter().any(|path| is_in(path, name)))
            .filter(|file| !file.ends_with("tests.rs"))
            .collect();
        users.sort();
        let homes = homes.iter().map(|home| repository(home));
        assert_eq!(users, homes.collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn every_form_of_a_module_path_is_found() {
    for text in [
        "use crate::daemon::Part;",
        "use crate::{a, daemon::x};",
        "use crate::{a::{b, c}, daemon};",
        "use crate::daemon::{self, x};",
        "use crate::daemon as d;",
        "use super::super::daemon;",
        "use crate::*;",
        "fn f() { crate::daemon::run(); }",
        "fn f(x: &dyn crate::daemon::Part) {}",
        "fn f() { info!(a = 1, \"{}\", list(&[crate::daemon::x()])); }",
        "mod tests { use super::super::super::{daemon::x}; }",
        "impl From<crate::daemon::Part> for X {}",
        "#[derive(Debug)] struct X { part: Vec<Option<crate::daemon::Part>> }",
    ] {
        let paths = paths(text, &["http".into(), "body".into()]);
        assert!(paths.iter().any(|path| is_in(path, "crate::daemon")), "{text}: {paths:?}");
    }
    for path in ["sinks::file::Settings", "sinks::*"] {
        assert!(is_in(path, "crate::sink::file"), "{path}");
    }
    for text in [
        "use std::time::SystemTime;",
        "use std::{io, time::{Duration, SystemTime}};",
        "use std::time; fn f() { time::SystemTime::now(); }",
        "use std::time as t; fn f() -> t::SystemTime { todo!() }",
        "fn f() { std::time::SystemTime::now(); }",
        "use std::time::*;",
    ] {
        let paths = paths(text, &[]);
        assert!(paths.iter().any(|path| is_in(path, "std::time::SystemTime")), "{text}: {paths:?}");
    }
}

#[test]
fn text_that_resembles_a_module_path_is_not_found() {
    let text = "
        //! Like crate::daemon, and [`crate::daemon::x`].
        use crate::daemonize::x;
        use crate::a::daemon;
        pub(in crate::daemon) fn f() { g(\"crate::daemon\"); super::daemon::x(); }
    ";
    let paths = paths(text, &["http".into(), "body".into()]);
    assert!(!paths.iter().any(|path| is_in(path, "crate::daemon")), "{paths:?}");
}
