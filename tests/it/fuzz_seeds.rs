//! The seeds of the fuzz targets, on a stable toolchain: bugs that were found stay fixed.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{fs, path::Path};

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "in the fuzz crate it is public")]
mod fuzz;

/// Runs `check` on each file of `directory`, and reports the one that failed.
fn replay(directory: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut files = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let data = fs::read(&path).unwrap();
        let outcome = std::panic::catch_unwind(|| check(&data));
        assert!(outcome.is_ok(), "{} failed", path.display());
        files += 1;
    }
    assert!(files > 0, "nothing to replay");
}

#[test]
fn decode_seeds_pass() {
    replay("fuzz/seeds/decode", fuzz::decode);
}

#[test]
fn zipped_body_seeds_pass() {
    replay("fuzz/seeds/gzip_body", fuzz::gzip_body);
}

#[test]
fn message_seeds_pass() {
    replay("fuzz/seeds/message", fuzz::message);
    replay("tests/data/message", fuzz::message);
}

#[test]
fn configuration_seeds_pass() {
    replay("fuzz/seeds/config", fuzz::config);
    replay("tests/data/config/bad", fuzz::config);
    replay("config", fuzz::config);
}

#[test]
fn select_seeds_pass() {
    replay("fuzz/seeds/select", fuzz::select);
}

#[test]
fn destination_seeds_pass() {
    replay("fuzz/seeds/destination", fuzz::destination);
}
