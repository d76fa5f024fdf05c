//! Interprets the answers of Splunk's HTTP Event Collector.
//!
//! The codes are those of "Troubleshoot HTTP Event Collector" in Splunk's documentation. That
//! Splunk indexes the events before an invalid one, how it counts them, and what Splunk Cloud
//! answers to a request that is too large is not documented. It was measured by others on Splunk
//! Enterprise 10.4 and Splunk Cloud 10.5; open-telemetry/opentelemetry-collector-contrib#36113
//! describes the same of code 9.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The size of a request above which Splunk Cloud answers with code 6 for event 0.
const CLOUD_BODY_BYTES: usize = 5 << 20;

/// The body of an answer. Every member may be missing: other programs answer, too.
#[derive(Debug, Default, Deserialize)]
pub(super) struct HecAnswer {
    pub(super) code: Option<i64>,
    /// The event at which Splunk has stopped.
    #[serde(rename = "invalid-event-number")]
    number: Option<usize>,
    /// The number of the request in its channel. Also in a refusal, if Splunk has accepted the
    /// events before the invalid one.
    #[serde(rename = "ackId")]
    pub(super) ack: Option<u64>,
    /// Which requests are indexed.
    pub(super) acks: Option<BTreeMap<u64, bool>>,
}

impl HecAnswer {
    /// Parses a body. The answer of another program has no members.
    pub(super) fn parse(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }
}

/// The meaning of an answer for the events of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Meaning {
    /// All events are accepted.
    Accepted,
    /// The events before this one are accepted, this one is refused permanently, and the rest was
    /// not read.
    Invalid(usize),
    /// This number of events is accepted, and the rest has to be sent again.
    Busy(usize),
    /// An event is refused permanently. It is unknown which.
    Refused,
    TooLarge,
    /// Only the operator can fix the cause, by this action.
    Alert(&'static str),
    /// The status decides.
    Status,
}

/// Interprets an answer to a request of `records` events and `bytes` bytes before compression.
pub(super) fn meaning(status: u16, answer: &HecAnswer, records: usize, bytes: usize) -> Meaning {
    const TOKEN: &str = "check the token in `token_file`, and that it is enabled in Splunk";
    const CHANNEL: &str = "the token has indexer acknowledgment, which requires a channel: set \
        `acknowledgements` to \"auto\" or \"on\"; if it is, a proxy removes the header \
        X-Splunk-Request-Channel";
    const FOREIGN: &str = "this is no answer of Splunk's HTTP Event Collector: check the sink's \
        `url`; the default port of the collector is 8088";
    let Some(code) = answer.code else {
        return match status {
            // The cause is not a record, so the records do not go into quarantine.
            200..=299 | 400 | 422 => Meaning::Alert(FOREIGN),
            _ => Meaning::Status,
        };
    };
    match code {
        // 24 and 25: a queue is almost full.
        0 | 24 | 25 if (200..=299).contains(&status) => Meaning::Accepted,
        1..=4 | 16 | 21 | 22 => Meaning::Alert(TOKEN),
        5 => Meaning::Alert("Splunk got no events: check that no proxy removes the body"),
        // Invalid data format, no event, blank event, invalid fields. The count begins with 0.
        6 | 12 | 13 | 15 => match answer.number {
            Some(0) if code == 6 && bytes > CLOUD_BODY_BYTES => Meaning::TooLarge,
            Some(number) if number < records => Meaning::Invalid(number),
            None if records == 1 => Meaning::Invalid(0),
            _ => Meaning::Refused,
        },
        7 => Meaning::Alert(
            "create the index in Splunk, allow the token to write to it, or change the sink's \
             `index`",
        ),
        // Splunk stops in the middle of a request if a queue is full. Whether the count begins with
        // 0 or 1 is not known: one event is rather sent twice than lost.
        8 | 9 | 18 | 19 | 20 | 23 | 26 | 27 => {
            let accepted = answer.number.unwrap_or(0).saturating_sub(1);
            if accepted > 0 && accepted < records {
                Meaning::Busy(accepted)
            } else {
                Meaning::Status
            }
        }
        10 | 11 | 28 => Meaning::Alert(CHANNEL),
        _ => match status {
            200..=299 | 400 | 422 => {
                Meaning::Alert("look up the code in Splunk's documentation, and check the token")
            }
            _ => Meaning::Status,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> Meaning {
        meaning(status, &HecAnswer::parse(body.as_bytes()), 10, 1000)
    }

    fn named(meaning: Meaning) -> &'static str {
        match meaning {
            Meaning::Accepted => "accepted",
            Meaning::Invalid(_) => "invalid",
            Meaning::Busy(_) => "busy",
            Meaning::Refused => "refused",
            Meaning::TooLarge => "too large",
            Meaning::Alert(_) => "alert",
            Meaning::Status => "status",
        }
    }

    #[test]
    fn each_code_has_its_meaning() {
        for (status, codes, expected) in [
            (200, &[0, 24, 25][..], "accepted"),
            (403, &[1, 4], "alert"),
            (401, &[2, 3], "alert"),
            (400, &[5, 7, 10, 11, 14, 16, 21, 22, 28, 99], "alert"),
            (200, &[6, 12, 13, 15], "refused"),
            (400, &[6, 12, 13, 15], "refused"),
            (500, &[8], "status"),
            (503, &[9, 18, 19, 20, 23], "status"),
            (429, &[26, 27], "status"),
            // Success with an error status, and an unknown code with success.
            (503, &[0], "status"),
            (400, &[0], "alert"),
            (200, &[17, 99], "alert"),
        ] {
            for code in codes {
                let body = format!("{{\"text\":\"Some text\",\"code\":{code}}}");
                assert_eq!(named(of(status, &body)), expected, "{status} {body}");
            }
        }
    }

    #[test]
    fn the_answer_of_another_program_is_reported_to_the_operator() {
        for (status, body, expected) in [
            (200, "<html>sign in</html>", "alert"),
            (200, "", "alert"),
            (200, "{\"ok\":true}", "alert"),
            (400, "The plain HTTP request was sent to HTTPS port", "alert"),
            (404, "", "status"),
            (502, "<html>", "status"),
            (413, "<html>", "status"),
        ] {
            assert_eq!(named(of(status, body)), expected, "{status} {body}");
        }
    }

    #[test]
    fn the_invalid_event_is_named() {
        for (code, number, expected) in [
            (6, 0, Meaning::Invalid(0)),
            (12, 3, Meaning::Invalid(3)),
            (13, 9, Meaning::Invalid(9)),
            (15, 1, Meaning::Invalid(1)),
            // Not an event of this request.
            (6, 10, Meaning::Refused),
            (9, 0, Meaning::Status),
            (9, 1, Meaning::Status),
            (9, 10, Meaning::Busy(9)),
            (9, 11, Meaning::Status),
        ] {
            let body = format!("{{\"code\":{code},\"invalid-event-number\":{number}}}");
            assert_eq!(of(400, &body), expected, "{body}");
        }
        let single = HecAnswer { code: Some(13), ..HecAnswer::default() };
        assert_eq!(meaning(400, &single, 1, 100), Meaning::Invalid(0));
    }

    #[test]
    fn a_large_request_is_divided_as_splunk_cloud_expects() {
        let body = "{\"text\":\"Invalid data format\",\"code\":6,\"invalid-event-number\":0}";
        let answer = HecAnswer::parse(body.as_bytes());
        assert_eq!(meaning(400, &answer, 10, CLOUD_BODY_BYTES + 1), Meaning::TooLarge);
        assert_eq!(meaning(400, &answer, 10, CLOUD_BODY_BYTES), Meaning::Invalid(0));
    }

    #[test]
    fn numbers_of_requests_are_read() {
        let body = "{\"text\":\"Success\",\"code\":0,\"ackId\":18446744073709551615}";
        assert_eq!(HecAnswer::parse(body.as_bytes()).ack, Some(u64::MAX));
        let body = "{\"acks\":{\"0\":true,\"12\":false}}";
        let acks = HecAnswer::parse(body.as_bytes()).acks.unwrap();
        assert_eq!(acks.into_iter().collect::<Vec<_>>(), [(0, true), (12, false)]);
    }
}
