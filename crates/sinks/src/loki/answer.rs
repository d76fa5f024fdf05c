//! Interprets the answer of Loki.

use super::{
    entries::Entry,
    refusal::{Refusal, interpret},
};
use crate::{network::HttpAnswer, upload::Verdict};

/// How much of the body of an answer is read: Loki lists each refused entry.
const MAX_BODY_BYTES: usize = 4 << 20;

/// Interprets the answer to a push request with these entries.
pub(super) async fn verdict(mut answer: HttpAnswer, entries: &[Entry]) -> Verdict {
    let status = answer.status().as_u16();
    // 204 is Loki's answer, 200 that of some gateways and of other servers with Loki's API.
    if matches!(status, 200 | 204) {
        return Verdict::Delivered;
    }
    let body = match answer.body(MAX_BODY_BYTES).await {
        Ok(body) => body,
        // Its body has what was refused, and a repetition is harmless.
        Err(verdict) if status == 400 => return verdict,
        // The status decides.
        Err(_) => Vec::new(),
    };
    let message = String::from_utf8_lossy(&body);
    let alert =
        |action: &str| Verdict::Alert { why: answer.failure(&message), action: action.to_owned() };
    match status {
        400 => refused(&answer, &message, entries),
        // The status is that of `block_ingestion_status_code`, 260 by default.
        201..=299 => alert("end Loki's `block_ingestion_until`; it stores nothing until then"),
        401 if message.contains("no org id") => alert("set the sink's `tenant`"),
        404 | 405 => alert("check the sink's `url`: it has to lead to Loki"),
        429 if entries.len() > 1 && exceeds_rate(&message) => {
            Verdict::TooLarge { why: answer.failure(&message) }
        }
        // The limit of the messages between the parts of Loki, `grpc_server_max_recv_msg_size`.
        500 if message.contains("received message larger than max") => {
            Verdict::TooLarge { why: answer.failure(&message) }
        }
        _ => answer.verdict_with(&message),
    }
}

/// Interprets 400. Loki has stored the entries that it did not refuse.
fn refused(answer: &HttpAnswer, message: &str, entries: &[Entry]) -> Verdict {
    match interpret(message, entries) {
        Refusal::Entries(refused) => {
            let refused = refused.into_iter();
            Verdict::Partial {
                refused: refused.map(|(index, why)| (index, answer.failure(why))).collect(),
                retry: Vec::new(),
                after: None,
                why: answer.failure(message),
                action: None,
            }
        }
        Refusal::Some(records) => Verdict::Discarded { records, why: answer.failure(message) },
        Refusal::RateLimited => {
            Verdict::Retry { after: answer.retry_after(), why: answer.failure(message) }
        }
        Refusal::Configuration => Verdict::Alert {
            why: answer.failure(message),
            action: "correct the sink's `labels` or `structured_metadata`, or Loki's limits"
                .to_owned(),
        },
        // A repetition is harmless: Loki ignores an entry that it has.
        Refusal::Unknown => Verdict::Refused { why: answer.failure(message) },
    }
}

/// Whether a request is larger than what Loki accepts in a second. If it exceeds the burst size, too,
/// Loki never accepts it.
fn exceeds_rate(message: &str) -> bool {
    let limit = number_after(message, "(limit: ");
    let size = number_after(message, " lines totaling '");
    matches!((limit, size), (Some(limit), Some(size)) if size > limit)
}

/// The number after the first occurrence of `text`.
pub(super) fn number_after(message: &str, text: &str) -> Option<u64> {
    let (_, rest) = message.split_once(text)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_above_the_rate_is_recognized() {
        let message = |limit: u64, size: u64| {
            format!(
                "ingestion rate limit exceeded for user fake (limit: {limit} bytes/sec) while \
                 attempting to ingest '100' lines totaling '{size}' bytes, reduce log volume"
            )
        };
        assert!(exceeds_rate(&message(1000, 1001)));
        assert!(!exceeds_rate(&message(1000, 1000)));
        // That of one stream has the size of one line.
        assert!(!exceeds_rate("Per stream rate limit exceeded (limit: 3MB/sec) totaling 4MB"));
    }
}
