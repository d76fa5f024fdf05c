//! Finds out which entries Loki has refused.
//!
//! Loki checks each entry, stores those that it accepts, and lists the others in a text. The texts
//! are those of `pkg/validation/validate.go`, `pkg/util/errors/errors.go` (`GroupedErrors`),
//! `pkg/chunkenc/interface.go` and `pkg/ingester/stream.go` of Loki 3. None has the line of an
//! entry, but together with the order and the times of the entries they name them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{answer::number_after, entries::Entry};

/// What Loki has refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Refusal<'m> {
    /// These entries, by their index in the chunk, with the reasons. All others are stored.
    Entries(BTreeMap<usize, &'m str>),
    /// This number of entries, which the message does not name. All others are stored, and the
    /// request must not be sent again: what is stored may be too old then.
    Some(u64),
    /// Entries beyond the rate limit of the stream.
    RateLimited,
    /// All entries, because of the settings of the sink or of Loki.
    Configuration,
    /// Anything else.
    Unknown,
}

/// Interprets the body of an answer with the status 400. `entries` are sorted by time.
pub(super) fn interpret<'m>(message: &'m str, entries: &[Entry]) -> Refusal<'m> {
    if message.contains("total ignored: ") {
        ignored(message, entries)
    } else {
        invalid(message, entries)
    }
}

/// Interprets the list of an ingester, which names up to 10 entries by their times and ends with
/// `total ignored: N out of M for stream: {...}`. Entries that are too old for the stream are the
/// first ones, since the entries are sorted.
fn ignored<'m>(message: &'m str, entries: &[Entry]) -> Refusal<'m> {
    let Some(count) = number_after(message, "total ignored: ") else { return Refusal::Unknown };
    let of_stream = message.split_once("total ignored: ").and_then(|(_, rest)| {
        let total = number_after(rest, " out of ")?;
        usize::try_from(total).ok()
    });
    let reasons = message.lines().filter(|line| line.starts_with("entry with timestamp "));
    let reasons: Vec<_> =
        reasons.filter_map(|line| Some(line.split_once("reason: '")?.1)).collect();
    if reasons.iter().any(|reason| reason.contains("rate limit exceeded")) {
        return Refusal::RateLimited;
    }
    let are_known = reasons.iter().all(|reason| reason.starts_with("entry too far behind"));
    let first = reasons.first().filter(|_| are_known && of_stream == Some(entries.len()));
    let oldest = first.and_then(|reason| second_after(reason, "oldest acceptable timestamp is: "));
    let first_count = usize::try_from(count).unwrap_or(usize::MAX);
    let Some((reason, oldest, (refused, stored))) =
        first.zip(oldest).and_then(|(reason, oldest)| {
            Some((reason, oldest, entries.split_at_checked(first_count)?))
        })
    else {
        return Refusal::Some(count);
    };
    // The message has whole seconds.
    let is_exact = refused.iter().all(|entry| entry.second() <= oldest)
        && stored.iter().all(|entry| entry.second() >= oldest);
    if !is_exact {
        return Refusal::Some(count);
    }
    let reason = reason.split_once('\'').map_or(*reason, |(reason, _)| reason);
    Refusal::Entries(refused.iter().map(|entry| (entry.index, reason)).collect())
}

/// Interprets the list of a distributor: `N errors like: TEXT; N errors like: TEXT`, or one text.
fn invalid<'m>(message: &'m str, entries: &[Entry]) -> Refusal<'m> {
    let mut refused = BTreeMap::new();
    // Those that are refused because of their time first: Loki does not look at their length.
    let mut texts = grouped(message);
    texts.sort_by_key(|(_, text)| text.contains(TOO_LONG));
    for (count, text) in texts {
        let chosen = if let Some(second) = second_after(text, TOO_OLD) {
            first_of(entries.iter().copied().filter(|entry| entry.second() == second), count)
        } else if let Some(second) = second_after(text, TOO_NEW) {
            first_of(entries.iter().rev().copied().filter(|entry| entry.second() == second), count)
        } else if text.contains(TOO_LONG) {
            let length = number_after(text, "with length '");
            let is_long = |entry: &Entry| {
                length == u64::try_from(entry.length).ok() && !refused.contains_key(&entry.index)
            };
            let long: Vec<_> = entries.iter().copied().filter(is_long).collect();
            first_of(long.iter().copied(), count).filter(|chosen| chosen.len() == long.len())
        } else if text.contains("label") || text.contains("structured metadata") {
            return Refusal::Configuration;
        } else {
            None
        };
        let Some(chosen) = chosen else { return Refusal::Unknown };
        refused.extend(chosen.into_iter().map(|index| (index, text)));
    }
    Refusal::Entries(refused)
}

const TOO_OLD: &str = "has timestamp too old: ";
const TOO_NEW: &str = "has timestamp too new: ";
const TOO_LONG: &str = "max entry size '";

/// The indexes of the first `count` entries; `None` if there are fewer.
fn first_of(entries: impl Iterator<Item = Entry>, count: usize) -> Option<Vec<usize>> {
    let chosen: Vec<_> = entries.take(count).map(|entry| entry.index).collect();
    (chosen.len() == count).then_some(chosen)
}

/// The texts of a list with how often each applies.
fn grouped(message: &str) -> Vec<(usize, &str)> {
    let message = message.trim();
    let Some((count, mut rest)) = counted(message) else { return vec![(1, message)] };
    let (mut texts, mut count) = (Vec::new(), count);
    while let Some((at, next)) = rest
        .match_indices("; ")
        .find_map(|(at, separator)| Some((at, counted(rest.get(at + separator.len()..)?)?)))
    {
        texts.push((count, rest.get(..at).unwrap_or_default()));
        (count, rest) = next;
    }
    texts.push((count, rest));
    texts
}

/// Splits `N errors like: TEXT`.
fn counted(text: &str) -> Option<(usize, &str)> {
    let (count, text) = text.split_once(" errors like: ")?;
    Some((count.parse().ok()?, text))
}

/// The second since 1970 of the RFC 3339 time after `text`.
fn second_after(message: &str, text: &str) -> Option<i64> {
    let (_, rest) = message.split_once(text)?;
    let end = rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | ':' | 'T' | 'Z' | '.'));
    let time: Timestamp =
        rest.get(..end.unwrap_or(rest.len()))?.trim_end_matches('.').parse().ok()?;
    Some(time.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const STREAM: &str = r#"{dataset="a; 7 errors like it", job="logpush"}"#;

    /// Entries at these seconds, with the lengths 10, 11 and so on, and indexes from the last one.
    fn entries(seconds: &[i64]) -> Vec<Entry> {
        let indexes = (0..seconds.len()).rev();
        let entries = seconds.iter().zip(10..).zip(indexes);
        let entry = |((second, length), index)| Entry { time: second * SECOND + 5, length, index };
        entries.map(entry).collect()
    }

    fn list(reasons: &[&str], ignored: usize, total: usize) -> String {
        let line = |reason: &&str| {
            format!(
                "entry with timestamp 2026-11-30 16:00:00 +0000 UTC ignored, reason: '{reason}',\n"
            )
        };
        let lines: String = reasons.iter().map(line).collect();
        format!(
            "{lines}user 'fake', total ignored: {ignored} out of {total} for stream: {STREAM}\n"
        )
    }

    fn refused<'m>(indexes: &[usize], reason: &'m str) -> Refusal<'m> {
        Refusal::Entries(indexes.iter().map(|index| (*index, reason)).collect())
    }

    const OUT_OF_WINDOW: &str = "entry too far behind, entry timestamp is: 1970-01-01T00:00:01Z, oldest acceptable timestamp is: 1970-01-01T01:00:03+01:00";

    #[test]
    fn entries_that_are_too_old_for_the_stream_are_the_first() {
        let sent = entries(&[1, 2, 3, 3, 4]);
        assert_eq!(
            interpret(&list(&[OUT_OF_WINDOW], 2, 5), &sent),
            refused(&[4, 3], OUT_OF_WINDOW)
        );
        assert_eq!(
            interpret(&list(&[OUT_OF_WINDOW, OUT_OF_WINDOW], 3, 5), &sent),
            refused(&[4, 3, 2], OUT_OF_WINDOW)
        );
        let all = "entry too far behind, entry timestamp is: 1970-01-01T00:00:01Z, oldest acceptable timestamp is: 1970-01-01T00:01:00Z";
        assert_eq!(interpret(&list(&[all], 5, 5), &sent), refused(&[0, 1, 2, 3, 4], all));
    }

    #[test]
    fn entries_that_cannot_be_named_are_counted() {
        let sent = entries(&[1, 2, 3, 3, 4]);
        for message in [
            // More, and fewer, than are older.
            list(&[OUT_OF_WINDOW], 5, 5),
            list(&[OUT_OF_WINDOW], 1, 5),
            // A part of the stream in another shard.
            list(&[OUT_OF_WINDOW], 1, 4),
            list(&["entry out of order"], 1, 5),
            list(&[OUT_OF_WINDOW, "entry out of order"], 2, 5),
            list(&[], 3, 5),
        ] {
            assert!(matches!(interpret(&message, &sent), Refusal::Some(1..=5)), "{message}");
        }
        let limit = "Per stream rate limit exceeded (limit: 3MB/sec) while attempting";
        let both = list(&[limit, OUT_OF_WINDOW], 2, 5);
        assert_eq!(interpret(&both, &sent), Refusal::RateLimited);
    }

    #[test]
    fn invalid_entries_are_named_by_time_and_length() {
        let sent = entries(&[1, 2, 2, 3, 9]);
        let old = |second: u32| {
            format!(
                "entry for stream '{STREAM}' has timestamp too old: 1970-01-01T00:00:0{second}Z, oldest acceptable timestamp is: 1970-01-01T00:00:02Z"
            )
        };
        let new =
            format!("entry for stream '{STREAM}' has timestamp too new: 1970-01-01T00:00:09Z");
        let long = format!(
            "max entry size '12' bytes exceeded for stream '{STREAM}' while adding an entry with length '13' bytes"
        );
        assert_eq!(interpret(&format!("{new}\n"), &sent), refused(&[0], &new));
        assert_eq!(interpret(&long, &sent), refused(&[1], &long));
        let (first, second) = (old(1), old(2));
        let message =
            format!("1 errors like: {long}; 2 errors like: {second}; 1 errors like: {first}");
        let Refusal::Entries(found) = interpret(&message, &sent) else { panic!("{message}") };
        let expected = [(1, long.as_str()), (2, &second), (3, &second), (4, &first)];
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
        // Of the same second, the oldest are too old and the newest too new.
        assert_eq!(interpret(&old(2), &sent), refused(&[3], &old(2)));
        let new = new.replace("09Z", "02Z");
        assert_eq!(interpret(&new, &sent), refused(&[2], &new));
    }

    #[test]
    fn other_messages_are_classified() {
        let sent = entries(&[1, 2]);
        for (message, expected) in [
            ("couldn't parse labels: 1:2: parse error", Refusal::Configuration),
            (
                "2 errors like: stream '{}' includes structured metadata, but this",
                Refusal::Configuration,
            ),
            ("error at least one label pair is required per stream", Refusal::Configuration),
            ("unexpected EOF", Refusal::Unknown),
            ("", Refusal::Unknown),
            ("total ignored: many", Refusal::Unknown),
            // More than there are.
            ("5 errors like: entry has timestamp too new: 1970-01-01T00:00:02Z", Refusal::Unknown),
            ("max entry size '1' bytes exceeded with length '99' bytes", Refusal::Unknown),
        ] {
            assert_eq!(interpret(message, &sent), expected, "{message}");
        }
    }
}
