//! Limits the open connections: in all, per address, and without a verified sender.
//!
//! A connection is unverified until a request on it has passed the gate. At a limit, a new
//! connection replaces an unverified one, so that clients without a secret cannot lock out a sender
//! with a secret. A verified connection is never closed in favor of another.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::network::network;

/// Unverified connections in all. Each may use about 150 KB of memory. One address may have as many
/// by default, so that a sender that opens all of them at once loses none.
const MAX_UNVERIFIED: usize = 256;

/// Number of unverified connections beyond which a new connection closes one that is older than
/// [`GRACE`]. A sender needs only some milliseconds to become verified.
const MAX_LINGERING: usize = 64;

/// Age below which a connection is closed only if there is no older one: enough for the handshake
/// and the first request of a sender that is 300 ms away.
const GRACE: Duration = Duration::from_secs(2);

/// The open connections.
#[derive(Debug, Default)]
pub struct Connections(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    networks: HashMap<IpAddr, Vec<ConnectionEntry>>,
    unverified: usize,
    next: u64,
    closed: u64,
}

#[derive(Debug)]
struct ConnectionEntry {
    number: u64,
    accepted: Instant,
    kind: Verification,
}

#[derive(Debug)]
enum Verification {
    Unverified { evicted: CancellationToken, has_handshake: bool },
    Verified,
}

impl Verification {
    fn is_unverified(&self) -> bool {
        matches!(self, Self::Unverified { .. })
    }
}

/// Limits for a new connection.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionLimits {
    /// `limits.max_connections_per_address`.
    pub per_address: usize,
    /// Whether `limits.max_connections` connections are open already.
    pub is_full: bool,
}

/// Decision on a new connection.
#[derive(Debug)]
pub enum Admission {
    /// It is served.
    Open(ConnectionSlot),
    /// `limits.max_connections` is reached: every request gets this answer.
    Full(ConnectionSlot),
    /// Its address has `limits.max_connections_per_address` connections, all of them verified.
    Refused,
}

impl Connections {
    /// Decides on a new connection. At a limit, closes an unverified one in its favor.
    pub fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        limits: AdmissionLimits,
        now: Instant,
    ) -> Admission {
        let network = network(address);
        let mut state = self.state();
        let open = state.networks.get(&network).map_or(0, Vec::len);
        let mut is_full = limits.is_full;
        if open >= limits.per_address {
            if !state.evict(network, now) {
                return Admission::Refused;
            }
            is_full = false;
        } else if is_full || state.unverified >= MAX_UNVERIFIED {
            is_full &= !state.evict_any(network, now);
        } else if state.unverified >= MAX_LINGERING {
            state.evict_lingering(now);
        }
        let number = state.next;
        state.next += 1;
        state.unverified += 1;
        let evicted = CancellationToken::new();
        let kind = Verification::Unverified { evicted: evicted.clone(), has_handshake: false };
        state.networks.entry(network).or_default().push(ConnectionEntry {
            number,
            accepted: now,
            kind,
        });
        drop(state);
        let slot = ConnectionSlot { connections: Arc::clone(self), network, number, evicted };
        if is_full { Admission::Full(slot) } else { Admission::Open(slot) }
    }

    /// Returns how many connections have ended so far.
    pub fn closed(&self) -> u64 {
        self.state().closed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Closes an unverified connection of the address that has the most of them, if `own` has
    /// fewer; otherwise of any address.
    fn evict_any(&mut self, own: IpAddr, now: Instant) -> bool {
        let count =
            |entries: &Vec<ConnectionEntry>| entries.iter().filter(|e| e.is_unverified()).count();
        let own_count = self.networks.get(&own).map_or(0, count);
        let most = self.networks.iter().map(|(network, entries)| (count(entries), *network)).max();
        if let Some((count, most)) = most
            && count > own_count + 1
        {
            return self.evict(most, now);
        }
        let all = self.networks.iter().flat_map(|(network, entries)| {
            entries.iter().filter_map(|entry| Some((entry.candidate()?, (*network, entry.number))))
        });
        victim(all, now).is_some_and(|(network, number)| self.remove(network, number))
    }

    /// Closes the oldest unverified connection, if it is older than [`GRACE`].
    fn evict_lingering(&mut self, now: Instant) {
        let all = self.networks.iter().flat_map(|(network, entries)| {
            let unverified = entries.iter().filter(|entry| entry.is_unverified());
            unverified.map(|entry| (entry.accepted, *network, entry.number))
        });
        if let Some((accepted, network, number)) = all.min()
            && now.saturating_duration_since(accepted) >= GRACE
        {
            self.remove(network, number);
        }
    }

    /// Closes an unverified connection of `network`.
    fn evict(&mut self, network: IpAddr, now: Instant) -> bool {
        let Some(entries) = self.networks.get(&network) else { return false };
        let all = entries.iter().filter_map(|entry| Some((entry.candidate()?, entry.number)));
        let victim = victim(all, now);
        victim.is_some_and(|number| self.remove(network, number))
    }

    fn remove(&mut self, network: IpAddr, number: u64) -> bool {
        let Some(entries) = self.networks.get_mut(&network) else { return false };
        let Some(index) = entries.iter().position(|entry| entry.number == number) else {
            return false;
        };
        let kind = entries.remove(index).kind;
        if entries.is_empty() {
            self.networks.remove(&network);
        }
        if let Verification::Unverified { evicted, .. } = kind {
            evicted.cancel();
            self.unverified = self.unverified.saturating_sub(1);
        }
        true
    }

    fn entry(&mut self, network: IpAddr, number: u64) -> Option<&mut ConnectionEntry> {
        let entries = self.networks.get_mut(&network)?;
        entries.iter_mut().find(|entry| entry.number == number)
    }
}

impl ConnectionEntry {
    fn candidate(&self) -> Option<Candidate> {
        let Verification::Unverified { has_handshake, .. } = self.kind else { return None };
        Some(Candidate { accepted: self.accepted, has_handshake })
    }

    fn is_unverified(&self) -> bool {
        self.kind.is_unverified()
    }
}

/// An unverified connection.
struct Candidate {
    accepted: Instant,
    has_handshake: bool,
}

/// Chooses the unverified connection to close: the oldest, if it is older than [`GRACE`]. Otherwise
/// the oldest of those with a completed handshake or of those without, whichever are more: a flood
/// of one kind closes its own connections.
fn victim<T>(candidates: impl Iterator<Item = (Candidate, T)>, now: Instant) -> Option<T> {
    let mut count = [0_usize; 2];
    let mut oldest: [Option<(Instant, T)>; 2] = [None, None];
    for (Candidate { accepted, has_handshake }, which) in candidates {
        let class = usize::from(has_handshake);
        if let (Some(count), Some(oldest)) = (count.get_mut(class), oldest.get_mut(class)) {
            *count += 1;
            if oldest.as_ref().is_none_or(|(before, _)| accepted < *before) {
                *oldest = Some((accepted, which));
            }
        }
    }
    let [silent_count, done_count] = count;
    let [silent, done] = oldest;
    let (silent, done) = match (silent, done) {
        (Some(silent), Some(done)) => (silent, done),
        (one, other) => return one.or(other).map(|(_, which)| which),
    };
    let is_old = |accepted: Instant| now.saturating_duration_since(accepted) >= GRACE;
    let takes_silent = match (is_old(silent.0), is_old(done.0)) {
        (false, false) => silent_count >= done_count,
        _ => silent.0 <= done.0,
    };
    Some(if takes_silent { silent.1 } else { done.1 })
}

/// Slot of an open connection. Freed when dropped.
#[derive(Debug)]
pub struct ConnectionSlot {
    connections: Arc<Connections>,
    network: IpAddr,
    number: u64,
    evicted: CancellationToken,
}

impl ConnectionSlot {
    /// Waits until the connection is closed in favor of another.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// Records that the client has completed the handshake.
    pub fn handshake_done(&self) {
        let mut state = self.connections.state();
        if let Some(entry) = state.entry(self.network, self.number)
            && let Verification::Unverified { has_handshake, .. } = &mut entry.kind
        {
            *has_handshake = true;
        }
    }

    /// Records that the sender is authenticated: the connection is not closed in favor of others.
    pub fn verify(&self) {
        let mut state = self.connections.state();
        if let Some(entry) = state.entry(self.network, self.number)
            && entry.is_unverified()
        {
            entry.kind = Verification::Verified;
            state.unverified = state.unverified.saturating_sub(1);
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut state = self.connections.state();
        state.closed += 1;
        let Some(entries) = state.networks.get_mut(&self.network) else { return };
        let is_own = |entry: &ConnectionEntry| entry.number == self.number;
        let Some(index) = entries.iter().position(is_own) else { return };
        let was = entries.remove(index);
        if entries.is_empty() {
            state.networks.remove(&self.network);
        }
        if was.is_unverified() {
            state.unverified = state.unverified.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: AdmissionLimits = AdmissionLimits { per_address: 4, is_full: false };

    fn address(host: u8) -> IpAddr {
        [192, 0, 2, host].into()
    }

    #[track_caller]
    fn open(connections: &Arc<Connections>, host: u8, now: Instant) -> ConnectionSlot {
        match connections.admit(address(host), LIMITS, now) {
            Admission::Open(slot) => slot,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_new_connection_replaces_an_unverified_one_of_its_address() {
        let (connections, start) = (Arc::new(Connections::default()), Instant::now());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let slots: Vec<_> = (0..4).map(|host| open(&connections, 1, at(host))).collect();
        let is_evicted = |slot: usize| slots[slot].evicted.is_cancelled();
        slots[0].verify();
        slots[1].handshake_done();
        let new = open(&connections, 1, at(10));
        assert!(!is_evicted(0), "it is verified");
        assert!(!is_evicted(1), "it has done its handshake, and most have not");
        assert!(is_evicted(2), "the oldest that has not");
        new.handshake_done();
        let next = open(&connections, 1, at(20));
        assert!(is_evicted(1), "now most have");
        assert!(!is_evicted(3));
        next.handshake_done();
        let last = open(&connections, 1, at(3 + 2000));
        assert!(is_evicted(3), "older than GRACE");
        new.verify();
        next.verify();
        last.verify();
        let admit = |at| connections.admit(address(1), LIMITS, at);
        assert!(matches!(admit(at(9000)), Admission::Refused), "all are verified");
        drop(slots);
        drop(open(&connections, 1, at(9000)));
        drop((new, next, last));
        let state = connections.state();
        assert_eq!((state.unverified, state.networks.len()), (0, 0));
        assert_eq!(state.closed, 8, "the evicted ones, too");
    }

    #[test]
    fn the_address_with_the_most_unverified_connections_loses_one() {
        let (connections, now) = (Arc::new(Connections::default()), Instant::now());
        let attacker: Vec<_> = (0..3).map(|_| open(&connections, 1, now)).collect();
        let other = open(&connections, 2, now);
        let full = AdmissionLimits { is_full: true, ..LIMITS };
        let Admission::Open(sender) = connections.admit(address(3), full, now) else {
            panic!("refused for an attacker")
        };
        assert!(attacker[0].evicted.is_cancelled(), "young, but of an address with more");
        sender.verify();
        attacker[1].verify();
        attacker[2].verify();
        other.verify();
        assert!(matches!(connections.admit(address(4), full, now), Admission::Full(_)));
    }

    #[test]
    fn unverified_connections_are_bounded_in_all() {
        let (connections, now) = (Arc::new(Connections::default()), Instant::now());
        let slots: Vec<_> = (0..=255).map(|host| open(&connections, host, now)).collect();
        let v6 = "2001:db8::1".parse().unwrap();
        let Admission::Open(_new) = connections.admit(v6, LIMITS, now) else { panic!() };
        assert_eq!(slots.iter().filter(|slot| slot.evicted.is_cancelled()).count(), 1);
        assert_eq!(connections.state().unverified, MAX_UNVERIFIED);
    }

    #[test]
    fn many_new_connections_are_allowed_but_not_unverified_for_long() {
        let (connections, now) = (Arc::new(Connections::default()), Instant::now());
        let slots: Vec<_> = (0..200).map(|host| open(&connections, host, now)).collect();
        let evicted = || slots.iter().filter(|slot| slot.evicted.is_cancelled()).count();
        assert_eq!(evicted(), 0, "all are young");
        let _late = open(&connections, 200, now + GRACE);
        assert_eq!(evicted(), 1);
        slots.iter().for_each(ConnectionSlot::verify);
        let _later = open(&connections, 201, now + 2 * GRACE);
        assert_eq!(evicted(), 1, "few are unverified");
    }
}
