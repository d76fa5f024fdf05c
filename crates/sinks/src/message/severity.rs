//! The severity of an event, from 1 to 10 in both formats.

use super::members::Members;

/// How the value of a member determines the severity.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    /// By the name of the action; see [`ACTION_WORDS`].
    Action,
    /// By the status of an HTTP response.
    HttpStatus,
    /// By the code of a DNS response.
    DnsCode,
    /// By `true` or `false` for success.
    Success,
    /// By the name of the result; see [`FAILURE_WORDS`].
    Failure,
    /// By the disposition of Email Security.
    Disposition,
    /// By the level of severity or risk that Cloudflare assigns.
    Level,
    /// By whether the member, such as an error, has a value.
    Presence,
}

/// Severities of actions: the first entry that the value, in lower case, contains.
pub(super) const ACTION_WORDS: &[(&str, u8)] = &[
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

/// The severity of the action `log`, compared as a whole: `login` contains it, too.
const LOGGED: (&str, u8) = ("log", 3);

/// A result is a failure if its value, in lower case, contains one of these words.
pub(super) const FAILURE_WORDS: &[&str] = &[
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

/// A value that contains this word, such as `peerNoError`, is no failure.
const NO_FAILURE: &str = "noerror";

/// The severity of a dataset without a minimum.
const LEAST: u8 = 1;

/// Returns the highest severity by `scales`, and at least `base`.
pub(super) fn of(base: u8, scales: &[(&str, Scale)], members: &Members<'_>) -> u8 {
    known(base, scales, members).unwrap_or(base)
}

/// As [`of`], or `None` if no member determines the severity and `base` is the least.
pub(super) fn known(base: u8, scales: &[(&str, Scale)], members: &Members<'_>) -> Option<u8> {
    let severities = scales.iter().filter_map(|(member, scale)| {
        let word = members.word(member)?;
        Some(scale.of(&word))
    });
    severities.chain((base > LEAST).then_some(base)).max().map(|severity| severity.max(base))
}

impl Scale {
    fn of(self, word: &str) -> u8 {
        match self {
            Self::Action => {
                let word = word.to_ascii_lowercase();
                if word == LOGGED.0 {
                    return LOGGED.1;
                }
                let known = ACTION_WORDS.iter().find(|(part, _)| word.contains(part));
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
                let is_failure = FAILURE_WORDS.iter().any(|part| word.contains(part));
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
