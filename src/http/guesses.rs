//! Slows down whoever guesses secrets, and nobody else.
//!
//! Only the answer to a wrong secret is delayed: a good one from the same address is answered at once,
//! since Cloudflare's addresses are shared with anybody who runs code there.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Failures that cost nothing: an operator tries, too.
const FREE: u32 = 3;
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// An address that was quiet for so long begins anew.
const FORGET: Duration = Duration::from_secs(60);

/// How many addresses are watched. Beyond that the one that failed least recently is forgotten.
const MAX_ADDRESSES: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Guesses {
    failures: Mutex<HashMap<IpAddr, (u32, Instant)>>,
}

impl Guesses {
    /// Counts a wrong secret, and says how long to wait before saying so.
    pub(super) fn wrong(&self, address: IpAddr, now: Instant) -> Duration {
        let address = network(address);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MAX_ADDRESSES && !failures.contains_key(&address) {
            failures.retain(|_, (_, last)| now.duration_since(*last) < FORGET);
            if failures.len() >= MAX_ADDRESSES
                && let Some(oldest) =
                    failures.iter().min_by_key(|(_, (_, last))| *last).map(|(address, _)| *address)
            {
                failures.remove(&oldest);
            }
        }
        let (count, last) = failures.entry(address).or_insert((0, now));
        if now.duration_since(*last) >= FORGET {
            *count = 0;
        }
        *count = count.saturating_add(1);
        *last = now;
        match count.saturating_sub(FREE) {
            0 => Duration::ZERO,
            over => FIRST_DELAY.saturating_mul(1 << (over - 1).min(16)).min(LONGEST_DELAY),
        }
    }
}

/// One customer has a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_per_address_and_are_forgotten() {
        let guesses = Guesses::default();
        let (start, address) = (Instant::now(), "192.0.2.1".parse().unwrap());
        let delays: Vec<_> = (0..20).map(|_| guesses.wrong(address, start).as_millis()).collect();
        assert_eq!(delays[..6], [0, 0, 0, 100, 200, 400]);
        assert_eq!(delays[19], 5000);
        assert_eq!(guesses.wrong("192.0.2.2".parse().unwrap(), start), Duration::ZERO);
        assert_eq!(guesses.wrong(address, start + FORGET), Duration::ZERO);
    }

    #[test]
    fn one_network_is_one_guesser_and_memory_is_bounded() {
        let guesses = Guesses::default();
        let now = Instant::now();
        for host in 0..10_u128 {
            guesses.wrong(IpAddr::V6((0x2001_0db8_u128 << 96 | host).into()), now);
        }
        assert_eq!(guesses.failures.lock().unwrap().len(), 1);
        for host in 0..10_000_u32 {
            guesses.wrong(IpAddr::V4(host.into()), now);
        }
        assert_eq!(guesses.failures.lock().unwrap().len(), MAX_ADDRESSES);
    }
}
