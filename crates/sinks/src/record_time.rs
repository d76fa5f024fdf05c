//! The time of a record, for the keys that several kinds of sink share.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use settings::{
    Context, Settings as _, Table, Value, reference::Takes, setting, settings, types::Span, words,
};

words! {
    /// `time`
    pub enum RecordTime {
        /// The time of receipt of the batch.
        Received = "received",
        /// The time of each record.
        Event = "event",
    }
}

settings! {
    /// Records outside the window are filed by their time of receipt.
    pub struct EventWindow derive(Copy, Eq), checked by check {
        /// With `time = "event"`: a record that is older than this at its receipt is filed by
        /// its time of receipt. `"all"` files every old record by its own time, which is
        /// useful to import history.
        pub past: SpanOrAll = "31d",
        /// With `time = "event"`: a record whose time is later than its receipt by more than
        /// this is filed by its time of receipt.
        pub future: Span = "1d",
    }
}

setting! {
    /// A duration, or `"all"`, which is [`Duration::MAX`].
    pub struct SpanOrAll(Duration): Takes::Duration { beside: Some("all"), zero: true },
        read by span_or_all;
}

impl EventWindow {
    /// Whether a record with this time, received at `received`, is filed by its own time.
    pub fn contains(self, time: Timestamp, received: Timestamp) -> bool {
        let age: SignedDuration = received.duration_since(time);
        match Duration::try_from(age) {
            Ok(age) => age <= self.past,
            Err(_) => age.unsigned_abs() <= self.future,
        }
    }

    /// Reports a window that has no effect, since records are filed by their time of receipt.
    pub(crate) fn check_use(self, time: RecordTime, table: &Table<'_>, cx: &mut Context) {
        if Self::sample() != Some(self) && time != RecordTime::Event {
            let message = "`event_window` has no effect without `time = \"event\"`";
            let problem = table.problem_at("event_window", message);
            cx.push_incomplete(problem.hint("add `time = \"event\"`, or remove `event_window`"));
        }
    }
}

fn span_or_all(value: &Value<'_>, cx: &mut Context) -> Option<Duration> {
    value.duration_or("all", cx)
}

fn check(_: &EventWindow, table: &Table<'_>, cx: &mut Context) {
    if table.exists() && table.is_empty() {
        cx.push(
            table
                .problem("`event_window` is empty")
                .hint("set `past`, `future` or both, as in { past = \"all\", future = \"1d\" }"),
        );
    }
}
