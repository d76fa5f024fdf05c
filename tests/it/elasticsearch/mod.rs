//! Records are documents of a search server, each exactly once.

mod answers;
mod servers;

use std::fs;

use serde_json::Value;

use crate::support::{Daemon, Setup, names_in};

/// A daemon with the sink `search`, which has these keys.
fn setup(keys: &str) -> Setup {
    Setup::new().table("sink.search.elasticsearch", keys)
}

/// The lines of the sink in the quarantine.
fn dead_letters(daemon: &Daemon) -> Vec<Value> {
    let quarantine = daemon.path("quarantine");
    let names = names_in(&quarantine);
    let files = names.iter().filter(|name| name.starts_with("records-search-"));
    let text: String =
        files.map(|name| fs::read_to_string(quarantine.join(name)).unwrap()).collect();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The record of a document: without its first member, which the sink adds.
#[track_caller]
fn without_timestamp(document: &str) -> String {
    let Some(rest) = document.strip_prefix("{\"@timestamp\":\"") else {
        panic!("{document} has no time");
    };
    let (_, rest) = rest.split_once('"').unwrap();
    format!("{{{}", rest.strip_prefix(',').unwrap_or(rest))
}

/// The lines of a body, sorted.
fn sorted_lines(records: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(records).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}
