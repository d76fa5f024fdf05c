//! Times of renewals and retries.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use super::failure::ErrorKind;
use crate::{retry::Backoff, tls::Validity};

/// Random part of the schedule, 0 to 100 percent, so that processes that got a certificate at the
/// same time renew at different times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread(u8);

impl Spread {
    pub(super) fn new() -> Self {
        Self(u8::try_from(RandomState::new().hash_one(0) % 101).unwrap_or(100))
    }
}

/// Returns when to renew a certificate, in seconds since 1970: when a third of its lifetime is
/// left, or up to a thirtieth of it earlier.
pub(super) fn renewal(validity: Validity, spread: Spread) -> i64 {
    let lifetime = validity.lifetime();
    validity.not_after - lifetime / 3 - lifetime / 30 * i64::from(spread.0) / 100
}

/// Interval for a certificate without a lifetime, which would otherwise be ordered endlessly.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Returns the least time between two orders, independent of the clock.
pub(super) fn min_interval(validity: Validity, spread: Spread) -> Duration {
    let lifetime = u64::try_from(validity.lifetime()).unwrap_or(0);
    let seconds = lifetime / 10 + lifetime / 100 * u64::from(spread.0) / 100;
    if seconds == 0 { DEFAULT_INTERVAL } else { Duration::from_secs(seconds) }
}

/// Delays after failures, which grow separately for each kind: a directory that was unreachable for
/// long has rejected nothing yet. Each delay is up to a fifth longer than its base, never shorter.
#[derive(Debug)]
pub(super) struct RetryDelays {
    unreachable: Backoff,
    rejected: Backoff,
    local: Backoff,
}

impl RetryDelays {
    /// Returns the next delay, and increases it for the next time.
    pub(super) fn next_delay(&mut self, kind: ErrorKind) -> Duration {
        match kind {
            ErrorKind::Unreachable => self.unreachable.next_delay(),
            ErrorKind::Rejected => self.rejected.next_delay(),
            ErrorKind::Local => self.local.next_delay(),
        }
    }
}

impl Default for RetryDelays {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        let from = |first, longest| Backoff::new(first, longest).with_jitter(100..=120);
        // Let's Encrypt allows five failures an hour for a domain.
        let rejected = from(Duration::from_secs(5 * 60), 6 * HOUR);
        Self {
            // Retries cost nothing, and the cause may be brief.
            unreachable: from(Duration::from_secs(5), HOUR),
            local: rejected.clone(),
            rejected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 60 * 60;

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_lifetime_is_left() {
        let validity = Validity { not_before: 1000, not_after: 1000 + 90 * DAY };
        assert_eq!(renewal(validity, Spread(0)), 1000 + 60 * DAY);
        assert_eq!(renewal(validity, Spread(100)), 1000 + 57 * DAY);
        assert_eq!(min_interval(validity, Spread(0)), Duration::from_secs(9 * 86_400));
        for _ in 0..100 {
            assert!(Spread::new().0 <= 100);
        }
        // A certificate that was never valid is not ordered endlessly.
        let odd = Validity { not_before: 1000, not_after: 10 };
        assert_eq!(
            (renewal(odd, Spread(50)), min_interval(odd, Spread(50))),
            (10, DEFAULT_INTERVAL)
        );
    }

    #[test]
    fn there_are_less_than_five_failures_an_hour() {
        let hour = Duration::from_secs(60 * 60);
        let mut delays = RetryDelays::default();
        let mut at = Duration::ZERO;
        let mut attempts = vec![at];
        for _ in 0..12 {
            at += delays.next_delay(ErrorKind::Rejected);
            attempts.push(at);
        }
        let within =
            |from: Duration| attempts.iter().filter(|at| (from..from + hour).contains(*at)).count();
        assert!(attempts.iter().all(|at| within(*at) < 5), "{attempts:?}");
        assert!(delays.next_delay(ErrorKind::Rejected) <= hour * 6 * 6 / 5);

        let mut delays = RetryDelays::default();
        assert!(delays.next_delay(ErrorKind::Unreachable) <= Duration::from_secs(6));
        for _ in 0..40 {
            assert!(delays.next_delay(ErrorKind::Unreachable) <= hour * 6 / 5);
        }
        // Delays of other kinds have not grown.
        for kind in [ErrorKind::Rejected, ErrorKind::Local] {
            assert!(delays.next_delay(kind) <= Duration::from_secs(6 * 60), "{kind:?}");
        }
    }
}
