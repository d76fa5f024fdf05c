//! What the steps found, for people and for scripts.

use std::{
    io::{self, Write},
    time::Duration,
};

use command::json;
use serde::Serialize;
use settings::printable::printable;

/// What is done to a destination, in order.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    Destination,
    Resolve,
    Connect,
    Handshake,
    Certificate,
    Expiry,
    Name,
    Chain,
    Check,
    Secret,
    Batch,
}

impl Step {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Destination => "destination",
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Handshake => "handshake",
            Self::Certificate => "certificate",
            Self::Expiry => "expiry",
            Self::Name => "name",
            Self::Chain => "chain",
            Self::Check => "check",
            Self::Secret => "secret",
            Self::Batch => "batch",
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Pass,
    Warn,
    Fail,
}

/// What one step found. A step may find several things.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) step: Step,
    pub(super) outcome: Outcome,
    pub(super) ours: String,
    /// What Cloudflare says to the same.
    pub(super) cloudflare: Option<String>,
    pub(super) advice: Option<String>,
    pub(super) millis: Option<u64>,
}

impl Finding {
    pub(super) fn pass(step: Step, ours: impl Into<String>) -> Self {
        let ours = shown(&ours.into());
        Self { step, outcome: Outcome::Pass, ours, cloudflare: None, advice: None, millis: None }
    }

    pub(super) fn warn(step: Step, ours: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = Some(shown(&advice.into()));
        Self { outcome: Outcome::Warn, advice, ..Self::pass(step, ours) }
    }

    pub(super) fn fail(step: Step, ours: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { outcome: Outcome::Fail, ..Self::warn(step, ours, advice) }
    }

    pub(super) fn cloudflare(self, words: impl Into<String>) -> Self {
        Self { cloudflare: Some(shown(&words.into())), ..self }
    }

    /// Says how long it took. One that passed becomes a warning when it took half of what Cloudflare
    /// gives it: that is too near.
    pub(super) fn took(mut self, time: Duration, limit: Duration) -> Self {
        self.millis = u64::try_from(time.as_millis()).ok();
        // What did not come about in time has been said.
        let is_done = self.outcome != Outcome::Fail && self.cloudflare.is_none();
        if is_done && time > limit / 2 {
            let slow = format!(
                "this was slow: Cloudflare gives up after {} s (`context deadline exceeded`), so find out what \
                 it waited for",
                limit.as_secs()
            );
            self.outcome = Outcome::Warn;
            self.advice = Some(match self.advice {
                Some(advice) => format!("{advice}; {slow}"),
                None => slow,
            });
        }
        self
    }
}

/// Servers choose the text of answers and certificates: nothing of it may steer a terminal, or look
/// like a line of ours.
fn shown(text: &str) -> String {
    printable(text).to_string()
}

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
}

impl Report {
    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// The first failure: it is what Cloudflare would say.
    pub(super) fn failure(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.outcome == Outcome::Fail)
    }

    pub(super) fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        #[derive(Serialize)]
        struct Whole<'a> {
            ok: bool,
            steps: &'a [Finding],
        }
        let whole = Whole { ok: self.failure().is_none(), steps: &self.findings };
        json::write(out, &whole)
    }

    pub(super) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for finding in &self.findings {
            let Finding { step, outcome, ours, cloudflare, advice, millis } = finding;
            let outcome = match outcome {
                Outcome::Pass => "ok",
                Outcome::Warn => "warn",
                Outcome::Fail => "FAIL",
            };
            let time = millis.map(|millis| format!("{millis} ms")).unwrap_or_default();
            writeln!(out, "{outcome:4}  {:11}  {time:>8}  {ours}", step.text())?;
            let indent = " ".repeat(29);
            if let Some(words) = cloudflare {
                writeln!(out, "{indent}Cloudflare: {words}")?;
            }
            if let Some(advice) = advice {
                writeln!(out, "{indent}To do: {advice}")?;
            }
        }
        let warnings = self.findings.iter().filter(|it| it.outcome == Outcome::Warn).count();
        let warnings = match warnings {
            0 => String::new(),
            1 => "; one warning".to_owned(),
            count => format!("; {count} warnings"),
        };
        match self.failure() {
            Some(failure) => {
                let step = failure.step.text();
                writeln!(out, "\n`{step}` failed: Cloudflare could not push there{warnings}.")
            }
            None => writeln!(out, "\nNo step failed{warnings}."),
        }
    }
}
