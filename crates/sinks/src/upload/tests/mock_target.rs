//! A target in the same process, which answers by a script and checks its requests.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use super::super::{Chunk, Target, Verdict};
use crate::State;

/// A record: its batch and its position.
pub(super) type RecordKey = (u64, u64);

/// How the target handles one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reply {
    /// By its [`Rules`].
    Ordinary,
    /// By its rules, after this number of milliseconds.
    Slow(u64),
    /// 503, with or without `Retry-After`.
    Unavailable(Option<u64>),
    /// 503 with `Retry-After`, after this number of milliseconds.
    LateUnavailable(u64),
    /// It accepts the records, and its answer is lost.
    TakeAndBreak,
    /// It accepts the records and never answers.
    TakeAndHang,
    /// It never answers.
    Hang,
    /// The credentials are wrong.
    Unauthorized,
    /// Records whose index is a multiple of this have to be sent again.
    Busy(usize),
    /// The same, and an operator must act.
    Blocked(usize),
    /// The task panics.
    Panic,
}

/// What the target accepts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// The maximum number of bytes in a request.
    pub(super) max_bytes: usize,
    /// Whether it answers for each record, rather than for the whole chunk.
    pub(super) per_record: bool,
    /// Whether it refuses every record.
    pub(super) refuses_everything: bool,
}

/// The target refuses records that contain this.
pub(super) const BAD: &[u8] = b"bad";

/// A request as it is sent.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) id: String,
    pub(super) records: Vec<(RecordKey, Vec<u8>)>,
    pub(super) bytes: usize,
}

pub(super) struct Seen {
    pub(super) rules: Rules,
    pub(super) script: VecDeque<Reply>,
    /// The number of the chunk that a record was in when it was first sent.
    numbers: BTreeMap<RecordKey, String>,
    /// The part, by the last checkpoint, in which a record is sent next.
    parts: BTreeMap<RecordKey, String>,
    /// The records of each identity.
    contents: BTreeMap<String, Vec<RecordKey>>,
    /// How often each record was accepted.
    pub(super) taken: BTreeMap<RecordKey, u32>,
    /// The records that the target acknowledged to this process, and those that the stored
    /// checkpoint has to cover.
    pub(super) acknowledged: BTreeSet<RecordKey>,
    pub(super) sealed: BTreeSet<RecordKey>,
    /// The identities in the order in which they were sent.
    pub(super) sent: Vec<String>,
    /// Requests that must not have been sent. A panic in a task would count as a failed request
    /// only.
    pub(super) violations: Vec<String>,
    in_flight: usize,
    pub(super) most_in_flight: usize,
}

/// The target, which the test can inspect.
#[derive(Clone)]
pub(super) struct MockTarget {
    seen: Arc<Mutex<Seen>>,
}

impl MockTarget {
    pub(super) fn new(rules: Rules, script: impl IntoIterator<Item = Reply>) -> Self {
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
    /// Begins a new process, which continues from a checkpoint.
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

    /// Checks a request and returns how to answer it.
    fn arrived(&mut self, request: &Request) -> Reply {
        let keys: Vec<_> = request.records.iter().map(|(key, _)| *key).collect();
        let part = request.id.rsplit('-').next().unwrap();
        let number = part.split('.').next().unwrap();
        let mut violations = Vec::new();
        for key in &keys {
            if self.acknowledged.contains(key) {
                violations.push(format!("{key:?} was acknowledged"));
            }
            if self.sealed.contains(key) {
                violations.push(format!("{key:?} is in a checkpoint"));
            }
            let known = self.numbers.entry(*key).or_insert_with(|| number.to_owned());
            if known != number {
                violations.push(format!("{key:?} was in chunk {known}"));
            }
            if let Some(expected) = self.parts.remove(key)
                && expected != part
            {
                violations.push(format!("{key:?} is in part {expected} by the checkpoint"));
            }
        }
        let known = self.contents.entry(request.id.clone()).or_insert_with(|| keys.clone());
        if *known != keys {
            violations.push(format!("has the records {keys:?}, and had {known:?}"));
        }
        for violation in violations {
            self.violations.push(format!("{}: {violation}", request.id));
        }
        self.sent.push(request.id.clone());
        self.script.pop_front().unwrap_or(Reply::Ordinary)
    }

    fn take(&mut self, records: &[(RecordKey, Vec<u8>)]) {
        for (key, _) in records {
            *self.taken.entry(*key).or_default() += 1;
        }
    }

    fn refuses(&self, record: &[u8]) -> bool {
        self.rules.refuses_everything || record.windows(BAD.len()).any(|part| part == BAD)
    }

    /// The verdict by the rules. Records that `busy` selects have to be sent again.
    fn judge(&mut self, request: &Request, busy: impl Fn(usize) -> bool) -> Verdict {
        if request.bytes > self.rules.max_bytes {
            return Verdict::TooLarge { why: "413".to_owned() };
        }
        let refused: Vec<_> =
            request.records.iter().map(|(_, record)| self.refuses(record)).collect();
        let is_refused = |index: &usize| refused[*index];
        if refused.contains(&true) && !self.rules.per_record {
            return Verdict::Refused { why: "400".to_owned() };
        }
        let all = || 0..request.records.len();
        let retry: Vec<_> = all().filter(|index| !is_refused(index) && busy(*index)).collect();
        let accepted = all().filter(|index| !is_refused(index) && !retry.contains(index));
        let accepted: Vec<_> = accepted.map(|index| request.records[index].clone()).collect();
        self.take(&accepted);
        self.acknowledged.extend(accepted.iter().map(|(key, _)| *key));
        if accepted.len() == request.records.len() {
            return Verdict::Delivered;
        }
        let refused = all().filter(is_refused).map(|index| (index, "400".to_owned())).collect();
        Verdict::Partial { refused, retry, after: None, why: "429".to_owned(), action: None }
    }
}

/// Counts a request in flight.
struct InFlight(MockTarget);

impl InFlight {
    fn begin(target: &MockTarget) -> Self {
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

impl Target for MockTarget {
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
            Reply::Ordinary => self.seen().judge(&request, |_| false),
            Reply::Slow(milliseconds) => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                self.seen().judge(&request, |_| false)
            }
            Reply::LateUnavailable(milliseconds) => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                Verdict::Retry { after: Some(Duration::from_secs(7)), why: "503".to_owned() }
            }
            Reply::Unavailable(after) => {
                Verdict::Retry { after: after.map(Duration::from_secs), why: "503".to_owned() }
            }
            Reply::TakeAndBreak => {
                self.seen().take(&request.records);
                Verdict::Retry { after: None, why: "connection reset".to_owned() }
            }
            Reply::TakeAndHang => {
                self.seen().take(&request.records);
                std::future::pending().await
            }
            Reply::Hang => std::future::pending().await,
            Reply::Unauthorized => {
                Verdict::Alert { why: "401".to_owned(), action: "replace the token".to_owned() }
            }
            Reply::Busy(every) => self.seen().judge(&request, |index| index % every == 0),
            Reply::Blocked(every) => {
                let verdict = self.seen().judge(&request, |index| index % every == 0);
                let Verdict::Partial { refused, retry, after, .. } = verdict else {
                    return verdict;
                };
                let (why, action) = ("403".to_owned(), Some("unblock the index".to_owned()));
                Verdict::Partial { refused, retry, after, why, action }
            }
            Reply::Panic => panic!("the task of the request ends"),
        }
    }
}
