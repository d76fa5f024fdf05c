//! How grave an event is, from 1 to 10, as both formats have it.

use super::members::Members;

/// How a member tells.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    /// By the word for what was done: see [`WORDS`].
    Action,
    /// By the status of an HTTP response.
    HttpStatus,
    /// By the code of a DNS response.
    DnsCode,
    /// By whether it succeeded.
    Success,
    /// By the word for how it ended: see [`FAILURES`].
    Failure,
    /// By what Email Security takes a message for.
    Disposition,
    /// By how grave or risky Cloudflare calls it.
    Level,
    /// By whether there is anything, such as an error.
    Presence,
}

/// The first that is part of the word, in lower case, decides.
pub(super) const WORDS: &[(&str, u8)] = &[
    ("solved", 3),
    ("bypass", 3),
    ("allow", 1),
    ("block", 7),
    ("drop", 7),
    ("deny", 7),
    ("denied", 7),
    ("filtered", 7),
    ("connectionclose", 7),
    ("quarantine", 7),
    ("challenge", 5),
    ("error", 5),
    ("fail", 5),
    ("exception", 5),
    ("exceeded", 5),
    ("override", 3),
    ("simulate", 3),
];

/// What a job that only logs says: nothing that merely has these letters, such as `login`.
const LOGGED: (&str, u8) = ("log", 3);

/// The words that are a failure if one of them is part of the word, in lower case.
pub(super) const FAILURES: &[&str] = &[
    "fail",
    "error",
    "refused",
    "unreachable",
    "unroutable",
    "too_many",
    "mismatched",
    "exhausted",
    "timedout",
    "violation",
    "ratelimited",
    "stale",
];

/// A part of a word that says the opposite, such as `peerNoError`.
const NO_FAILURE: &str = "noerror";

/// The gravest that one of `scales` tells of its member, and never less than `base`.
pub(super) fn of(base: u8, scales: &[(&str, Scale)], members: &Members<'_>) -> u8 {
    let told = scales.iter().filter_map(|(member, scale)| {
        let word = members.word(member)?;
        Some(scale.of(&word))
    });
    told.fold(base, u8::max)
}

impl Scale {
    fn of(self, word: &str) -> u8 {
        match self {
            Self::Action => {
                let word = word.to_ascii_lowercase();
                if word == LOGGED.0 {
                    return LOGGED.1;
                }
                let known = WORDS.iter().find(|(part, _)| word.contains(part));
                known.map_or(1, |(_, severity)| *severity)
            }
            Self::HttpStatus => match word.parse::<u16>() {
                Ok(401 | 403 | 407 | 429) => 4,
                Ok(400..=499) => 3,
                Ok(500..=599) => 5,
                _ => 1,
            },
            Self::DnsCode => match word {
                "0" => 1,
                "3" => 2,
                _ => 4,
            },
            Self::Failure => {
                let word = word.to_ascii_lowercase();
                let is_failure = FAILURES.iter().any(|part| word.contains(part));
                if is_failure && !word.contains(NO_FAILURE) { 5 } else { 1 }
            }
            Self::Disposition => match word.to_ascii_lowercase().as_str() {
                "malicious" => 9,
                "suspicious" | "spoof" => 7,
                "spam" => 4,
                "bulk" => 2,
                _ => 1,
            },
            Self::Level => match word.to_ascii_lowercase().as_str() {
                "critical" => 10,
                "high" => 8,
                "medium" => 5,
                "low" => 3,
                _ => 1,
            },
            Self::Presence => 5,
            Self::Success => match word {
                "false" | "failure" => 6,
                _ => 1,
            },
        }
    }
}
