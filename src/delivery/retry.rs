//! Decides when a failed attempt is retried, and from which batch.

use std::{fmt, io, time::Duration, time::Instant};

use tracing::{error, info, warn};

use super::Delivery;
use crate::{
    retry::Backoff,
    sink::{Resume, Retry, SinkError},
};

/// The longest delay that a target can request. Longer ones are shortened to this.
const LONGEST_DELAY: Duration = Duration::from_secs(600);

/// The interval of attempts of a sink that fails until an operator acts: short enough to deliver
/// soon after the repair, and long enough not to look like an attack on a password.
const OPERATOR_INTERVAL: Duration = Duration::from_secs(60);

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

/// The result of [`Delivery::persist`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// The attempt succeeded.
    Done,
    /// The delivery continues after the last checkpoint.
    Returned,
}

/// The consumer ends before an attempt succeeded.
pub(super) struct Stopped;

impl Delivery {
    /// Retries `attempt` until it succeeds, must return to the last checkpoint, or the consumer
    /// ends. At the end there is a last attempt without delay, since the sink may work by now,
    /// unless the target has requested a delay.
    pub(super) fn persist(
        &mut self,
        attempt: &mut dyn FnMut(&mut Self) -> Result<(), Failure>,
    ) -> Result<Outcome, Stopped> {
        let mut backoff = Backoff::default();
        let mut last_try = false;
        loop {
            let checkpoint_changes = self.checkpoint_changes;
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
            if self.checkpoint_changes != checkpoint_changes {
                // A part was delivered since the last failure.
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
                        // A part of the batch may be delivered, which the last checkpoint must
                        // cover.
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
            error!(sink, error = %failure, action, %retry_in, repeated, "the sink failed: action required");
        } else {
            warn!(sink, error = %failure, %retry_in, repeated, "the sink failed");
        }
    }

    /// Ends the alarm after a delivery, if there is one.
    pub(super) fn end_alarm(&mut self) {
        self.alarm = None;
        self.metrics.action_required(false);
    }

    /// Logs that the last attempt has failed as well.
    fn log_backlog(&self) {
        let sink = &self.name;
        if self.spool.is_open() {
            warn!(sink, "reload: the sink's backlog is delivered with its new settings");
        } else {
            warn!(sink, "stopping: the sink's backlog stays in the spool");
        }
    }
}

/// Returns the delay before the next attempt: at least what the target has requested, up to
/// [`LONGEST_DELAY`].
fn delay(retry: &Retry, backoff: Duration) -> Duration {
    match retry {
        Retry::Backoff => backoff,
        Retry::After(asked) => backoff.max(LONGEST_DELAY.min(*asked)),
        // Jitter, as in the backoff.
        Retry::Operator { .. } => Backoff::new(OPERATOR_INTERVAL, OPERATOR_INTERVAL).next_delay(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_at_least_as_requested_up_to_a_maximum() {
        let [short, asked, long] = [1, 7, 86_400].map(Duration::from_secs);
        assert_eq!(delay(&Retry::Backoff, short), short);
        assert_eq!(delay(&Retry::After(asked), short), asked);
        assert_eq!(delay(&Retry::After(Duration::ZERO), short), short);
        assert_eq!(delay(&Retry::After(long), short), LONGEST_DELAY);
        for _ in 0..100 {
            let wait = delay(&Retry::Operator { action: "act".into() }, short);
            assert!(wait >= OPERATOR_INTERVAL / 2 && wait <= OPERATOR_INTERVAL, "{wait:?}");
        }
    }
}
