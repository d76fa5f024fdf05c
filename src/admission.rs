//! Which connections may be open at a time: in all, per address, and without a verified sender.
//!
//! A connection is unverified until a request on it has passed the gate. Where there is no room,
//! a new connection takes the place of an unverified one, so that clients without a secret cannot
//! keep out a sender with one. A verified connection is never closed for another.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::network::network;

/// Unverified connections in all. Each may cost about 150 KB. As many as one address may have by
/// default, so that a sender that opens all of them at once loses none.
const MAX_UNVERIFIED: usize = 256;

/// Beyond so many, a new connection ends an unverified one that is older than [`GRACE`]: a sender needs
/// only some milliseconds to become verified.
const MAX_LINGERING: usize = 64;

/// How long a new connection is spared while there are older ones: enough for the handshake and the
/// first request of a sender that is 300 ms away.
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

/// What a new connection is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// `limits.max_connections_per_address`
    pub per_address: usize,
    /// Whether `limits.max_connections` connections are open already.
    pub is_full: bool,
}

/// Whether a connection may go on.
#[derive(Debug)]
pub enum Admission {
    /// It may.
    Open(ConnectionPlace),
    /// It may only be told that `limits.max_connections` is reached.
    Full(ConnectionPlace),
    /// Its address has all the connections that it may have, and all of them are verified.
    Refused,
}

impl Connections {
    /// Decides on a new connection. Closes an unverified one if that makes room for it.
    pub fn admit(self: &Arc<Self>, address: IpAddr, room: Room, now: Instant) -> Admission {
        let network = network(address);
        let mut state = self.state();
        let open = state.networks.get(&network).map_or(0, Vec::len);
        let mut is_full = room.is_full;
        if open >= room.per_address {
            if !state.evict(network, now) {
                return Admission::Refused;
            }
            is_full = false;
        } else if is_full || state.unverified >= MAX_UNVERIFIED {
            is_full &= !state.make_room(network, now);
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
        let place = ConnectionPlace { connections: Arc::clone(self), network, number, evicted };
        if is_full { Admission::Full(place) } else { Admission::Open(place) }
    }

    /// How many connections have ended so far.
    pub fn closed(&self) -> u64 {
        self.state().closed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Closes an unverified connection: of the address that has the most of them, if `own` has fewer;
    /// else of any address.
    fn make_room(&mut self, own: IpAddr, now: Instant) -> bool {
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

    /// Closes the oldest unverified connection, if it had its time.
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
        let Some(place) = entries.iter().position(|entry| entry.number == number) else {
            return false;
        };
        let kind = entries.remove(place).kind;
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

/// The unverified connection to close: the oldest, if it had its time. Else the oldest of those with a
/// handshake or of those without one, whichever are more: a flood of one kind closes its own.
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

/// The place of an open connection, given back when dropped.
#[derive(Debug)]
pub struct ConnectionPlace {
    connections: Arc<Connections>,
    network: IpAddr,
    number: u64,
    evicted: CancellationToken,
}

impl ConnectionPlace {
    /// Waits until the connection has to make room for another.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// The client has done its part of the handshake.
    pub fn handshake_done(&self) {
        let mut state = self.connections.state();
        if let Some(entry) = state.entry(self.network, self.number)
            && let Verification::Unverified { has_handshake, .. } = &mut entry.kind
        {
            *has_handshake = true;
        }
    }

    /// The sender is known: the connection stays open whoever else connects.
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

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let mut state = self.connections.state();
        state.closed += 1;
        let Some(entries) = state.networks.get_mut(&self.network) else { return };
        let is_ours = |entry: &ConnectionEntry| entry.number == self.number;
        let Some(place) = entries.iter().position(is_ours) else { return };
        let was = entries.remove(place);
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

    const ROOM: Room = Room { per_address: 4, is_full: false };

    fn address(host: u8) -> IpAddr {
        [192, 0, 2, host].into()
    }

    #[track_caller]
    fn open(connections: &Arc<Connections>, host: u8, now: Instant) -> ConnectionPlace {
        match connections.admit(address(host), ROOM, now) {
            Admission::Open(place) => place,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_new_connection_replaces_an_unverified_one_of_its_address() {
        let (connections, start) = (Arc::new(Connections::default()), Instant::now());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let places: Vec<_> = (0..4).map(|host| open(&connections, 1, at(host))).collect();
        let is_evicted = |place: usize| places[place].evicted.is_cancelled();
        places[0].verify();
        places[1].handshake_done();
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
        assert!(is_evicted(3), "it is old by now");
        new.verify();
        next.verify();
        last.verify();
        let admit = |at| connections.admit(address(1), ROOM, at);
        assert!(matches!(admit(at(9000)), Admission::Refused), "all are verified");
        drop(places);
        drop(open(&connections, 1, at(9000)));
        drop((new, next, last));
        let state = connections.state();
        assert_eq!((state.unverified, state.networks.len()), (0, 0));
        assert_eq!(state.closed, 8, "the evicted ones, too");
    }

    #[test]
    fn the_address_with_the_most_unverified_connections_makes_room() {
        let (connections, now) = (Arc::new(Connections::default()), Instant::now());
        let attacker: Vec<_> = (0..3).map(|_| open(&connections, 1, now)).collect();
        let other = open(&connections, 2, now);
        let full = Room { is_full: true, ..ROOM };
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
        let places: Vec<_> = (0..=255).map(|host| open(&connections, host, now)).collect();
        let v6 = "2001:db8::1".parse().unwrap();
        let Admission::Open(_new) = connections.admit(v6, ROOM, now) else { panic!() };
        assert_eq!(places.iter().filter(|place| place.evicted.is_cancelled()).count(), 1);
        assert_eq!(connections.state().unverified, MAX_UNVERIFIED);
    }

    #[test]
    fn a_sender_may_open_many_connections_at_once_and_none_for_long() {
        let (connections, now) = (Arc::new(Connections::default()), Instant::now());
        let places: Vec<_> = (0..200).map(|host| open(&connections, host, now)).collect();
        let evicted = || places.iter().filter(|place| place.evicted.is_cancelled()).count();
        assert_eq!(evicted(), 0, "all are young");
        let _late = open(&connections, 200, now + GRACE);
        assert_eq!(evicted(), 1);
        places.iter().for_each(ConnectionPlace::verify);
        let _later = open(&connections, 201, now + 2 * GRACE);
        assert_eq!(evicted(), 1, "few are unverified");
    }
}
