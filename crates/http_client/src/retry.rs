//! When to retry: exponential backoff, and the `Retry-After` header of a server.

use std::{
    hash::{BuildHasher as _, RandomState},
    ops::RangeInclusive,
    time::Duration,
};

use jiff::{Timestamp, fmt::rfc2822};

/// Exponential backoff with jitter: delays double from a first one up to a maximum. The jitter keeps
/// clients that failed together from retrying together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    percent: RangeInclusive<u32>,
    failures: u32,
    random: RandomState,
}

impl Backoff {
    /// Creates a backoff with a jitter of 50 to 100 percent: each delay is between half and the whole of
    /// its nominal value.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, percent: 50..=100, failures: 0, random: RandomState::new() }
    }

    /// Sets the jitter: each delay is a random percentage of its nominal value.
    #[must_use]
    pub fn with_jitter(self, percent: RangeInclusive<u32>) -> Self {
        Self { percent, ..self }
    }

    /// Returns the delay before the next attempt, and doubles the one after it.
    pub fn next_delay(&mut self) -> Duration {
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

/// From 100 ms to 30 s, for failures that may be short, such as a full disk or a restarting server.
impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(30))
    }
}

/// Parses the value of `Retry-After`: seconds or a date (RFC 9110, section 10.2.3). A date in the past
/// is a delay of 0; any other value is `None`.
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
    fn delays_grow_to_the_maximum() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(30));
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..50).map(|_| backoff.next_delay()).collect();
        assert!(delays[0] >= first / 2 && delays[0] <= first, "{delays:?}");
        assert!(delays[6] > delays[2], "{delays:?}");
        assert!(delays.iter().all(|delay| *delay <= longest), "{delays:?}");
        assert!(delays[19..].iter().all(|delay| *delay >= longest / 2), "{delays:?}");
    }

    #[test]
    fn jitter_stays_within_its_range() {
        let longest = Duration::from_secs(60);
        for _ in 0..100 {
            let mut backoff = Backoff::new(longest, longest).with_jitter(100..=120);
            let delay = backoff.next_delay();
            assert!(delay >= longest && delay <= longest * 6 / 5, "{delay:?}");
        }
    }

    #[test]
    fn both_forms_of_retry_after_are_parsed() {
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
            let delay = retry_after(value, now);
            assert_eq!(delay, seconds.map(Duration::from_secs), "{value}");
        }
    }
}
