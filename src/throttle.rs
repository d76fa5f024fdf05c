//! Rate limits for log messages that clients can cause, so that no client can fill a disk. Messages
//! over the limit are counted.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::network::network;

/// Rate limit for messages.
#[derive(Debug)]
pub struct Throttle {
    messages: u32,
    per: Duration,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    start: Option<Instant>,
    passed: u32,
    withheld: u64,
}

impl Throttle {
    /// Allows `messages` messages in each `per`.
    pub const fn new(messages: u32, per: Duration) -> Self {
        Self { messages, per, window: Mutex::new(Window::NEW) }
    }

    /// Returns `Some` if a message may be logged at `now`: the number of withheld messages since
    /// the last.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.advance(now, self.per);
        window.admit(self.messages)
    }
}

impl Window {
    const NEW: Self = Self { start: None, passed: 0, withheld: 0 };

    fn is_over(&self, now: Instant, per: Duration) -> bool {
        self.start.is_none_or(|start| now.saturating_duration_since(start) >= per)
    }

    fn advance(&mut self, now: Instant, per: Duration) {
        if self.is_over(now, per) {
            self.start = Some(now);
            self.passed = 0;
        }
    }

    fn admit(&mut self, messages: u32) -> Option<u64> {
        if self.passed >= messages {
            self.withheld += 1;
            return None;
        }
        self.passed += 1;
        Some(std::mem::take(&mut self.withheld))
    }
}

/// Rate limit for messages about clients, by reason and network. Messages for another reason or of
/// another network suppress no message, until all networks together exceed the limit of a reason.
#[derive(Debug)]
pub struct ClientThrottle<const REASONS: usize> {
    limits: ClientLimits,
    state: Mutex<ClientState<REASONS>>,
}

/// Messages per time for each reason.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimits {
    /// Messages about one network.
    pub network: u32,
    /// Messages about all networks.
    pub total: u32,
    /// Length of the window.
    pub per: Duration,
}

#[derive(Debug)]
struct ClientState<const REASONS: usize> {
    totals: [Window; REASONS],
    /// By reason and network. A network is added with its first logged message, and removed after
    /// the window: there are never more than twice `total` for each reason.
    networks: BTreeMap<(usize, IpAddr), Window>,
}

impl<const REASONS: usize> ClientThrottle<REASONS> {
    /// Creates a rate limit.
    pub const fn new(limits: ClientLimits) -> Self {
        let totals = [Window::NEW; REASONS];
        Self { limits, state: Mutex::new(ClientState { totals, networks: BTreeMap::new() }) }
    }

    /// Returns `Some` if a message about `address` may be logged at `now`: the number of withheld
    /// messages for this reason since the last.
    pub fn admit(&self, reason: usize, address: IpAddr, now: Instant) -> Option<u64> {
        let ClientLimits { network: per_network, total: in_all, per } = self.limits;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ClientState { totals, networks } = &mut *state;
        let total = totals.get_mut(reason)?;
        total.advance(now, per);
        let key = (reason, network(address));
        let known = networks.get(&key).filter(|window| !window.is_over(now, per));
        if known.is_some_and(|window| window.passed >= per_network) {
            total.withheld += 1;
            return None;
        }
        let withheld = total.admit(in_all)?;
        networks.retain(|_, window| !window.is_over(now, per));
        let window = networks.entry(key).or_insert(Window { start: Some(now), ..Window::NEW });
        window.passed += 1;
        Some(withheld)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_over_the_limit_are_counted() {
        let per = Duration::from_secs(10);
        let throttle = Throttle::new(20, per);
        let start = Instant::now();
        let passed = (0..1000).filter(|_| throttle.admit(start).is_some()).count();
        assert_eq!(passed, 20);
        assert_eq!(throttle.admit(start + per), Some(980));
        assert_eq!(throttle.admit(start + per), Some(0));
    }

    const LIMITS: ClientLimits =
        ClientLimits { network: 5, total: 20, per: Duration::from_secs(10) };

    fn v4(host: u32) -> IpAddr {
        IpAddr::V4(host.into())
    }

    #[test]
    fn reasons_and_networks_are_limited_separately() {
        let throttle = ClientThrottle::<2>::new(LIMITS);
        let now = Instant::now();
        let passed = (0..1000).filter(|_| throttle.admit(0, v4(1), now).is_some()).count();
        assert_eq!(passed, 5);
        assert_eq!(throttle.admit(1, v4(1), now), Some(0), "for another reason");
        assert_eq!(throttle.admit(0, v4(2), now), Some(995), "of another network");
        assert_eq!(throttle.admit(0, v4(1), now), None);
        assert_eq!(throttle.admit(0, v4(1), now + LIMITS.per), Some(1));
        assert_eq!(throttle.admit(2, v4(1), now), None, "no such reason");
    }

    #[test]
    fn many_networks_fill_neither_log_nor_memory() {
        let throttle = ClientThrottle::<2>::new(LIMITS);
        let start = Instant::now();
        let mut passed = 0;
        for round in 0..10 {
            let now = start + LIMITS.per * round;
            for host in 0..10_000 {
                passed += usize::from(throttle.admit(0, v4(host), now).is_some());
                passed += usize::from(throttle.admit(1, v4(host), now).is_some());
            }
            assert!(throttle.state.lock().unwrap().networks.len() <= 40);
        }
        assert_eq!(passed, 10 * 2 * 20);
    }

    #[test]
    fn an_ipv6_64_is_one_network() {
        let throttle = ClientThrottle::<1>::new(LIMITS);
        let host = |host: u128| IpAddr::V6((0x2001_0db8_u128 << 96 | host).into());
        let now = Instant::now();
        let passed = (0..100).filter(|n| throttle.admit(0, host(*n), now).is_some()).count();
        assert_eq!(passed, 5);
    }
}
