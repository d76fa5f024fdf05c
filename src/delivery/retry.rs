//! What becomes of a failed attempt: when it is retried, and from where.

use std::{fmt, io, time::Duration, time::Instant};

use tracing::{error, info, warn};

use super::Delivery;
use crate::{
    retry::Backoff,
    sink::{Resume, Retry, SinkError},
};

/// The longest delay that a target can ask for: a target that asks for more is asked again after this.
const LONGEST_DELAY: Duration = Duration::from_secs(600);

/// How often a sink is tried that fails until an operator acts: soon after the repair, and seldom enough
/// that no target takes it for an attack on a password.
const OPERATOR_PACE: Duration = Duration::from_secs(60);

/// Why an attempt ended.
pub(super) enum Failure {
    Sink(SinkError),
    Read(io::Error),
}

impl Failure {
    fn resume(&self) -> Resume {
        match self {
            Self::Sink(error) => error.resume(),
            Self::Read(_) => Resume::Batch,
        }
    }

    fn retry(&self) -> &Retry {
        match self {
            Self::Sink(error) => error.retry(),
            Self::Read(_) => &Retry::Backoff,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sink(error) => error.fmt(f),
            Self::Read(error) => error.fmt(f),
        }
    }
}

/// How attempts came to an end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    Done,
    /// What comes next is the batch after the last checkpoint.
    Returned,
}

/// The daemon stops, and something is left to do.
pub(super) struct Stopped;

impl Delivery {
    /// Tries until it works, has to begin further back, or the daemon stops: then once more, at once,
    /// since what failed may work by now, unless the target has asked for a delay.
    pub(super) fn persist(
        &mut self,
        attempt: &mut dyn FnMut(&mut Self) -> Result<(), Failure>,
    ) -> Result<Outcome, Stopped> {
        let mut backoff = Backoff::default();
        let mut last_try = false;
        loop {
            let moves = self.moves;
            let Err(failure) = attempt(self) else {
                if self.alarm == Some(Resume::Batch) {
                    self.end_alarm();
                }
                if self.failures.recovered() {
                    info!(sink = self.name, "the sink works again");
                }
                return Ok(Outcome::Done);
            };
            self.metrics.error();
            let resume = failure.resume();
            if self.moves != moves {
                // Something was delivered since the last failure.
                backoff = Backoff::default();
            }
            let backoff = match resume {
                Resume::Batch => backoff.next_delay(),
                Resume::Checkpoint => self.returns.next_delay(),
            };
            let wait = delay(failure.retry(), backoff);
            self.report(&failure, wait);
            if resume == Resume::Checkpoint {
                self.handled = self.saved.batch;
                self.spool.advance(self.id, self.handled);
                self.unsaved_since = None;
            }
            let may_hurry = !matches!(failure.retry(), Retry::After(_));
            match (self.spool.pause(self.id, wait), resume) {
                (true, Resume::Checkpoint) => return Ok(Outcome::Returned),
                (true, Resume::Batch) => {}
                (false, Resume::Batch) if !last_try && may_hurry => last_try = true,
                (false, _) => {
                    if resume == Resume::Batch {
                        // A part of the batch may be delivered: the last checkpoint covers it.
                        self.unsaved_since.get_or_insert_with(Instant::now);
                    }
                    self.log_backlog();
                    return Err(Stopped);
                }
            }
        }
    }

    fn report(&mut self, failure: &Failure, wait: Duration) {
        let is_for_operator = matches!(failure.retry(), Retry::Operator { .. });
        self.alarm = is_for_operator.then(|| failure.resume());
        self.metrics.action_required(is_for_operator);
        let Some(repeated) = self.failures.failed(&failure.to_string(), Instant::now()) else {
            return;
        };
        let sink = &self.name;
        let retry_in = format_args!("{}ms", wait.as_millis());
        if let Retry::Operator { action } = failure.retry() {
            let event = "the sink failed, and fails until an operator acts";
            error!(sink, error = %failure, action, %retry_in, repeated, "{event}");
        } else {
            warn!(sink, error = %failure, %retry_in, repeated, "the sink failed");
        }
    }

    /// Ends the alarm, if there is one: the sink has delivered something.
    pub(super) fn end_alarm(&mut self) {
        self.alarm = None;
        self.metrics.action_required(false);
    }

    /// Logs that the last attempt has failed as well.
    fn log_backlog(&self) {
        let sink = &self.name;
        if self.spool.is_open() {
            warn!(sink, "reload: the backlog of the sink is left to its new settings");
        } else {
            warn!(sink, "stopping: the backlog of the sink stays in the spool");
        }
    }
}

/// How long to wait before the next attempt: never shorter than the target has asked for, up to
/// [`LONGEST_DELAY`].
fn delay(retry: &Retry, backoff: Duration) -> Duration {
    match retry {
        Retry::Backoff => backoff,
        Retry::After(asked) => backoff.max(LONGEST_DELAY.min(*asked)),
        // Jitter, as in the backoff.
        Retry::Operator { .. } => Backoff::new(OPERATOR_PACE, OPERATOR_PACE).next_delay(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_never_shorter_than_asked_and_has_a_bound() {
        let [short, asked, long] = [1, 7, 86_400].map(Duration::from_secs);
        assert_eq!(delay(&Retry::Backoff, short), short);
        assert_eq!(delay(&Retry::After(asked), short), asked);
        assert_eq!(delay(&Retry::After(Duration::ZERO), short), short);
        assert_eq!(delay(&Retry::After(long), short), LONGEST_DELAY);
        for _ in 0..100 {
            let wait = delay(&Retry::Operator { action: "act".into() }, short);
            assert!(wait >= OPERATOR_PACE / 2 && wait <= OPERATOR_PACE, "{wait:?}");
        }
    }
}
