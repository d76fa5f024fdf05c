//! Slows down clients that try secrets, and no other clients.
//!
//! Only the answer to a wrong secret is delayed. A right secret from the same address is answered
//! at once, because Cloudflare's addresses are shared with everyone who runs code there. A client
//! can therefore take a delay as "wrong" without waiting for its end, so the delay alone is no
//! limit. After [`BEFORE_CLOSE`] failures of an address, each wrong secret also closes the
//! connection, and each further attempt costs a handshake.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::network::network;

/// Failures without a delay: operators make mistakes, too.
const FREE_FAILURES: u32 = 3;
/// Failures after which each one closes its connection: more than a sender with an old secret
/// causes.
const BEFORE_CLOSE: u32 = 32;
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Refusals per minute for other reasons that have no effect. Those of verified senders do not
/// count.
const FREE_REFUSALS: u32 = 300;
const MINUTE: Duration = Duration::from_secs(60);

/// Time without failures after which an address is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// Addresses that are remembered. Beyond that, the one that failed least recently is forgotten.
const MAX_ADDRESSES: usize = 4096;

/// Delayed answers at a time: in all, and of one address. Beyond that, the answer is immediate and
/// closes the connection.
const MAX_DELAYED: usize = 512;
const MAX_DELAYED_PER_ADDRESS: usize = 32;

/// Failed attempts, by network.
#[derive(Debug, Default)]
pub(super) struct SecretThrottle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    addresses: HashMap<IpAddr, Failures>,
    delayed: HashMap<IpAddr, usize>,
    all_delayed: usize,
}

#[derive(Debug)]
struct Failures {
    wrong: u32,
    last: Instant,
    refused: u32,
    refused_since: Instant,
}

/// Consequence of a wrong secret.
#[derive(Debug)]
pub(super) enum Penalty {
    None,
    /// The answer is delayed.
    Delay(Delay),
    /// The connection is closed after the answer.
    Close,
}

/// A delayed answer. Counted until this is dropped.
#[derive(Debug)]
pub(super) struct Delay {
    pub(super) length: Duration,
    /// Whether the connection is closed after the answer.
    pub(super) closes: bool,
    throttle: Arc<SecretThrottle>,
    network: IpAddr,
}

impl SecretThrottle {
    /// Counts a wrong secret.
    pub(super) fn wrong_secret(self: &Arc<Self>, address: IpAddr, now: Instant) -> Penalty {
        let network = network(address);
        let mut state = self.state();
        let failures = state.failures(network, now);
        failures.wrong = failures.wrong.saturating_add(1);
        let over = failures.wrong.saturating_sub(FREE_FAILURES);
        let closes = failures.wrong > BEFORE_CLOSE;
        if over == 0 {
            return Penalty::None;
        }
        let delayed = state.delayed.get(&network).copied().unwrap_or(0);
        if state.all_delayed >= MAX_DELAYED || delayed >= MAX_DELAYED_PER_ADDRESS {
            return Penalty::Close;
        }
        state.all_delayed += 1;
        *state.delayed.entry(network).or_default() += 1;
        drop(state);
        let length = FIRST_DELAY.saturating_mul(1 << (over - 1).min(16)).min(LONGEST_DELAY);
        Penalty::Delay(Delay { length, closes, throttle: Arc::clone(self), network })
    }

    /// Counts a refusal for another reason. Returns whether there were too many.
    pub(super) fn other_refusal(&self, address: IpAddr, now: Instant) -> bool {
        let mut state = self.state();
        let failures = state.failures(network(address), now);
        if now.duration_since(failures.refused_since) >= MINUTE {
            (failures.refused, failures.refused_since) = (0, now);
        }
        failures.refused = failures.refused.saturating_add(1);
        failures.refused > FREE_REFUSALS
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn failures(&mut self, network: IpAddr, now: Instant) -> &mut Failures {
        let addresses = &mut self.addresses;
        if addresses.len() >= MAX_ADDRESSES && !addresses.contains_key(&network) {
            addresses.retain(|_, failures| now.duration_since(failures.last) < FORGET_AFTER);
            if addresses.len() >= MAX_ADDRESSES
                && let Some(oldest) =
                    addresses.iter().min_by_key(|(_, failures)| failures.last).map(|(at, _)| *at)
            {
                addresses.remove(&oldest);
            }
        }
        let new = || Failures { wrong: 0, last: now, refused: 0, refused_since: now };
        let failures = addresses.entry(network).or_insert_with(new);
        if now.duration_since(failures.last) >= FORGET_AFTER {
            *failures = new();
        }
        failures.last = now;
        failures
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        let mut state = self.throttle.state();
        state.all_delayed = state.all_delayed.saturating_sub(1);
        if let Some(delayed) = state.delayed.get_mut(&self.network) {
            *delayed = delayed.saturating_sub(1);
            if *delayed == 0 {
                state.delayed.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_throttle() -> Arc<SecretThrottle> {
        Arc::default()
    }

    fn milliseconds(penalty: &Penalty) -> Option<u128> {
        match penalty {
            Penalty::None => Some(0),
            Penalty::Delay(delay) => Some(delay.length.as_millis()),
            Penalty::Close => None,
        }
    }

    #[test]
    fn delays_grow_per_address_and_are_forgotten() {
        let throttle = new_throttle();
        let (start, address) = (Instant::now(), "192.0.2.1".parse().unwrap());
        let wrong = |address, at| milliseconds(&throttle.wrong_secret(address, at));
        let delays: Vec<_> = (0..BEFORE_CLOSE).filter_map(|_| wrong(address, start)).collect();
        assert_eq!(delays[..6], [0, 0, 0, 100, 200, 400]);
        assert!(matches!(
            throttle.wrong_secret(address, start),
            Penalty::Delay(Delay { closes: true, .. })
        ));
        assert_eq!(delays[19], 5000);
        assert_eq!(wrong("192.0.2.2".parse().unwrap(), start), Some(0));
        assert_eq!(wrong(address, start + FORGET_AFTER), Some(0));
    }

    #[test]
    fn delayed_answers_are_bounded_per_address_and_in_all() {
        let throttle = new_throttle();
        let now = Instant::now();
        let penalties = |host: u8, count: usize| -> Vec<_> {
            (0..count).map(|_| throttle.wrong_secret([192, 0, 2, host].into(), now)).collect()
        };
        let is_delayed = |penalty: &&Penalty| matches!(penalty, Penalty::Delay(_));
        let mut one = penalties(1, 100);
        assert_eq!(one.iter().filter(is_delayed).count(), MAX_DELAYED_PER_ADDRESS);
        assert!(matches!(one.pop(), Some(Penalty::Close)));
        let mut all = vec![one];
        all.extend((2..=255).map(|host| penalties(host, 10)));
        let delayed = all.iter().flatten().filter(is_delayed).count();
        assert_eq!(delayed, MAX_DELAYED);
        drop(all);
        assert!(matches!(throttle.wrong_secret([192, 0, 2, 1].into(), now), Penalty::Delay(_)));
        let state = throttle.state();
        assert_eq!((state.all_delayed, state.delayed.len()), (0, 0));
    }

    #[test]
    fn a_network_counts_as_one_client_and_memory_is_bounded() {
        let throttle = new_throttle();
        let now = Instant::now();
        for host in 0..10_u128 {
            throttle.wrong_secret(IpAddr::V6((0x2001_0db8_u128 << 96 | host).into()), now);
        }
        assert_eq!(throttle.state().addresses.len(), 1);
        for host in 0..10_000_u32 {
            throttle.wrong_secret(IpAddr::V4(host.into()), now);
        }
        assert_eq!(throttle.state().addresses.len(), MAX_ADDRESSES);
    }

    #[test]
    fn other_refusals_are_counted_separately() {
        let throttle = new_throttle();
        let (now, address) = (Instant::now(), "192.0.2.1".parse().unwrap());
        assert!((0..FREE_REFUSALS).all(|_| !throttle.other_refusal(address, now)));
        assert!(throttle.other_refusal(address, now));
        assert!(matches!(throttle.wrong_secret(address, now), Penalty::None));
        assert!(!throttle.other_refusal(address, now + MINUTE));
    }
}
