//! Slows down clients that guess secrets, and no others.
//!
//! Only the answer to a wrong secret is delayed: a right one from the same address is answered at once,
//! since Cloudflare's addresses are shared with everybody who runs code there. An answer that comes
//! late therefore means "wrong", so the delay alone bounds nothing: an address that has failed more
//! than [`BEFORE_CLOSE`] times also loses the connection with each wrong secret: each further guess costs
//! a handshake.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::network::network;

/// Failures that cost nothing: an operator tries, too.
const FREE: u32 = 3;
/// Failures after which each one ends its connection: more than a sender with an old secret makes.
const BEFORE_CLOSE: u32 = 32;
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Refusals for other reasons that cost nothing, a minute. Those of verified senders do not count.
const FREE_REFUSALS: u32 = 300;
const MINUTE: Duration = Duration::from_secs(60);

/// An address that was quiet for so long starts again.
const FORGET: Duration = Duration::from_secs(60);

/// How many addresses are watched. Beyond that the one that failed least recently is forgotten.
const MAX_ADDRESSES: usize = 4096;

/// Delayed answers at a time: of one address, and in all. Beyond that the answer is immediate.
const MAX_DELAYED: usize = 512;
const MAX_DELAYED_PER_ADDRESS: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Guesses(Mutex<State>);

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

/// What a wrong secret costs.
#[derive(Debug)]
pub(super) enum Price {
    Nothing,
    /// The answer is delayed.
    Delay(Delay),
    /// The connection ends with the answer.
    Close,
}

/// A delayed answer, counted until this is dropped.
#[derive(Debug)]
pub(super) struct Delay {
    pub(super) length: Duration,
    /// The connection ends with the answer.
    pub(super) closes: bool,
    guesses: Arc<Guesses>,
    network: IpAddr,
}

impl Guesses {
    /// Counts a wrong secret.
    pub(super) fn wrong(self: &Arc<Self>, address: IpAddr, now: Instant) -> Price {
        let network = network(address);
        let mut state = self.state();
        let failures = state.failures(network, now);
        failures.wrong = failures.wrong.saturating_add(1);
        let over = failures.wrong.saturating_sub(FREE);
        let closes = failures.wrong > BEFORE_CLOSE;
        if over == 0 {
            return Price::Nothing;
        }
        let delayed = state.delayed.get(&network).copied().unwrap_or(0);
        if state.all_delayed >= MAX_DELAYED || delayed >= MAX_DELAYED_PER_ADDRESS {
            return Price::Close;
        }
        state.all_delayed += 1;
        *state.delayed.entry(network).or_default() += 1;
        drop(state);
        let length = FIRST_DELAY.saturating_mul(1 << (over - 1).min(16)).min(LONGEST_DELAY);
        Price::Delay(Delay { length, closes, guesses: Arc::clone(self), network })
    }

    /// Counts another refusal. Returns whether there were too many.
    pub(super) fn refused(&self, address: IpAddr, now: Instant) -> bool {
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
            addresses.retain(|_, failures| now.duration_since(failures.last) < FORGET);
            if addresses.len() >= MAX_ADDRESSES
                && let Some(oldest) =
                    addresses.iter().min_by_key(|(_, failures)| failures.last).map(|(at, _)| *at)
            {
                addresses.remove(&oldest);
            }
        }
        let new = || Failures { wrong: 0, last: now, refused: 0, refused_since: now };
        let failures = addresses.entry(network).or_insert_with(new);
        if now.duration_since(failures.last) >= FORGET {
            *failures = new();
        }
        failures.last = now;
        failures
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        let mut state = self.guesses.state();
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

    fn guesses() -> Arc<Guesses> {
        Arc::default()
    }

    fn milliseconds(price: &Price) -> Option<u128> {
        match price {
            Price::Nothing => Some(0),
            Price::Delay(delay) => Some(delay.length.as_millis()),
            Price::Close => None,
        }
    }

    #[test]
    fn delays_grow_per_address_and_are_forgotten() {
        let guesses = guesses();
        let (start, address) = (Instant::now(), "192.0.2.1".parse().unwrap());
        let wrong = |address, at| milliseconds(&guesses.wrong(address, at));
        let delays: Vec<_> = (0..BEFORE_CLOSE).filter_map(|_| wrong(address, start)).collect();
        assert_eq!(delays[..6], [0, 0, 0, 100, 200, 400]);
        assert!(matches!(guesses.wrong(address, start), Price::Delay(Delay { closes: true, .. })));
        assert_eq!(delays[19], 5000);
        assert_eq!(wrong("192.0.2.2".parse().unwrap(), start), Some(0));
        assert_eq!(wrong(address, start + FORGET), Some(0));
    }

    #[test]
    fn delayed_answers_are_bounded_per_address_and_in_all() {
        let guesses = guesses();
        let now = Instant::now();
        let prices = |host: u8, count: usize| -> Vec<_> {
            (0..count).map(|_| guesses.wrong([192, 0, 2, host].into(), now)).collect()
        };
        let is_delayed = |price: &&Price| matches!(price, Price::Delay(_));
        let mut one = prices(1, 100);
        assert_eq!(one.iter().filter(is_delayed).count(), MAX_DELAYED_PER_ADDRESS);
        assert!(matches!(one.pop(), Some(Price::Close)));
        let mut all = vec![one];
        all.extend((2..=255).map(|host| prices(host, 10)));
        let delayed = all.iter().flatten().filter(is_delayed).count();
        assert_eq!(delayed, MAX_DELAYED);
        drop(all);
        assert!(matches!(guesses.wrong([192, 0, 2, 1].into(), now), Price::Delay(_)));
        let state = guesses.state();
        assert_eq!((state.all_delayed, state.delayed.len()), (0, 0));
    }

    #[test]
    fn one_network_is_one_guesser_and_memory_is_bounded() {
        let guesses = guesses();
        let now = Instant::now();
        for host in 0..10_u128 {
            guesses.wrong(IpAddr::V6((0x2001_0db8_u128 << 96 | host).into()), now);
        }
        assert_eq!(guesses.state().addresses.len(), 1);
        for host in 0..10_000_u32 {
            guesses.wrong(IpAddr::V4(host.into()), now);
        }
        assert_eq!(guesses.state().addresses.len(), MAX_ADDRESSES);
    }

    #[test]
    fn other_refusals_are_counted_beside() {
        let guesses = guesses();
        let (now, address) = (Instant::now(), "192.0.2.1".parse().unwrap());
        assert!((0..FREE_REFUSALS).all(|_| !guesses.refused(address, now)));
        assert!(guesses.refused(address, now));
        assert!(matches!(guesses.wrong(address, now), Price::Nothing));
        assert!(!guesses.refused(address, now + MINUTE));
    }
}
