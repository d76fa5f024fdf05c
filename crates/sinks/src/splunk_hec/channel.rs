//! The channels of one connection, and the acknowledgments that are awaited on them.
//!
//! Splunk numbers the requests of a channel (`X-Splunk-Request-Channel`): each answer has an
//! `ackId`, from 0. `/services/collector/ack` answers for each number whether the events are
//! indexed: `true` once, and `false` for a number that is not indexed, unknown, or was answered
//! before (Splunk Enterprise, "About HTTP Event Collector Indexer Acknowledgment").
//!
//! Each indexer counts for itself and forgets its numbers when it restarts. Behind a load balancer,
//! the same number of the same channel can thus mean another request, and its acknowledgment would
//! be taken for one of records that are lost. A channel is used by one request at a time. So:
//!
//! - A number that does not grow is from another indexer, or from a restarted one. Nothing that is
//!   awaited on the channel can be trusted.
//! - Another indexer begins with 0. If `n` requests got no answer, it may have given them any
//!   numbers below `n`. These cannot be trusted.
//! - The next number after a failed connection shows whether the indexer is the same. To get a next
//!   number soon, the oldest request is given up and sent again.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, RandomState},
    mem, process,
};

use blake3::Hasher;
use reqwest::header::HeaderValue;
use tokio::sync::oneshot::{self, Receiver, Sender};

/// How often in a row an indexer may have restarted, before requests are assumed to reach several
/// indexers.
const MAX_RESETS: u32 = 4;

/// The channels of one connection.
#[derive(Debug)]
pub(super) struct Channels {
    current: Channel,
    /// Channels without new requests, on which acknowledgments are awaited.
    retired: Vec<Channel>,
    /// How often in a row numbers did not grow, without an acknowledgment in between.
    resets: u32,
    /// Whether the connection has failed since the last number, while some were awaited.
    is_suspect: bool,
}

#[derive(Debug)]
struct Channel {
    /// A GUID.
    id: String,
    /// The last number.
    last: Option<u64>,
    /// How many requests got no answer.
    lost: u64,
    /// The numbers that are awaited. A dropped sender reports that the number cannot be trusted.
    awaited: BTreeMap<u64, Sender<()>>,
}

impl Channel {
    fn new() -> Self {
        Self { id: guid(), last: None, lost: 0, awaited: BTreeMap::new() }
    }
}

impl Channels {
    pub(super) fn new() -> Self {
        Self { current: Channel::new(), retired: Vec::new(), resets: 0, is_suspect: false }
    }

    /// The GUID of the channel for the next request.
    pub(super) fn current(&self) -> &str {
        &self.current.id
    }

    /// The same as the value of a header.
    pub(super) fn header(&self) -> HeaderValue {
        // A GUID consists of characters that a header can contain.
        HeaderValue::from_str(&self.current.id).unwrap_or(HeaderValue::from_static(""))
    }

    /// Awaits the number of a request on the current channel. The receiver gets an error if its
    /// acknowledgment cannot be trusted: the request has to be sent again.
    pub(super) fn await_number(&mut self, number: u64) -> Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.is_suspect = false;
        let channel = &mut self.current;
        // A channel that was idle may begin again, which harms nothing if nothing is awaited.
        if channel.last.is_some_and(|last| number <= last) && !channel.awaited.is_empty() {
            self.resets = self.resets.saturating_add(1);
            self.current = Channel::new();
            return receiver;
        }
        if number < channel.lost {
            // Nothing is awaited: what was has grown numbers, too.
            self.current = Channel::new();
            return receiver;
        }
        channel.last = Some(number);
        channel.awaited.insert(number, sender);
        receiver
    }

    /// Notes that a request on the current channel got no answer. It will be sent again.
    pub(super) fn answer_lost(&mut self) {
        let channel = &mut self.current;
        channel.lost = channel.lost.saturating_add(1);
        channel.awaited = channel.awaited.split_off(&channel.lost);
        self.is_suspect = !channel.awaited.is_empty();
        if channel.awaited.is_empty() {
            *channel = Channel::new();
        }
    }

    /// Notes that the connection has failed between two requests.
    pub(super) fn connection_failed(&mut self) {
        // Once per number: an indexer that restarts is queried several times.
        if !self.is_suspect && self.current.awaited.pop_first().is_some() {
            self.is_suspect = true;
        }
    }

    /// Whether the next request should use this connection, to find out whether the indexer is the
    /// same.
    pub(super) fn is_suspect(&self) -> bool {
        self.is_suspect
    }

    /// Stops waiting for a number, whose acknowledgment may still come: another indexer must not
    /// use the number again.
    pub(super) fn give_up(&mut self, channel: &str, number: u64) {
        if self.current.id == channel {
            self.retire();
        }
        for retired in &mut self.retired {
            if retired.id == channel {
                retired.awaited.remove(&number);
            }
        }
        self.drop_settled();
    }

    fn retire(&mut self) {
        self.retired.push(mem::replace(&mut self.current, Channel::new()));
        self.drop_settled();
    }

    fn drop_settled(&mut self) {
        self.retired.retain(|channel| !channel.awaited.is_empty());
    }

    /// The awaited numbers of each channel.
    pub(super) fn awaited(&self) -> Vec<(String, Vec<u64>)> {
        let channels = self.retired.iter().chain([&self.current]);
        let awaited = channels.filter(|channel| !channel.awaited.is_empty());
        awaited
            .map(|channel| (channel.id.clone(), channel.awaited.keys().copied().collect()))
            .collect()
    }

    /// Notes that the requests with these numbers are indexed.
    pub(super) fn acknowledge(&mut self, channel: &str, numbers: impl Iterator<Item = u64>) {
        let known = if self.current.id == channel {
            Some(&mut self.current)
        } else {
            self.retired.iter_mut().find(|retired| retired.id == channel)
        };
        let Some(known) = known else { return };
        for sender in numbers.filter_map(|number| known.awaited.remove(&number)) {
            self.resets = 0;
            // The request may have ended meanwhile.
            sender.send(()).ok();
        }
        self.drop_settled();
    }

    /// Whether numbers have not grown repeatedly: requests of one connection reach several
    /// indexers.
    pub(super) fn are_unstable(&self) -> bool {
        self.resets > MAX_RESETS
    }
}

/// A random GUID (RFC 9562, version 4).
fn guid() -> String {
    // Each `RandomState` has other keys, made from random bytes of the system.
    let mut hasher = Hasher::new();
    for _ in 0..2 {
        let random = RandomState::new().hash_one(0);
        hasher.update(&random.to_le_bytes());
    }
    hasher.update(&process::id().to_le_bytes());
    let mut random = [0; 16];
    hasher.finalize_xof().fill(&mut random);
    let bits = u128::from_be_bytes(random);
    // The version and the variant.
    let bits = bits & !((0xf << 76) | (0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let mut guid = String::new();
    for (at, digit) in hex.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            guid.push('-');
        }
        guid.push(digit);
    }
    guid
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError::{Closed, Empty};

    use super::*;

    fn awaited(channels: &Channels) -> Vec<Vec<u64>> {
        channels.awaited().into_iter().map(|(_, numbers)| numbers).collect()
    }

    #[test]
    fn each_channel_is_a_new_guid() {
        let (first, second) = (guid(), guid());
        assert_ne!(first, second);
        let shape: String = first
            .chars()
            .map(|c| if c.is_ascii_hexdigit() && !c.is_ascii_uppercase() { 'x' } else { c })
            .collect();
        assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
        assert_eq!(first.get(14..15), Some("4"));
        assert!(first.get(19..20).is_some_and(|variant| "89ab".contains(variant)), "{first}");
    }

    #[test]
    fn acknowledged_numbers_are_reported_once() {
        let mut channels = Channels::new();
        let channel = channels.current().to_owned();
        let mut receivers: Vec<_> = (0..3).map(|number| channels.await_number(number)).collect();
        assert_eq!(awaited(&channels), [[0, 1, 2]]);
        channels.acknowledge(&channel, [0, 2, 7].into_iter());
        channels.acknowledge("another", [1].into_iter());
        assert_eq!(awaited(&channels), [[1]]);
        let results: Vec<_> = receivers.iter_mut().map(Receiver::try_recv).collect();
        assert_eq!(results, [Ok(()), Err(Empty), Ok(())]);
        assert_eq!(channels.current(), channel);
    }

    #[test]
    fn a_number_that_does_not_grow_invalidates_the_channel() {
        let mut channels = Channels::new();
        let old = channels.current().to_owned();
        let mut receivers: Vec<_> = [0, 1, 0].map(|number| channels.await_number(number)).into();
        assert_ne!(channels.current(), old);
        assert!(channels.awaited().is_empty());
        channels.acknowledge(&old, [0, 1].into_iter());
        assert!(receivers.iter_mut().all(|receiver| receiver.try_recv() == Err(Closed)));
        assert!(!channels.are_unstable());
        // The next channel has the same fate: the load balancer is not sticky.
        for _ in 0..MAX_RESETS {
            for number in [0, 0] {
                channels.await_number(number);
            }
        }
        assert!(channels.are_unstable());
        let channel = channels.current().to_owned();
        let _receiver = channels.await_number(0);
        channels.acknowledge(&channel, [0].into_iter());
        assert!(!channels.are_unstable());
    }

    #[test]
    fn an_idle_channel_may_begin_again() {
        let mut channels = Channels::new();
        let channel = channels.current().to_owned();
        let _first = channels.await_number(0);
        channels.acknowledge(&channel, [0].into_iter());
        let mut second = channels.await_number(0);
        channels.acknowledge(&channel, [0].into_iter());
        assert_eq!(second.try_recv(), Ok(()));
    }

    #[test]
    fn lost_answers_leave_higher_numbers_trusted() {
        let mut channels = Channels::new();
        let channel = channels.current().to_owned();
        let mut receivers: Vec<_> = (0..4).map(|number| channels.await_number(number)).collect();
        channels.answer_lost();
        channels.answer_lost();
        assert_eq!(channels.current(), channel);
        assert!(channels.is_suspect());
        assert_eq!(awaited(&channels), [[2, 3]]);
        // The same indexer.
        let _next = channels.await_number(6);
        channels.acknowledge(&channel, 0..4);
        let results: Vec<_> = receivers.iter_mut().map(Receiver::try_recv).collect();
        assert_eq!(results, [Err(Closed), Err(Closed), Ok(()), Ok(())]);
        // An indexer that gave the lost requests the numbers 0 and 1 is recognized by the next one.
        let mut next = channels.await_number(2);
        assert_eq!(next.try_recv(), Err(Closed));
        assert!(channels.awaited().is_empty() && channels.current() != channel);
    }

    #[test]
    fn lost_answers_without_anything_awaited_are_forgotten() {
        let mut channels = Channels::new();
        let mut receivers = Vec::new();
        for _ in 0..100 {
            channels.answer_lost();
        }
        receivers.push(channels.await_number(0));
        channels.answer_lost();
        receivers.push(channels.await_number(0));
        let results: Vec<_> = receivers.iter_mut().map(Receiver::try_recv).collect();
        assert_eq!(results, [Err(Closed), Err(Empty)]);
    }

    #[test]
    fn a_number_that_a_lost_request_may_have_is_never_trusted() {
        let mut channels = Channels::new();
        let old = channels.current().to_owned();
        let mut receivers: Vec<_> = (0..2).map(|number| channels.await_number(number)).collect();
        channels.answer_lost();
        channels.acknowledge(&old, [1].into_iter());
        // Number 1 was the last one, so this is not the same indexer, and 1 was lost there.
        channels.current.lost = 3;
        receivers.push(channels.await_number(2));
        let results: Vec<_> = receivers.iter_mut().map(Receiver::try_recv).collect();
        assert_eq!(results, [Err(Closed), Ok(()), Err(Closed)]);
        assert_ne!(channels.current(), old);
    }

    #[test]
    fn a_failed_connection_gives_up_one_request_until_the_next_number() {
        let mut channels = Channels::new();
        channels.connection_failed();
        assert!(!channels.is_suspect());
        let _receivers: Vec<_> = (0..3).map(|number| channels.await_number(number)).collect();
        channels.connection_failed();
        channels.connection_failed();
        assert!(channels.is_suspect());
        assert_eq!(awaited(&channels), [[1, 2]]);
        let _next = channels.await_number(3);
        assert!(!channels.is_suspect());
        assert_eq!(awaited(&channels), [[1, 2, 3]]);
    }

    #[test]
    fn a_channel_with_a_late_acknowledgment_gets_no_new_requests() {
        let mut channels = Channels::new();
        let old = channels.current().to_owned();
        let _receivers: Vec<_> = (0..2).map(|number| channels.await_number(number)).collect();
        channels.give_up(&old, 0);
        assert_ne!(channels.current(), old);
        assert_eq!(channels.awaited(), [(old.clone(), vec![1])]);
        channels.give_up(&old, 1);
        assert!(channels.awaited().is_empty());
    }
}
