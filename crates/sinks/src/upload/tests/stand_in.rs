//! A target in the same process: it answers by a script, and checks what it is sent.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use super::super::{Chunk, Target, Verdict};
use crate::State;

/// A record: its batch and its position.
pub(super) type Place = (u64, u64);

/// How the target treats one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    /// By its rules ([`Rules`]).
    Ordinary,
    /// By its rules, after so many milliseconds.
    Slow(u64),
    /// 503, with or without `Retry-After`.
    Unavailable(Option<u64>),
    /// It takes the records, and its answer is lost.
    TakeAndBreak,
    /// It takes the records and never answers.
    TakeAndHang,
    /// It never answers.
    Hang,
    /// The credentials are wrong.
    Unauthorized,
    /// The records whose index is a multiple of this are to be sent again.
    Busy(usize),
    /// The task ends without an answer.
    Die,
}

/// What the target accepts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Bytes of a request.
    pub(super) max_bytes: usize,
    /// Whether it has a word for each record, or one for the whole chunk.
    pub(super) words: bool,
    /// Whether it refuses every record.
    pub(super) refuses_everything: bool,
}

/// A record that the target refuses contains this.
pub(super) const BAD: &[u8] = b"bad";

/// A request as it is sent.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) id: String,
    pub(super) records: Vec<(Place, Vec<u8>)>,
    pub(super) bytes: usize,
}

pub(super) struct Seen {
    pub(super) rules: Rules,
    pub(super) script: VecDeque<Answer>,
    /// The number of the chunk that a record was in when it was first sent.
    numbers: BTreeMap<Place, String>,
    /// The part, by the last checkpoint, in which a record is sent next.
    parts: BTreeMap<Place, String>,
    /// What each identity stands for.
    contents: BTreeMap<String, Vec<Place>>,
    /// How often each record was taken.
    pub(super) taken: BTreeMap<Place, u32>,
    /// The records that the target acknowledged to this process, and those that a stored checkpoint
    /// has to know.
    pub(super) acknowledged: BTreeSet<Place>,
    pub(super) sealed: BTreeSet<Place>,
    /// The identities in the order in which they were sent.
    pub(super) sent: Vec<String>,
    /// Requests that must not have been sent. A panic in a task would only be a failed request.
    pub(super) violations: Vec<String>,
    in_flight: usize,
    pub(super) most_in_flight: usize,
}

/// The target, and its other end for the test.
#[derive(Clone)]
pub(super) struct StandIn {
    seen: Arc<Mutex<Seen>>,
}

impl StandIn {
    pub(super) fn new(rules: Rules, script: impl IntoIterator<Item = Answer>) -> Self {
        let seen = Seen {
            rules,
            script: script.into_iter().collect(),
            numbers: BTreeMap::new(),
            parts: BTreeMap::new(),
            contents: BTreeMap::new(),
            taken: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            sealed: BTreeSet::new(),
            sent: Vec::new(),
            violations: Vec::new(),
            in_flight: 0,
            most_in_flight: 0,
        };
        Self { seen: Arc::new(Mutex::new(seen)) }
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Seen {
    /// A new process continues from a checkpoint.
    pub(super) fn restart(&mut self, state: &State) {
        self.acknowledged.clear();
        self.parts.clear();
        let state = serde_json::to_value(state).unwrap();
        for batch in state["batches"].as_array().into_iter().flatten() {
            let sequence = batch["sequence"].as_u64().unwrap();
            for part in batch["parts"].as_array().into_iter().flatten() {
                let name = part["part"].as_str().unwrap();
                for range in part["records"].as_array().unwrap() {
                    for position in range[0].as_u64().unwrap()..range[1].as_u64().unwrap() {
                        self.parts.insert((sequence, position), name.to_owned());
                    }
                }
            }
        }
    }

    /// A request has arrived.
    fn arrived(&mut self, request: &Request) -> Answer {
        let places: Vec<_> = request.records.iter().map(|(place, _)| *place).collect();
        let part = request.id.rsplit('-').next().unwrap();
        let number = part.split('.').next().unwrap();
        let mut violations = Vec::new();
        for place in &places {
            if self.acknowledged.contains(place) {
                violations.push(format!("{place:?} was acknowledged"));
            }
            if self.sealed.contains(place) {
                violations.push(format!("{place:?} is in a checkpoint"));
            }
            let known = self.numbers.entry(*place).or_insert_with(|| number.to_owned());
            if known != number {
                violations.push(format!("{place:?} was in chunk {known}"));
            }
            if let Some(expected) = self.parts.remove(place)
                && expected != part
            {
                violations.push(format!("{place:?} is in part {expected} by the checkpoint"));
            }
        }
        let known = self.contents.entry(request.id.clone()).or_insert_with(|| places.clone());
        if *known != places {
            violations.push(format!("has the records {places:?}, and had {known:?}"));
        }
        for violation in violations {
            self.violations.push(format!("{}: {violation}", request.id));
        }
        self.sent.push(request.id.clone());
        self.script.pop_front().unwrap_or(Answer::Ordinary)
    }

    fn take(&mut self, records: &[(Place, Vec<u8>)]) {
        for (place, _) in records {
            *self.taken.entry(*place).or_default() += 1;
        }
    }

    fn refuses(&self, record: &[u8]) -> bool {
        self.rules.refuses_everything || record.windows(BAD.len()).any(|part| part == BAD)
    }

    /// The verdict by the rules; `busy` are records to be sent again.
    fn judge(&mut self, request: &Request, busy: impl Fn(usize) -> bool) -> Verdict {
        if request.bytes > self.rules.max_bytes {
            return Verdict::TooLarge { why: "413".to_owned() };
        }
        let refused: Vec<_> =
            request.records.iter().map(|(_, record)| self.refuses(record)).collect();
        let is_refused = |index: &usize| refused[*index];
        if refused.contains(&true) && !self.rules.words {
            return Verdict::Refused { why: "400".to_owned() };
        }
        let all = || 0..request.records.len();
        let retry: Vec<_> = all().filter(|index| !is_refused(index) && busy(*index)).collect();
        let accepted = all().filter(|index| !is_refused(index) && !retry.contains(index));
        let accepted: Vec<_> = accepted.map(|index| request.records[index].clone()).collect();
        self.take(&accepted);
        self.acknowledged.extend(accepted.iter().map(|(place, _)| *place));
        if accepted.len() == request.records.len() {
            return Verdict::Delivered;
        }
        let refused = all().filter(is_refused).map(|index| (index, "400".to_owned())).collect();
        Verdict::Partial { refused, retry, after: None, why: "429".to_owned() }
    }
}

/// Counts a request in flight.
struct InFlight(StandIn);

impl InFlight {
    fn begin(target: &StandIn) -> Self {
        let mut seen = target.seen();
        seen.in_flight += 1;
        seen.most_in_flight = seen.most_in_flight.max(seen.in_flight);
        Self(target.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.seen().in_flight -= 1;
    }
}

impl Target for StandIn {
    type Request = Request;

    fn encode(&self, chunk: &Chunk) -> Request {
        let sequence = chunk.batch().sequence;
        let records = chunk.iter().map(|(at, record)| ((sequence, at), record.to_vec())).collect();
        Request { id: chunk.id().to_string(), records, bytes: chunk.bytes().len() }
    }

    async fn send(&self, request: Request) -> Verdict {
        let _in_flight = InFlight::begin(self);
        let answer = self.seen().arrived(&request);
        match answer {
            Answer::Ordinary => self.seen().judge(&request, |_| false),
            Answer::Slow(milliseconds) => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                self.seen().judge(&request, |_| false)
            }
            Answer::Unavailable(after) => {
                Verdict::Retry { after: after.map(Duration::from_secs), why: "503".to_owned() }
            }
            Answer::TakeAndBreak => {
                self.seen().take(&request.records);
                Verdict::Retry { after: None, why: "connection reset".to_owned() }
            }
            Answer::TakeAndHang => {
                self.seen().take(&request.records);
                std::future::pending().await
            }
            Answer::Hang => std::future::pending().await,
            Answer::Unauthorized => {
                Verdict::Alert { why: "401".to_owned(), action: "replace the token".to_owned() }
            }
            Answer::Busy(every) => self.seen().judge(&request, |index| index % every == 0),
            Answer::Die => panic!("the task of the request ends"),
        }
    }
}
