//! One indexer of the stand-in: its channels, and events on their way into the index.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::{Value, json, value::RawValue};

/// The members of an event. Splunk ends a request silently at an event with another member.
const MEMBERS: [&str; 7] = ["time", "host", "source", "sourcetype", "index", "event", "fields"];

/// An event that was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// All members, with their values as sent.
    pub(crate) members: BTreeMap<String, Box<RawValue>>,
}

impl Event {
    /// The record, byte for byte.
    pub(crate) fn record(&self) -> &str {
        self.members["event"].get()
    }

    pub(crate) fn member(&self, name: &str) -> Option<Value> {
        let value = self.members.get(name)?;
        Some(serde_json::from_str(value.get()).unwrap())
    }

    /// Identifies the record: the chunk and the position.
    pub(crate) fn fields(&self) -> (String, u64) {
        let fields = self.member("fields").unwrap();
        let chunk = fields["logpushd_chunk"].as_str().unwrap().to_owned();
        (chunk, fields["logpushd_record"].as_u64().unwrap())
    }
}

/// Returns the code with which an event is refused, and its text.
pub(super) type Refuse = Box<dyn Fn(&Event) -> Option<(u16, &'static str)> + Send>;

/// What all indexers have in common.
pub(super) struct Rules {
    pub(super) token: String,
    /// Whether the token has indexer acknowledgment.
    pub(super) acknowledges: bool,
    /// The allowed indexes.
    pub(super) indexes: BTreeSet<String>,
    /// The time from the answer until the events are indexed.
    pub(super) delay: Duration,
    pub(super) refuse: Refuse,
    /// How many of the next requests are answered with code 9, each after this many events.
    pub(super) busy: (usize, usize),
}

/// An indexer. What is not indexed is lost when it crashes.
#[derive(Default)]
pub(super) struct Indexer {
    indexed: Vec<Event>,
    waiting: Vec<Accepted>,
    /// The next number of each channel, and the numbers that were not answered with `true` yet.
    channels: BTreeMap<String, (u64, BTreeSet<u64>)>,
}

struct Accepted {
    at: Instant,
    number: Option<(String, u64)>,
    events: Vec<Event>,
}

pub(super) type Reply = (u16, Value);

fn reply(status: u16, code: u16, text: &str) -> Reply {
    (status, json!({ "text": text, "code": code }))
}

impl Indexer {
    /// Answers `POST /services/collector/event`.
    pub(super) fn accept(
        &mut self,
        channel: Option<&str>,
        body: &[u8],
        rules: &mut Rules,
    ) -> Reply {
        if let Err(reply) = check_channel(channel, rules) {
            return reply;
        }
        if body.is_empty() {
            return reply(400, 5, "No data");
        }
        let mut accepted = Vec::new();
        let mut answer = reply(200, 0, "Success");
        let mut events = serde_json::Deserializer::from_slice(body).into_iter::<Box<RawValue>>();
        let busy_after = (rules.busy.0 > 0).then_some(rules.busy.1);
        if busy_after.is_some() {
            rules.busy.0 -= 1;
        }
        for number in 0.. {
            if busy_after == Some(number) {
                answer = reply(503, 9, "Server is busy");
                if number > 0 {
                    answer.1["invalid-event-number"] = json!(number);
                }
                break;
            }
            let Some(event) = events.next() else { break };
            let refused = match event.ok().and_then(|event| parse(&event)) {
                None => Some((6, "Invalid data format")),
                Some(event) => check(&event, rules).or_else(|| {
                    accepted.push(event);
                    None
                }),
            };
            if let Some((code, text)) = refused {
                answer = reply(400, code, text);
                // Code 7 counts from 1, the others from 0.
                answer.1["invalid-event-number"] = json!(number + usize::from(code == 7));
                break;
            }
        }
        let mut number = None;
        if rules.acknowledges && !accepted.is_empty() {
            let channel = channel.unwrap();
            let (next, open) = self.channels.entry(channel.to_owned()).or_default();
            answer.1["ackId"] = json!(*next);
            open.insert(*next);
            number = Some((channel.to_owned(), *next));
            *next += 1;
        }
        self.waiting.push(Accepted { at: Instant::now(), number, events: accepted });
        answer
    }

    /// Answers `POST /services/collector/ack`.
    pub(super) fn query(&mut self, channel: Option<&str>, body: &[u8], rules: &Rules) -> Reply {
        if !rules.acknowledges {
            return reply(400, 14, "ACK is disabled");
        }
        if let Err(reply) = check_channel(channel, rules) {
            return reply;
        }
        let query: Value = serde_json::from_slice(body).unwrap();
        let numbers = query["acks"].as_array().unwrap();
        assert_eq!(query.as_object().unwrap().len(), 1, "{query}");
        let waiting: BTreeSet<_> =
            self.waiting.iter().filter_map(|accepted| accepted.number.clone()).collect();
        let channel = channel.unwrap();
        let open = self.channels.get_mut(channel).map(|(_, open)| open);
        let mut none = BTreeSet::new();
        let open = open.unwrap_or(&mut none);
        let acks = numbers.iter().map(|number| {
            let number = number.as_u64().unwrap();
            let is_indexed = !waiting.contains(&(channel.to_owned(), number));
            // `true` is answered once.
            (number.to_string(), json!(is_indexed && open.remove(&number)))
        });
        (200, json!({ "acks": Value::Object(acks.collect()) }))
    }

    /// Indexes what has waited long enough.
    pub(super) fn advance(&mut self, delay: Duration) {
        let now = Instant::now();
        let (done, waiting): (Vec<_>, _) =
            self.waiting.drain(..).partition(|accepted| accepted.at + delay <= now);
        self.waiting = waiting;
        self.indexed.extend(done.into_iter().flat_map(|accepted| accepted.events));
    }

    /// Loses what is not indexed, and all channels. Returns how many events were lost.
    pub(super) fn crash(&mut self) -> usize {
        self.channels.clear();
        self.waiting.drain(..).map(|accepted| accepted.events.len()).sum()
    }

    pub(super) fn indexed(&self) -> &[Event] {
        &self.indexed
    }

    /// How many requests are not indexed.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.iter().filter(|accepted| !accepted.events.is_empty()).count()
    }
}

fn check_channel(channel: Option<&str>, rules: &Rules) -> Result<(), Reply> {
    let Some(channel) = channel else {
        return if rules.acknowledges {
            Err(reply(400, 10, "Data channel is missing"))
        } else {
            Ok(())
        };
    };
    let shape: Vec<_> = channel.split('-').map(str::len).collect();
    let is_hex = channel.chars().all(|c| c == '-' || c.is_ascii_hexdigit());
    if shape == [8, 4, 4, 4, 12] && is_hex {
        Ok(())
    } else {
        Err(reply(400, 11, "Invalid data channel"))
    }
}

fn parse(event: &RawValue) -> Option<Event> {
    let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(event.get()).ok()?;
    for member in members.keys() {
        assert!(MEMBERS.contains(&member.as_str()), "Splunk ignores the event: {}", event.get());
    }
    let time = members["time"].get();
    let (seconds, decimals) = time.split_once('.').unwrap_or((time, "0"));
    assert!(seconds.len() == 10 && (1..=9).contains(&decimals.len()), "{time}");
    assert!(format!("{seconds}{decimals}").bytes().all(|b| b.is_ascii_digit()), "{time}");
    Some(Event { members })
}

fn check(event: &Event, rules: &Rules) -> Option<(u16, &'static str)> {
    let Some(record) = event.members.get("event") else {
        return Some((12, "Event field is required"));
    };
    if matches!(record.get(), "\"\"" | "\" \"") {
        return Some((13, "Event field cannot be blank"));
    }
    let fields = event.member("fields").unwrap_or_default();
    let are_flat = |value: &Value| !value.is_object() && !value.is_null();
    if !fields.as_object().is_some_and(|fields| fields.values().all(are_flat)) {
        return Some((15, "Error in handling indexed fields"));
    }
    let index = event.member("index").unwrap_or(json!("main"));
    if !rules.indexes.contains(index.as_str().unwrap()) {
        return Some((7, "Incorrect index"));
    }
    (rules.refuse)(event)
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            token: String::new(),
            acknowledges: true,
            indexes: BTreeSet::from(["main".to_owned()]),
            delay: Duration::ZERO,
            refuse: Box::new(|_| None),
            busy: (0, 0),
        }
    }
}
