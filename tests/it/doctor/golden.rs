//! The output of `doctor`, compared with the texts in `tests/data/doctor`. `LOGPUSHD_BLESS=1`
//! writes them again: read the diff.

use std::{env, fmt::Write as _, fs, net::SocketAddr};

use serde_json::Value;

use crate::support::repository;

/// The steps as text: without times, and with placeholders for values that differ from run to run.
pub(super) fn render(report: &Value, address: SocketAddr) -> String {
    let mut text = String::new();
    for step in report["steps"].as_array().unwrap() {
        let word = |key: &str| step[key].as_str();
        let mut outcome = word("outcome").unwrap();
        let mut advice = word("advice");
        // On an overloaded machine.
        if let Some((usual, _)) = advice.and_then(|advice| advice.split_once("this was slow")) {
            advice = usual.strip_suffix("; ");
            // This host has no other address, so there is nothing else to warn of.
            if advice.is_none() {
                outcome = "pass";
            }
        }
        let (name, ours) = (word("step").unwrap(), word("ours").unwrap());
        writeln!(text, "{outcome} {name}: {ours}").unwrap();
        for (title, words) in [("Cloudflare", word("cloudflare")), ("To do", advice)] {
            if let Some(words) = words {
                writeln!(text, "    {title}: {words}").unwrap();
            }
        }
    }
    let text = text.replace(&format!(":{}", address.port()), ":PORT");
    let text = text.replace(&format!("port {}", address.port()), "port PORT");
    days(&times(&text))
}

/// `2026-11-22T02:31:57Z`, except for the years that the tests choose.
fn times(text: &str) -> String {
    let is_chosen = |word: &str| ["2021", "2080", "2090"].iter().any(|year| word.starts_with(year));
    let is_time = |word: &str| {
        let time = word.trim_end_matches(',');
        time.len() == 20
            && time.ends_with('Z')
            && time.bytes().filter(u8::is_ascii_digit).count() == 14
            && !is_chosen(time)
    };
    let words = text.split(' ').map(|word| if is_time(word) { "TIME" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// `valid until ..., for 364 days`
fn days(text: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_suffix(" days") {
        Some(line) => {
            format!("{}N days\n", line.trim_end_matches(|c: char| c.is_ascii_digit()))
        }
        None => format!("{line}\n"),
    });
    lines.collect()
}

#[track_caller]
pub(super) fn compare(name: &str, text: &str) {
    let path = repository("tests/data/doctor").join(name).with_extension("txt");
    if env::var_os("LOGPUSHD_BLESS").is_some() {
        fs::write(&path, text).unwrap();
    }
    let want = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, want, "{}: LOGPUSHD_BLESS=1 writes it again", path.display());
}
