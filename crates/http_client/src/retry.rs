//! When to try again: waits that grow, and what a server demands with `Retry-After`.

use std::{
    hash::{BuildHasher as _, RandomState},
    ops::RangeInclusive,
    time::Duration,
};

use jiff::{Timestamp, fmt::rfc2822};

/// Waits that double from a first to a longest one. Each is spread at random, so that what failed together
/// does not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    percent: RangeInclusive<u32>,
    failures: u32,
    random: RandomState,
}

impl Backoff {
    /// Each wait is between half and the whole of what it has grown to.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, percent: 50..=100, failures: 0, random: RandomState::new() }
    }

    /// Each wait is so many percent of what it has grown to, at random.
    #[must_use]
    pub fn spread(self, percent: RangeInclusive<u32>) -> Self {
        Self { percent, ..self }
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let whole = self.first.saturating_mul(factor).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        let (least, most) = (*self.percent.start(), *self.percent.end());
        let random =
            self.random.hash_one(self.failures) % u64::from(most.saturating_sub(least) + 1);
        let percent = least + u32::try_from(random).unwrap_or(0);
        whole / 100 * percent
    }
}

/// From 100 ms to 30 s: for what may be over in a moment, such as a full disk or a server that restarts.
impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(30))
    }
}

/// Reads the value of `Retry-After`, seconds or a date (RFC 9110, 10.2.3). A date that has passed is no
/// wait; anything else is `None`.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if value.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(seconds) = value.parse()
    {
        return Some(Duration::from_secs(seconds));
    }
    let at = rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    let seconds = at.as_second().saturating_sub(now.as_second());
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(30));
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..50).map(|_| backoff.next_wait()).collect();
        assert!(waits[0] >= first / 2 && waits[0] <= first, "{waits:?}");
        assert!(waits[6] > waits[2], "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= longest), "{waits:?}");
        assert!(waits[19..].iter().all(|wait| *wait >= longest / 2), "{waits:?}");
    }

    #[test]
    fn waits_are_spread_as_it_is_asked_for() {
        let longest = Duration::from_secs(60);
        for _ in 0..100 {
            let mut backoff = Backoff::new(longest, longest).spread(100..=120);
            let wait = backoff.next_wait();
            assert!(wait >= longest && wait <= longest * 6 / 5, "{wait:?}");
        }
    }

    #[test]
    fn both_forms_of_retry_after_are_read() {
        let now = Timestamp::from_second(784_111_777).unwrap();
        for (value, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 09:49:37 GMT", Some(3600)),
            ("Sun, 06 Nov 1994 07:49:37 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("+1", None),
            ("", None),
        ] {
            let wait = retry_after(value, now);
            assert_eq!(wait, seconds.map(Duration::from_secs), "{value}");
        }
    }
}
