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

/// Unverified connections in all. Each may cost about 200 KB, and a sender needs only a second or
/// two to become verified.
const MAX_UNVERIFIED: usize = 256;

/// How long a new connection is safe from newer ones of its own address: enough for the handshake
/// and the first request of a sender that is 300 ms away. A connection that showed a wrong secret
/// occupies its place for as long, even if it ends earlier, which bounds the guesses of an address.
const GRACE: Duration = Duration::from_secs(2);

/// The open connections.
#[derive(Debug, Default)]
pub struct Connections(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    networks: HashMap<IpAddr, Vec<Entry>>,
    unverified: usize,
    next: u64,
    purged: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    accepted: Instant,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Unverified(CancellationToken),
    Verified,
    /// The connection has ended after a wrong secret.
    Ended,
}

impl Kind {
    fn is_unverified(&self) -> bool {
        matches!(self, Self::Unverified(_))
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
    Open(Place),
    /// It may only be told that `limits.max_connections` is reached.
    Full(Place),
    /// Its address has all the connections that it may have, or there are too many new ones.
    Refused,
}

impl Connections {
    /// Decides on a new connection. Closes an unverified one if that makes room for it.
    pub fn admit(self: &Arc<Self>, address: IpAddr, room: Room, now: Instant) -> Admission {
        let network = network(address);
        let mut state = self.state();
        state.purge(now);
        let open = state.networks.get(&network).map_or(0, Vec::len);
        let mut is_full = room.is_full;
        let is_crowded = state.unverified >= MAX_UNVERIFIED;
        if open >= room.per_address {
            if !state.evict(network, Some(now)) {
                return Admission::Refused;
            }
            is_full = false;
        } else if is_full || is_crowded {
            if state.make_room(network, now) {
                is_full = false;
            } else if is_crowded {
                return Admission::Refused;
            }
        }
        let number = state.next;
        state.next += 1;
        state.unverified += 1;
        let evicted = CancellationToken::new();
        let kind = Kind::Unverified(evicted.clone());
        state.networks.entry(network).or_default().push(Entry { number, accepted: now, kind });
        drop(state);
        let place = Place { connections: Arc::clone(self), network, number, evicted };
        if is_full { Admission::Full(place) } else { Admission::Open(place) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Frees the places of ended connections, not more than once a tenth of a second.
    fn purge(&mut self, now: Instant) {
        let is_recent = |purged| now.saturating_duration_since(purged) < GRACE / 20;
        if self.purged.is_some_and(is_recent) {
            return;
        }
        self.purged = Some(now);
        self.networks.retain(|_, entries| {
            entries.retain(|entry| !matches!(entry.kind, Kind::Ended) || entry.is_young(now));
            !entries.is_empty()
        });
    }

    /// Closes an unverified connection of the address that has the most of them: also a young one,
    /// if `own` has fewer. Else closes the oldest one of any address that is not young.
    fn make_room(&mut self, own: IpAddr, now: Instant) -> bool {
        let count = |entries: &Vec<Entry>| entries.iter().filter(|e| e.is_unverified()).count();
        let own_count = self.networks.get(&own).map_or(0, count);
        let most = self.networks.iter().map(|(network, entries)| (count(entries), *network)).max();
        if let Some((count, most)) = most
            && count > own_count + 1
        {
            return self.evict(most, None);
        }
        let oldest = self.networks.iter().filter_map(|(network, entries)| {
            Some((entries.iter().find(|entry| entry.is_unverified())?.accepted, *network))
        });
        oldest.min().is_some_and(|(_, network)| self.evict(network, Some(now)))
    }

    /// Closes the oldest unverified connection of `network`: with `now`, only if it is not young.
    fn evict(&mut self, network: IpAddr, now: Option<Instant>) -> bool {
        let Some(entries) = self.networks.get_mut(&network) else { return false };
        // They are in the order in which they were accepted.
        let oldest = entries.iter().position(Entry::is_unverified);
        let Some(place) = oldest.filter(|place| {
            let entry = entries.get(*place);
            entry.is_some_and(|entry| now.is_none_or(|now| !entry.is_young(now)))
        }) else {
            return false;
        };
        if let Kind::Unverified(evicted) = entries.remove(place).kind {
            evicted.cancel();
        }
        self.unverified = self.unverified.saturating_sub(1);
        true
    }

    fn entry(&mut self, network: IpAddr, number: u64) -> Option<&mut Entry> {
        let entries = self.networks.get_mut(&network)?;
        entries.iter_mut().find(|entry| entry.number == number)
    }
}

impl Entry {
    fn is_unverified(&self) -> bool {
        self.kind.is_unverified()
    }

    fn is_young(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.accepted) < GRACE
    }
}

/// The place of an open connection, given back when dropped.
#[derive(Debug)]
pub struct Place {
    connections: Arc<Connections>,
    network: IpAddr,
    number: u64,
    evicted: CancellationToken,
}

impl Place {
    /// Waits until the connection has to make room for another.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// The sender is known: the connection stays open whoever else connects.
    pub fn verify(&self) {
        let mut state = self.connections.state();
        if let Some(entry) = state.entry(self.network, self.number)
            && entry.is_unverified()
        {
            entry.kind = Kind::Verified;
            state.unverified = state.unverified.saturating_sub(1);
        }
    }

    /// Occupies the place also after the connection has ended, for as long as it is young.
    pub fn hold(&self) {
        let mut state = self.connections.state();
        let Some(entry) = state.entry(self.network, self.number) else { return };
        if std::mem::replace(&mut entry.kind, Kind::Ended).is_unverified() {
            state.unverified = state.unverified.saturating_sub(1);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.connections.state();
        let Some(entries) = state.networks.get_mut(&self.network) else { return };
        let is_ours =
            |entry: &Entry| entry.number == self.number && !matches!(entry.kind, Kind::Ended);
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
    fn open(connections: &Arc<Connections>, host: u8, now: Instant) -> Place {
        match connections.admit(address(host), ROOM, now) {
            Admission::Open(place) => place,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_new_connection_replaces_the_oldest_unverified_one_of_its_address() {
        let (connections, start) = (Arc::new(Connections::default()), Instant::now());
        let places: Vec<_> = (0..4).map(|_| open(&connections, 1, start)).collect();
        places[0].verify();
        let admit = |at| connections.admit(address(1), ROOM, at);
        assert!(matches!(admit(start), Admission::Refused), "all are young");
        let later = start + GRACE;
        let new = open(&connections, 1, later);
        assert!(!places[0].evicted.is_cancelled(), "it is verified");
        assert!(places[1].evicted.is_cancelled());
        new.verify();
        places[2].verify();
        places[3].verify();
        assert!(matches!(admit(later + GRACE), Admission::Refused), "all are verified");
        drop(places);
        drop(open(&connections, 1, later));
        drop(new);
        let state = connections.state();
        assert_eq!((state.unverified, state.networks.len()), (0, 0));
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
        assert!(matches!(connections.admit(v6, ROOM, now), Admission::Refused));
        let Admission::Open(_new) = connections.admit(v6, ROOM, now + GRACE) else { panic!() };
        assert_eq!(places.iter().filter(|place| place.evicted.is_cancelled()).count(), 1);
        assert_eq!(connections.state().unverified, MAX_UNVERIFIED);
    }

    #[test]
    fn a_guess_occupies_its_place_until_it_is_no_longer_young() {
        let (connections, start) = (Arc::new(Connections::default()), Instant::now());
        for _ in 0..4 {
            open(&connections, 1, start).hold();
        }
        assert_eq!(connections.state().unverified, 0);
        assert!(matches!(connections.admit(address(1), ROOM, start), Admission::Refused));
        drop(open(&connections, 1, start + GRACE));
        assert_eq!(connections.state().networks.len(), 0);
    }
}
