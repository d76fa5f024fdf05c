//! Lets a few messages through and counts the rest: what anybody can cause is logged, but nobody can
//! fill a disk with it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// So many messages in so much time.
#[derive(Debug)]
pub struct Throttle {
    messages: u32,
    per: Duration,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    begun: Option<Instant>,
    passed: u32,
    withheld: u64,
}

impl Throttle {
    /// `messages` may pass in every `per`.
    pub const fn new(messages: u32, per: Duration) -> Self {
        let window = Mutex::new(Window { begun: None, passed: 0, withheld: 0 });
        Self { messages, per, window }
    }

    /// `Some` if a message may go out at `now`: how many were withheld since the last.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.begun.is_none_or(|begun| now.saturating_duration_since(begun) >= self.per) {
            window.begun = Some(now);
            window.passed = 0;
        }
        if window.passed >= self.messages {
            window.withheld += 1;
            return None;
        }
        window.passed += 1;
        Some(std::mem::take(&mut window.withheld))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_not_repeated() {
        let per = Duration::from_secs(10);
        let throttle = Throttle::new(20, per);
        let start = Instant::now();
        let passed = (0..1000).filter(|_| throttle.admit(start).is_some()).count();
        assert_eq!(passed, 20);
        assert_eq!(throttle.admit(start + per), Some(980));
        assert_eq!(throttle.admit(start + per), Some(0));
    }
}
