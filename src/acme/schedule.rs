//! When to renew, and when to try again.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use super::failure::Kind;
use crate::tls::Validity;

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

/// What comes after a failure.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// Of each kind by itself: a directory that was long away has refused nothing yet.
    unreachable: u32,
    refused: u32,
    local: u32,
    random: RandomState,
}

impl Backoff {
    /// How long to wait now. Doubles with each failure, and is up to a fifth longer, so that what
    /// failed together does not come back together.
    pub(super) fn next(&mut self, kind: Kind) -> Duration {
        // Let's Encrypt takes five failures an hour for a name, then refuses to look.
        const REFUSED: (u64, u64) = (5 * 60, 6 * 60 * 60);
        let (failures, (first, longest)) = match kind {
            // Costs nobody anything, and may be over in a moment.
            Kind::Unreachable => (&mut self.unreachable, (5, 60 * 60)),
            Kind::Refused => (&mut self.refused, REFUSED),
            Kind::Local => (&mut self.local, REFUSED),
        };
        let doublings = (*failures).min(16);
        *failures = failures.saturating_add(1);
        let seconds: u64 = (first << doublings).min(longest);
        let percent = self.random.hash_one(*failures) % 21;
        Duration::from_millis(seconds * 10 * (100 + percent))
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
        let mut backoff = Backoff::default();
        let mut at = Duration::ZERO;
        let mut attempts = vec![at];
        for _ in 0..12 {
            at += backoff.next(Kind::Refused);
            attempts.push(at);
        }
        let within =
            |from: Duration| attempts.iter().filter(|at| (from..from + hour).contains(*at)).count();
        assert!(attempts.iter().all(|at| within(*at) < 5), "{attempts:?}");
        assert!(backoff.next(Kind::Refused) <= hour * 6 * 6 / 5);

        let mut backoff = Backoff::default();
        assert!(backoff.next(Kind::Unreachable) <= Duration::from_secs(6));
        for _ in 0..40 {
            assert!(backoff.next(Kind::Unreachable) <= hour * 6 / 5);
        }
        // It was away for long, and now says no for the first time.
        for kind in [Kind::Refused, Kind::Local] {
            assert!(backoff.next(kind) <= Duration::from_secs(6 * 60), "{kind:?}");
        }
    }
}
