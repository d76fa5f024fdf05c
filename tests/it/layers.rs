//! What a layer must not know, by the names that its files may not hold.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::repository;

/// A part of the sources, and what no file of it may name.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("crates/records/src", &["tokio", "hyper", "std::fs", "std::net", "SystemTime", "Instant"]),
    (
        "src/cloudflare",
        &["tokio", "std::fs", "std::net", "SystemTime", "Timestamp::now", "crate::http_client"],
    ),
    ("src/sink", &["hyper", "crate::config", "crate::http::", "crate::delivery", "crate::metrics"]),
    ("crates/spool/src", &["tokio", "hyper"]),
    ("src/delivery", &["hyper", "crate::http::", "crate::daemon"]),
    ("src/ingest.rs", &["tokio", "hyper", "crate::http::", "crate::sink", "crate::delivery"]),
    ("src/http", &["crate::sink", "crate::delivery", "crate::daemon"]),
    ("src/listen.rs", &["rustls", "hyper::"]),
    ("src/destination", &["tokio", "rustls", "std::fs", "crate::http_client", "crate::tls"]),
    (
        "src/acme",
        &["crate::http::", "crate::spool", "crate::sink", "crate::delivery", "crate::daemon"],
    ),
];

fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let files = fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
    let is_source = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "rs");
    files.flat_map(|file| sources(&file)).filter(is_source).collect()
}

/// The lines that are code: what a comment names is not used.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn data_flows_downward() {
    let mut seen = 0;
    for (part, words) in FORBIDDEN {
        for file in sources(&repository(part)) {
            seen += 1;
            let text = fs::read_to_string(&file).unwrap();
            for line in code(&text) {
                let word = words.iter().find(|word| line.contains(**word));
                assert!(word.is_none(), "{}: {line}", file.display());
            }
        }
    }
    assert!(seen > 30, "{seen} files");
}

#[test]
fn one_file_inflates_two_deflate_and_one_reads_pem() {
    // Of those that know flate2, clippy.toml keeps all but decode/gunzip.rs from inflating.
    let homes: [(&str, &[&str]); 2] = [
        (
            "flate2::",
            &[
                "crates/records/src/decode/gunzip.rs",
                "src/commands/gzip.rs",
                "src/sink/file/pack.rs",
            ],
        ),
        ("rustls_pemfile::", &["src/tls/mod.rs"]),
    ];
    for (word, homes) in homes {
        let mut users: Vec<_> = ["src", "crates"]
            .into_iter()
            .flat_map(|folder| sources(&repository(folder)))
            .filter(|file| code(&fs::read_to_string(file).unwrap()).any(|line| line.contains(word)))
            .filter(|file| !file.ends_with("tests.rs"))
            .collect();
        users.sort();
        let homes = homes.iter().map(|home| repository(home));
        assert_eq!(users, homes.collect::<Vec<_>>(), "{word}");
    }
}
