//! The report of all steps, as text and as JSON.

use std::{
    io::{self, Write},
    time::Duration,
};

use command::json;
use serde::Serialize;
use settings::printable::printable;

/// The steps, in order.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DoctorStep {
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

impl DoctorStep {
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
pub(super) enum StepOutcome {
    Pass,
    Warn,
    Fail,
}

/// A result of a step. A step may have several.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) step: DoctorStep,
    pub(super) outcome: StepOutcome,
    #[serde(rename = "ours")]
    pub(super) message: String,
    /// Cloudflare's message for the same problem.
    pub(super) cloudflare: Option<String>,
    /// What to do.
    pub(super) advice: Option<String>,
    pub(super) millis: Option<u64>,
}

impl Finding {
    pub(super) fn pass(step: DoctorStep, message: impl Into<String>) -> Self {
        let message = escape(&message.into());
        Self {
            step,
            outcome: StepOutcome::Pass,
            message,
            cloudflare: None,
            advice: None,
            millis: None,
        }
    }

    pub(super) fn warn(
        step: DoctorStep,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let advice = Some(escape(&advice.into()));
        Self { outcome: StepOutcome::Warn, advice, ..Self::pass(step, message) }
    }

    pub(super) fn fail(
        step: DoctorStep,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { outcome: StepOutcome::Fail, ..Self::warn(step, message, advice) }
    }

    pub(super) fn cloudflare(self, message: impl Into<String>) -> Self {
        Self { cloudflare: Some(escape(&message.into())), ..self }
    }

    /// Adds the duration of the step. A step that took more than half of Cloudflare's timeout becomes a
    /// warning.
    pub(super) fn timed(mut self, time: Duration, limit: Duration) -> Self {
        self.millis = u64::try_from(time.as_millis()).ok();
        // A timeout has already been reported.
        let is_done = self.outcome != StepOutcome::Fail && self.cloudflare.is_none();
        if is_done && time > limit / 2 {
            let slow = format!(
                "this was slow: Cloudflare gives up after {} s (`context deadline exceeded`); find the cause \
                 of the delay",
                limit.as_secs()
            );
            self.outcome = StepOutcome::Warn;
            self.advice = Some(match self.advice {
                Some(advice) => format!("{advice}; {slow}"),
                None => slow,
            });
        }
        self
    }
}

/// Escapes control characters, since a server chooses the text of its answers and certificates.
fn escape(text: &str) -> String {
    printable(text).to_string()
}

/// The findings so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
}

impl Report {
    pub(super) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Returns the first failure, which is the one that Cloudflare would report.
    pub(super) fn failure(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.outcome == StepOutcome::Fail)
    }

    pub(super) fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        #[derive(Serialize)]
        struct ReportJson<'a> {
            ok: bool,
            steps: &'a [Finding],
        }
        let report = ReportJson { ok: self.failure().is_none(), steps: &self.findings };
        json::write(out, &report)
    }

    pub(super) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for finding in &self.findings {
            let Finding { step, outcome, message, cloudflare, advice, millis } = finding;
            let outcome = match outcome {
                StepOutcome::Pass => "ok",
                StepOutcome::Warn => "warn",
                StepOutcome::Fail => "FAIL",
            };
            let time = millis.map(|millis| format!("{millis} ms")).unwrap_or_default();
            writeln!(out, "{outcome:4}  {:11}  {time:>8}  {message}", step.text())?;
            let indent = " ".repeat(29);
            if let Some(text) = cloudflare {
                writeln!(out, "{indent}Cloudflare: {text}")?;
            }
            if let Some(advice) = advice {
                writeln!(out, "{indent}To do: {advice}")?;
            }
        }
        let warnings = self.findings.iter().filter(|it| it.outcome == StepOutcome::Warn).count();
        let warnings = match warnings {
            0 => String::new(),
            1 => "; one warning".to_owned(),
            count => format!("; {count} warnings"),
        };
        match self.failure() {
            Some(failure) => {
                let step = failure.step.text();
                writeln!(
                    out,
                    "\n`{step}` failed: Cloudflare cannot push to this destination{warnings}."
                )
            }
            None => writeln!(out, "\nNo step failed{warnings}."),
        }
    }
}
