//! Single behaviors of the uploader.

use std::time::{Duration, Instant};

use super::{
    super::super::{Readiness, Resume, Retry, Sink as _, SinkError},
    super::{Limits, Uploader},
    batch,
    harness::{Harness, ProcessEnd},
    mock_target::{MockTarget, Reply, Rules},
};

const ORDINARY: Rules = Rules { max_bytes: 1 << 20, per_record: true, refuses_everything: false };
const ONE_RECORD: Limits = Limits { max_bytes: 1 << 20, max_records: 1 };
const FEW_RECORDS: Limits = Limits { max_bytes: 1 << 20, max_records: 1000 };

/// A harness whose batches have the given number of records, of which the given range is refused.
fn harness(
    (rules, script): (Rules, &[Reply]),
    (limits, in_flight): (Limits, usize),
    batches: &[(usize, std::ops::Range<usize>)],
) -> Harness {
    let target = MockTarget::new(rules, script.iter().copied());
    let mut harness = Harness::new(target, limits, in_flight, 1);
    let text = |bad: &std::ops::Range<usize>, at| if bad.contains(&at) { "bad" } else { "good" };
    let records = |(count, bad): &(usize, std::ops::Range<usize>)| {
        (0..*count).map(|at| format!("{} {at}", text(bad, at)).into_bytes()).collect()
    };
    harness.batches = batches.iter().map(records).collect();
    harness
}

/// Writes a whole batch to the uploader, which must have room for it.
fn give(harness: &mut Harness, uploader: &mut Uploader<MockTarget>, sequence: u64) {
    assert_eq!(uploader.begin(&batch(sequence)).unwrap(), Readiness::Ready);
    let records = harness.batches[usize::try_from(sequence - 1).unwrap()].clone();
    for block in harness.blocks(&records) {
        assert_eq!(uploader.prepare_block(&block).unwrap(), Readiness::Ready);
        uploader.write(&block).unwrap();
    }
    uploader.finish().unwrap();
}

/// Retries until all chunks are settled. Returns the failures.
fn maintain(harness: &mut Harness, uploader: &mut Uploader<MockTarget>) -> Vec<SinkError> {
    let mut failures = Vec::new();
    for _ in 0..10_000 {
        if uploader.is_idle() {
            return failures;
        }
        match uploader.maintain() {
            Ok(Readiness::Ready) => {}
            Ok(Readiness::CheckpointFirst) => {
                let handled = harness.batches.len() as u64;
                checkpoint(harness, uploader, handled);
            }
            Err(error) => failures.push(error),
        }
        harness.pass(1);
    }
    panic!("no end: {:?}", failures.last());
}

/// Stores a checkpoint after all batches up to `handled` were written.
fn checkpoint(harness: &mut Harness, uploader: &mut Uploader<MockTarget>, handled: u64) {
    harness.state = uploader.sync().unwrap();
    harness.cursor = uploader.in_doubt().map_or(handled, |oldest| oldest - 1);
    harness.dead.extend(uploader.dead_letters.take());
    uploader.checkpoint_saved();
}

/// The sequences and parts of the identities that were sent since the last call.
fn sent(harness: &Harness) -> Vec<String> {
    let sent = std::mem::take(&mut harness.target.seen().sent);
    let short = |id: &String| {
        let parts: Vec<_> = id.split('-').collect();
        format!("{}-{}", parts[1], parts[3])
    };
    sent.iter().map(short).collect()
}

/// The letters in quarantine: sequence, position, record and reason.
fn letters(harness: &Harness) -> Vec<(u64, u64, &str, &str)> {
    let letters = harness.dead.iter().map(|letter| {
        let record = std::str::from_utf8(&letter.record).unwrap();
        (letter.batch.sequence, letter.position, record, letter.reason.as_str())
    });
    letters.collect()
}

#[test]
fn chunks_that_are_answered_out_of_order_are_not_sent_again() {
    let script = [Reply::Slow(5000), Reply::Ordinary, Reply::Ordinary, Reply::Slow(5000)];
    let batches = [(1, 0..0), (1, 0..0), (2, 0..0)];
    let mut harness = harness((ORDINARY, &script), (ONE_RECORD, 4), &batches);
    let mut uploader = harness.open();
    for sequence in 1..=3 {
        give(&mut harness, &mut uploader, sequence);
    }
    harness.pass(10);
    assert_eq!(uploader.in_doubt(), Some(1), "no call waits for the answers");
    checkpoint(&mut harness, &mut uploader, 3);
    assert_eq!(harness.cursor, 0);
    assert_eq!(sent(&harness), ["1-0", "2-0", "3-0", "3-1"]);
    drop(uploader);
    harness.live(usize::MAX, ProcessEnd::Kill).unwrap();
    assert_eq!(sent(&harness), ["1-0", "3-1"]);
    harness.check_complete();
}

#[test]
fn a_request_without_an_answer_fails_at_its_deadline() {
    let mut harness = harness((ORDINARY, &[Reply::Hang]), (FEW_RECORDS, 2), &[(3, 0..0)]);
    let mut uploader = harness.open();
    give(&mut harness, &mut uploader, 1);
    harness.pass(29_999);
    assert_eq!(uploader.maintain().unwrap(), Readiness::Ready);
    harness.pass(2);
    let error = uploader.maintain().unwrap_err();
    assert_eq!(error.to_string(), "no answer within 30000 ms");
    assert_eq!((error.resume(), error.retry()), (Resume::Batch, &Retry::Backoff));
    // The next call sends it again, and the sink has not recovered until it is answered.
    assert_eq!(uploader.maintain().unwrap(), Readiness::CheckpointFirst);
    assert_eq!(uploader.begin(&batch(2)).unwrap(), Readiness::CheckpointFirst);
    harness.pass(1);
    assert_eq!(uploader.maintain().unwrap(), Readiness::Ready);
    assert_eq!((uploader.due(), uploader.in_doubt()), (None, None));
    assert_eq!(sent(&harness), ["1-0", "1-0"]);
}

#[test]
fn a_delay_counts_for_requests_that_fail_meanwhile_unless_they_need_another() {
    for (second, is_retried) in [(Reply::Hang, true), (Reply::LateUnavailable(5000), false)] {
        let script = [Reply::Unavailable(None), second];
        let mut harness = harness((ORDINARY, &script), (ONE_RECORD, 2), &[(2, 0..0)]);
        let mut uploader = harness.open();
        assert_eq!(uploader.begin(&batch(1)).unwrap(), Readiness::Ready);
        let records = harness.batches[0].clone();
        let blocks = harness.blocks(&records[..1]);
        uploader.write(&blocks[0]).unwrap();
        let blocks = harness.blocks(&records[1..]);
        uploader.write(&blocks[0]).unwrap();
        uploader.finish().unwrap();
        harness.pass(1);
        let _first = uploader.maintain().unwrap_err();
        harness.pass(30_000);
        assert_eq!(uploader.maintain().is_ok(), is_retried);
        harness.pass(1);
        assert_eq!(sent(&harness).len(), if is_retried { 4 } else { 2 });
    }
}

#[test]
fn delays_and_actions_for_the_operator_are_reported_to_delivery() {
    let script = [
        Reply::Unavailable(Some(7)),
        Reply::Unauthorized,
        Reply::Panic,
        Reply::Busy(1),
        Reply::Blocked(1),
    ];
    let mut harness = harness((ORDINARY, &script), (FEW_RECORDS, 2), &[(3, 0..0)]);
    let mut uploader = harness.open();
    give(&mut harness, &mut uploader, 1);
    let failures = maintain(&mut harness, &mut uploader);
    let reported = failures.iter().map(|error| (error.to_string(), error.retry().clone()));
    let expected = [
        ("503", Retry::After(Duration::from_secs(7))),
        ("401", Retry::Operator { action: "replace the token".to_owned() }),
        ("the request ended without an answer", Retry::Backoff),
        ("429", Retry::Backoff),
        ("403", Retry::Operator { action: "unblock the index".to_owned() }),
    ];
    assert!(reported.eq(expected.map(|(text, retry)| (text.to_owned(), retry))), "{failures:?}");
    assert_eq!(sent(&harness), ["1-0"; 6]);
}

#[test]
fn a_chunk_that_is_too_large_is_halved() {
    let rules = Rules { max_bytes: 14, ..ORDINARY };
    let mut harness = harness((rules, &[]), (FEW_RECORDS, 2), &[(4, 0..0)]);
    harness.batches[0][2] = b"good, but too long".to_vec();
    let mut uploader = harness.open();
    give(&mut harness, &mut uploader, 1);
    assert!(maintain(&mut harness, &mut uploader).is_empty());
    checkpoint(&mut harness, &mut uploader, 1);
    assert_eq!(letters(&harness), [(1, 3, "good, but too long", "413")]);
    assert_eq!(sent(&harness), ["1-0", "1-0.0", "1-0.1", "1-0.1.0", "1-0.1.1"]);
    harness.check_complete();
}

#[test]
fn a_record_that_makes_the_target_refuse_its_chunk_is_found() {
    let rules = Rules { per_record: false, ..ORDINARY };
    let mut harness = harness((rules, &[]), (FEW_RECORDS, 1), &[(1000, 700..701)]);
    let mut uploader = harness.open();
    give(&mut harness, &mut uploader, 1);
    assert!(maintain(&mut harness, &mut uploader).is_empty());
    checkpoint(&mut harness, &mut uploader, 1);
    assert_eq!(letters(&harness), [(1, 701, "bad 700", "400")]);
    assert!(sent(&harness).len() < 25);
    assert_eq!(harness.target.seen().taken.len(), 999);
    assert!(harness.target.seen().taken.values().all(|times| *times == 1));
}

#[test]
fn records_to_be_sent_again_are_a_chunk_that_survives_a_restart() {
    let script = [Reply::Busy(2), Reply::Hang];
    let mut harness = harness((ORDINARY, &script), (FEW_RECORDS, 2), &[(6, 3..4)]);
    let mut uploader = harness.open();
    give(&mut harness, &mut uploader, 1);
    harness.pass(1);
    assert_eq!(uploader.maintain().unwrap_err().to_string(), "429");
    assert_eq!(uploader.maintain().unwrap(), Readiness::CheckpointFirst);
    harness.pass(1);
    checkpoint(&mut harness, &mut uploader, 1);
    drop(uploader);
    let first = sent(&harness);
    assert!(first[1].starts_with("1-0.r"), "{first:?}");
    harness.live(usize::MAX, ProcessEnd::Kill).unwrap();
    assert_eq!(sent(&harness), first[1..]);
    harness.check_complete();
    assert_eq!(harness.dead.len(), 1);
}

#[test]
fn halves_of_a_chunk_survive_a_restart() {
    let rules = Rules { max_bytes: 14, ..ORDINARY };
    let script = [Reply::Ordinary, Reply::Ordinary, Reply::Hang];
    let mut harness = harness((rules, &script), (FEW_RECORDS, 2), &[(4, 0..0)]);
    let mut uploader = harness.open();
    give(&mut harness, &mut uploader, 1);
    harness.pass(1);
    assert_eq!(uploader.maintain().unwrap(), Readiness::CheckpointFirst);
    checkpoint(&mut harness, &mut uploader, 1);
    assert_eq!(sent(&harness), ["1-0"]);
    assert_eq!(uploader.maintain().unwrap(), Readiness::Ready);
    harness.pass(1);
    checkpoint(&mut harness, &mut uploader, 1);
    assert_eq!(sent(&harness), ["1-0.0", "1-0.1"]);
    drop(uploader);
    harness.live(usize::MAX, ProcessEnd::Kill).unwrap();
    assert_eq!(sent(&harness), ["1-0.1"]);
    harness.check_complete();
}

#[test]
fn a_chunk_that_was_halved_is_never_accepted_as_a_whole() {
    let rules = Rules { max_bytes: 14, ..ORDINARY };
    let mut harness = harness((rules, &[]), (FEW_RECORDS, 2), &[(4, 0..0)]);
    let mut uploader = harness.open();
    give(&mut harness, &mut uploader, 1);
    for _ in 0..10 {
        harness.pass(1);
        assert!(uploader.maintain().is_ok());
    }
    // The process is killed before a checkpoint, and the target accepts larger requests.
    drop(uploader);
    harness.target.seen().rules.max_bytes = 1000;
    harness.live(usize::MAX, ProcessEnd::Kill).unwrap();
    assert_eq!(sent(&harness), ["1-0", "1-0"]);
    assert!(harness.target.seen().taken.values().all(|times| *times == 1));
}

#[test]
fn a_target_that_refuses_everything_fills_no_quarantine() {
    for per_record in [true, false] {
        let rules = Rules { per_record, refuses_everything: true, ..ORDINARY };
        let mut harness = harness((rules, &[]), (FEW_RECORDS, 2), &[(300, 0..0), (100, 0..0)]);
        let mut uploader = harness.open();
        give(&mut harness, &mut uploader, 1);
        let mut failures = Vec::new();
        while failures.len() < 50 {
            match uploader.maintain() {
                Ok(Readiness::Ready) => {}
                Ok(Readiness::CheckpointFirst) => checkpoint(&mut harness, &mut uploader, 1),
                Err(error) => failures.push(error),
            }
            harness.pass(1);
        }
        let text = "the target has refused 100 records in a row and accepts none: 400";
        assert!(failures.iter().all(|error| error.to_string() == text), "{:?}", failures[0]);
        assert!(matches!(failures[0].retry(), Retry::Operator { .. }));
        checkpoint(&mut harness, &mut uploader, 1);
        assert_eq!(harness.dead.len(), 100);
        drop(uploader);
        // A restart does not change that.
        harness.live(500, ProcessEnd::Kill).unwrap_err();
        assert_eq!(harness.dead.len(), 100);
        // Records in quarantine stay there; the rest is delivered.
        harness.target.seen().rules.refuses_everything = false;
        harness.live(usize::MAX, ProcessEnd::Kill).unwrap();
        assert_eq!(harness.dead.len(), 100);
        harness.check_complete();
    }
}

#[test]
fn more_refused_records_go_into_quarantine_once_another_is_accepted() {
    for per_record in [true, false] {
        let rules = Rules { per_record, ..ORDINARY };
        let batches = [(1000, 200..450), (1000, 0..150)];
        let mut harness = harness((rules, &[]), (FEW_RECORDS, 2), &batches);
        harness.live(usize::MAX, ProcessEnd::Kill).unwrap();
        harness.check_complete();
        assert_eq!(harness.dead.len(), 400);
        let is_alarm = |error: &String| error.contains("accepts none");
        let alarms = harness.errors.iter().filter(|error| is_alarm(error)).count();
        assert_eq!(alarms == 0, per_record, "others of the same request are accepted");
    }
}

#[test]
fn other_limits_begin_a_partly_delivered_batch_again() {
    let script = [Reply::Ordinary, Reply::Hang, Reply::Ordinary];
    let mut harness = harness((ORDINARY, &script), (ONE_RECORD, 3), &[(2, 0..0), (1, 0..0)]);
    let mut uploader = harness.open();
    give(&mut harness, &mut uploader, 1);
    give(&mut harness, &mut uploader, 2);
    harness.pass(1);
    checkpoint(&mut harness, &mut uploader, 2);
    drop(uploader);
    let same = sent(&harness);
    assert_eq!(same, ["1-0", "1-1", "2-0"]);
    harness.selection = "other".to_owned();
    harness.live(usize::MAX, ProcessEnd::Kill).unwrap();
    // Batch 2 is complete, with any limits.
    assert_eq!(sent(&harness), ["1-0", "1-1"]);
    harness.check_complete();
}

#[test]
fn a_stop_waits_for_requests_only_until_it_is_cancelled() {
    let script = [Reply::Hang, Reply::Ordinary];
    let mut harness = harness((ORDINARY, &script), (ONE_RECORD, 2), &[(2, 0..0)]);
    let mut uploader = harness.open();
    give(&mut harness, &mut uploader, 1);
    harness.pass(1);
    harness.stop.cancel();
    let begin = Instant::now();
    uploader.close().unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(5));
    checkpoint(&mut harness, &mut uploader, 1);
    assert_eq!(harness.cursor, 0);
    drop(uploader);
    harness.stop = tokio_util::sync::CancellationToken::new();
    assert_eq!(sent(&harness), ["1-0", "1-1"]);
    harness.live(usize::MAX, ProcessEnd::Kill).unwrap();
    assert_eq!(sent(&harness), ["1-0"]);
}

#[test]
fn a_cancelled_sink_returns_errors() {
    let mut harness = harness((ORDINARY, &[Reply::Hang]), (ONE_RECORD, 1), &[(5, 0..0)]);
    let mut uploader = harness.open();
    let records = harness.batches[0].clone();
    let blocks = harness.blocks(&records);
    assert_eq!(uploader.begin(&batch(1)).unwrap(), Readiness::Ready);
    for block in &blocks {
        if uploader.prepare_block(block).unwrap() == Readiness::CheckpointFirst {
            break;
        }
        uploader.write(block).unwrap();
    }
    uploader.write(&blocks[0]).unwrap_err();
    assert_eq!(uploader.in_doubt(), None, "the batch is not finished");
    harness.stop.cancel();
    uploader.prepare_block(&blocks[0]).unwrap_err();
    uploader.begin(&batch(1)).unwrap_err();
    uploader.maintain().unwrap_err();
}

#[test]
fn the_number_of_open_batches_is_bounded() {
    let batches = vec![(1, 0..0); 1100];
    let mut harness = harness((ORDINARY, &[Reply::Hang]), (ONE_RECORD, 2), &batches);
    let mut uploader = harness.open();
    let mut sequence = 1;
    while uploader.begin(&batch(sequence)).unwrap() == Readiness::Ready {
        give(&mut harness, &mut uploader, sequence);
        harness.pass(1);
        checkpoint(&mut harness, &mut uploader, sequence);
        sequence += 1;
    }
    assert_eq!((sequence, harness.cursor), (1025, 0));
    drop(uploader);
    sent(&harness);
    harness.live(usize::MAX, ProcessEnd::Kill).unwrap();
    let resent = sent(&harness);
    assert_eq!((resent[0].as_str(), resent[1].as_str(), resent.len()), ("1-0", "1025-0", 77));
}

#[test]
fn nothing_is_due_until_a_request_ends_and_wakes_the_thread() {
    let script = [Reply::Slow(1000), Reply::Unavailable(None)];
    let mut harness = harness((ORDINARY, &script), (FEW_RECORDS, 1), &[(3, 0..0), (3, 0..0)]);
    let wakes = |harness: &Harness| harness.wakes.load(std::sync::atomic::Ordering::SeqCst);
    let mut uploader = harness.open();
    give(&mut harness, &mut uploader, 1);
    give(&mut harness, &mut uploader, 2);
    harness.pass(999);
    assert_eq!((uploader.due(), wakes(&harness)), (None, 0), "no answer");
    harness.pass(2);
    assert!(uploader.due().is_some_and(|at| at <= Instant::now()));
    assert_eq!(wakes(&harness), 1);
    // The second batch was waiting for room.
    assert_eq!(uploader.maintain().unwrap(), Readiness::Ready);
    assert_eq!(uploader.due(), None);
    harness.pass(1);
    assert_eq!((uploader.due().is_some(), wakes(&harness)), (true, 2));
    assert_eq!(uploader.maintain().unwrap_err().to_string(), "503");
    assert!(uploader.due().is_some(), "the failed chunk is left");
    maintain(&mut harness, &mut uploader);
    assert_eq!((uploader.due(), wakes(&harness)), (None, 3));
    assert_eq!(sent(&harness), ["1-0", "2-0", "2-0"]);
}
