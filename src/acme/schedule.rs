//! When to renew, and when to try again.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use super::failure::Kind;
use crate::{retry::Backoff, tls::Validity};

/// How far this process is from others that got a certificate at the same time, of 100.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread(u8);

impl Spread {
    pub(super) fn new() -> Self {
        Self(u8::try_from(RandomState::new().hash_one(0) % 101).unwrap_or(100))
    }
}

/// When a certificate is to be renewed, in seconds since 1970: when a third of its life is left, or up
/// to a thirtieth earlier.
pub(super) fn renewal(validity: Validity, spread: Spread) -> i64 {
    let lifetime = validity.lifetime();
    validity.not_after - lifetime / 3 - lifetime / 30 * i64::from(spread.0) / 100
}

/// For one that is over as soon as it begins: else it would be asked for on and on.
const REST: Duration = Duration::from_secs(60 * 60);

/// How long a certificate that was just got is left alone, whatever the clock says.
pub(super) fn rest(validity: Validity, spread: Spread) -> Duration {
    let lifetime = u64::try_from(validity.lifetime()).unwrap_or(0);
    let seconds = lifetime / 10 + lifetime / 100 * u64::from(spread.0) / 100;
    if seconds == 0 { REST } else { Duration::from_secs(seconds) }
}

/// How long to wait after failures, of each kind by itself: a directory that was long away has refused
/// nothing yet. Each wait is up to a fifth longer than it has grown to, never shorter.
#[derive(Debug)]
pub(super) struct Waits {
    unreachable: Backoff,
    refused: Backoff,
    local: Backoff,
}

impl Waits {
    /// The next wait.
    pub(super) fn next_wait(&mut self, kind: Kind) -> Duration {
        match kind {
            Kind::Unreachable => self.unreachable.next_delay(),
            Kind::Refused => self.refused.next_delay(),
            Kind::Local => self.local.next_delay(),
        }
    }
}

impl Default for Waits {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        let from = |first, longest| Backoff::new(first, longest).with_jitter(100..=120);
        // Let's Encrypt takes five failures an hour for a name, then refuses to look.
        let refused = from(Duration::from_secs(5 * 60), 6 * HOUR);
        Self {
            // Costs nobody anything, and may be over in a moment.
            unreachable: from(Duration::from_secs(5), HOUR),
            local: refused.clone(),
            refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 60 * 60;

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_life_is_left() {
        let validity = Validity { not_before: 1000, not_after: 1000 + 90 * DAY };
        assert_eq!(renewal(validity, Spread(0)), 1000 + 60 * DAY);
        assert_eq!(renewal(validity, Spread(100)), 1000 + 57 * DAY);
        assert_eq!(rest(validity, Spread(0)), Duration::from_secs(9 * 86_400));
        for _ in 0..100 {
            assert!(Spread::new().0 <= 100);
        }
        // One that was never valid is not asked for on and on either way.
        let odd = Validity { not_before: 1000, not_after: 10 };
        assert_eq!((renewal(odd, Spread(50)), rest(odd, Spread(50))), (10, REST));
    }

    #[test]
    fn less_than_five_failures_an_hour() {
        let hour = Duration::from_secs(60 * 60);
        let mut waits = Waits::default();
        let mut at = Duration::ZERO;
        let mut attempts = vec![at];
        for _ in 0..12 {
            at += waits.next_wait(Kind::Refused);
            attempts.push(at);
        }
        let within =
            |from: Duration| attempts.iter().filter(|at| (from..from + hour).contains(*at)).count();
        assert!(attempts.iter().all(|at| within(*at) < 5), "{attempts:?}");
        assert!(waits.next_wait(Kind::Refused) <= hour * 6 * 6 / 5);

        let mut waits = Waits::default();
        assert!(waits.next_wait(Kind::Unreachable) <= Duration::from_secs(6));
        for _ in 0..40 {
            assert!(waits.next_wait(Kind::Unreachable) <= hour * 6 / 5);
        }
        // It was away for long, and now says no for the first time.
        for kind in [Kind::Refused, Kind::Local] {
            assert!(waits.next_wait(kind) <= Duration::from_secs(6 * 60), "{kind:?}");
        }
    }
}
