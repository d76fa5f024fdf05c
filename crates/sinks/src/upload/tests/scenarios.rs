//! One behavior each.

use std::time::{Duration, Instant};

use super::{
    super::super::{Begin, Resume, Retry, Sink as _, SinkError},
    super::{Limits, Uploader},
    batch,
    stand_in::{Answer, Rules, StandIn},
    world::{End, World},
};

const ORDINARY: Rules = Rules { max_bytes: 1 << 20, words: true, refuses_everything: false };
const ONE_RECORD: Limits = Limits { max_bytes: 1 << 20, max_records: 1 };
const FEW_RECORDS: Limits = Limits { max_bytes: 1 << 20, max_records: 1000 };

/// A world with batches of so many records; `bad` of each batch are refused.
fn world(
    (rules, script): (Rules, &[Answer]),
    (limits, in_flight): (Limits, usize),
    batches: &[(usize, std::ops::Range<usize>)],
) -> World {
    let target = StandIn::new(rules, script.iter().copied());
    let mut world = World::new(target, limits, in_flight, 1);
    let text = |bad: &std::ops::Range<usize>, at| if bad.contains(&at) { "bad" } else { "good" };
    let records = |(count, bad): &(usize, std::ops::Range<usize>)| {
        (0..*count).map(|at| format!("{} {at}", text(bad, at)).into_bytes()).collect()
    };
    world.batches = batches.iter().map(records).collect();
    world
}

/// Gives the uploader a whole batch, which must need no room.
fn give(world: &mut World, uploader: &mut Uploader<StandIn>, sequence: u64) {
    assert_eq!(uploader.begin(&batch(sequence)).unwrap(), Begin::Ready);
    let records = world.batches[usize::try_from(sequence - 1).unwrap()].clone();
    for block in world.blocks(&records) {
        assert_eq!(uploader.arrange(&block).unwrap(), Begin::Ready);
        uploader.write(&block).unwrap();
    }
    uploader.finish().unwrap();
}

/// Retries until nothing is left. Returns the failures.
fn tend(world: &mut World, uploader: &mut Uploader<StandIn>) -> Vec<SinkError> {
    let mut failures = Vec::new();
    for _ in 0..10_000 {
        if uploader.due().is_none() {
            return failures;
        }
        failures.extend(uploader.tend().err());
        world.pass(1);
    }
    panic!("no end: {:?}", failures.last());
}

/// Stores a checkpoint of an uploader that has got all batches up to `handled`.
fn checkpoint(world: &mut World, uploader: &mut Uploader<StandIn>, handled: u64) {
    world.state = uploader.sync().unwrap();
    world.cursor = uploader.in_doubt().map_or(handled, |oldest| oldest - 1);
    world.dead.extend(uploader.dead_letters.take());
}

/// The parts of the identities that were sent since this was last asked: sequence and number.
fn sent(world: &World) -> Vec<String> {
    let sent = std::mem::take(&mut world.target.seen().sent);
    let short = |id: &String| {
        let parts: Vec<_> = id.split('-').collect();
        format!("{}-{}", parts[1], parts[3])
    };
    sent.iter().map(short).collect()
}

/// What is in quarantine: sequence, position, record and reason.
fn letters(world: &World) -> Vec<(u64, u64, &str, &str)> {
    let letters = world.dead.iter().map(|letter| {
        let record = std::str::from_utf8(&letter.record).unwrap();
        (letter.batch.sequence, letter.position, record, letter.reason.as_str())
    });
    letters.collect()
}

#[test]
fn chunks_that_are_answered_out_of_order_are_not_sent_again() {
    let script = [Answer::Slow(5000), Answer::Ordinary, Answer::Ordinary, Answer::Slow(5000)];
    let batches = [(1, 0..0), (1, 0..0), (2, 0..0)];
    let mut world = world((ORDINARY, &script), (ONE_RECORD, 4), &batches);
    let mut uploader = world.open();
    for sequence in 1..=3 {
        give(&mut world, &mut uploader, sequence);
    }
    world.pass(10);
    assert_eq!(uploader.in_doubt(), Some(1), "nothing waits for the answers");
    checkpoint(&mut world, &mut uploader, 3);
    assert_eq!(world.cursor, 0);
    assert_eq!(sent(&world), ["1-0", "2-0", "3-0", "3-1"]);
    drop(uploader);
    world.live(usize::MAX, End::Kill).unwrap();
    assert_eq!(sent(&world), ["1-0", "3-1"]);
    world.check_complete();
}

#[test]
fn a_request_without_an_answer_fails_at_its_deadline() {
    let mut world = world((ORDINARY, &[Answer::Hang]), (FEW_RECORDS, 2), &[(3, 0..0)]);
    let mut uploader = world.open();
    give(&mut world, &mut uploader, 1);
    world.pass(29_999);
    assert_eq!(uploader.tend().unwrap(), Begin::Ready);
    world.pass(2);
    let error = uploader.tend().unwrap_err();
    assert_eq!(error.to_string(), "no answer within 30000 ms");
    assert_eq!((error.resume(), error.retry()), (Resume::Batch, &Retry::Backoff));
    // It is sent again with the next call, and the sink does not work until it is answered.
    assert_eq!(uploader.tend().unwrap(), Begin::CheckpointFirst);
    assert_eq!(uploader.begin(&batch(2)).unwrap(), Begin::CheckpointFirst);
    world.pass(1);
    assert_eq!(uploader.tend().unwrap(), Begin::Ready);
    assert_eq!((uploader.due(), uploader.in_doubt()), (None, None));
    assert_eq!(sent(&world), ["1-0", "1-0"]);
}

#[test]
fn delivery_hears_of_delays_and_of_what_an_operator_must_do() {
    let script = [Answer::Unavailable(Some(7)), Answer::Unauthorized, Answer::Die, Answer::Busy(1)];
    let mut world = world((ORDINARY, &script), (FEW_RECORDS, 2), &[(3, 0..0)]);
    let mut uploader = world.open();
    give(&mut world, &mut uploader, 1);
    let failures = tend(&mut world, &mut uploader);
    let told = failures.iter().map(|error| (error.to_string(), error.retry().clone()));
    let expected = [
        ("503", Retry::After(Duration::from_secs(7))),
        ("401", Retry::Operator { action: "replace the token".to_owned() }),
        ("the request ended without an answer", Retry::Backoff),
        ("429", Retry::Backoff),
    ];
    assert!(told.eq(expected.map(|(text, retry)| (text.to_owned(), retry))), "{failures:?}");
    assert_eq!(sent(&world), ["1-0"; 5]);
}

#[test]
fn a_chunk_that_is_too_large_is_halved() {
    let rules = Rules { max_bytes: 14, ..ORDINARY };
    let mut world = world((rules, &[]), (FEW_RECORDS, 2), &[(4, 0..0)]);
    world.batches[0][2] = b"good, but too long".to_vec();
    let mut uploader = world.open();
    give(&mut world, &mut uploader, 1);
    assert!(tend(&mut world, &mut uploader).is_empty());
    checkpoint(&mut world, &mut uploader, 1);
    assert_eq!(letters(&world), [(1, 3, "good, but too long", "413")]);
    assert_eq!(sent(&world), ["1-0", "1-0.0", "1-0.1", "1-0.1.0", "1-0.1.1"]);
    world.check_complete();
}

#[test]
fn a_record_that_makes_the_target_refuse_its_chunk_is_found() {
    let rules = Rules { words: false, ..ORDINARY };
    let mut world = world((rules, &[]), (FEW_RECORDS, 1), &[(1000, 700..701)]);
    let mut uploader = world.open();
    give(&mut world, &mut uploader, 1);
    assert!(tend(&mut world, &mut uploader).is_empty());
    checkpoint(&mut world, &mut uploader, 1);
    assert_eq!(letters(&world), [(1, 701, "bad 700", "400")]);
    assert!(sent(&world).len() < 25);
    assert_eq!(world.target.seen().taken.len(), 999);
    assert!(world.target.seen().taken.values().all(|times| *times == 1));
}

#[test]
fn records_to_be_sent_again_are_a_chunk_that_survives_a_restart() {
    let script = [Answer::Busy(2), Answer::Hang];
    let mut world = world((ORDINARY, &script), (FEW_RECORDS, 2), &[(6, 3..4)]);
    let mut uploader = world.open();
    give(&mut world, &mut uploader, 1);
    world.pass(1);
    assert_eq!(uploader.tend().unwrap_err().to_string(), "429");
    assert_eq!(uploader.tend().unwrap(), Begin::CheckpointFirst);
    world.pass(1);
    checkpoint(&mut world, &mut uploader, 1);
    drop(uploader);
    let first = sent(&world);
    assert!(first[1].starts_with("1-0.r"), "{first:?}");
    world.live(usize::MAX, End::Kill).unwrap();
    assert_eq!(sent(&world), first[1..]);
    world.check_complete();
    assert_eq!(world.dead.len(), 1);
}

#[test]
fn halves_of_a_chunk_survive_a_restart() {
    let rules = Rules { max_bytes: 14, ..ORDINARY };
    let script = [Answer::Ordinary, Answer::Ordinary, Answer::Hang];
    let mut world = world((rules, &script), (FEW_RECORDS, 2), &[(4, 0..0)]);
    let mut uploader = world.open();
    give(&mut world, &mut uploader, 1);
    for _ in 0..2 {
        world.pass(1);
        assert_eq!(uploader.tend().unwrap(), Begin::Ready);
    }
    checkpoint(&mut world, &mut uploader, 1);
    assert_eq!(sent(&world), ["1-0", "1-0.0", "1-0.1"]);
    drop(uploader);
    world.live(usize::MAX, End::Kill).unwrap();
    assert_eq!(sent(&world), ["1-0.1"]);
    world.check_complete();
}

#[test]
fn a_target_that_refuses_everything_fills_no_quarantine() {
    for words in [true, false] {
        let rules = Rules { words, refuses_everything: true, ..ORDINARY };
        let mut world = world((rules, &[]), (FEW_RECORDS, 2), &[(300, 0..0), (100, 0..0)]);
        let mut uploader = world.open();
        give(&mut world, &mut uploader, 1);
        let mut failures = Vec::new();
        while failures.len() < 50 {
            failures.extend(uploader.tend().err());
            world.pass(1);
        }
        let text = "the target has refused 100 records in a row and accepts none: 400";
        assert!(failures.iter().all(|error| error.to_string() == text), "{:?}", failures[0]);
        assert!(matches!(failures[0].retry(), Retry::Operator { .. }));
        checkpoint(&mut world, &mut uploader, 1);
        assert_eq!(world.dead.len(), 100);
        drop(uploader);
        // A restart does not change that.
        world.live(500, End::Kill).unwrap_err();
        assert_eq!(world.dead.len(), 100);
        // What is in quarantine by now stays there; the rest is delivered.
        world.target.seen().rules.refuses_everything = false;
        world.live(usize::MAX, End::Kill).unwrap();
        assert_eq!(world.dead.len(), 100);
        world.check_complete();
    }
}

#[test]
fn many_refused_records_in_a_row_are_passed_once_another_is_accepted() {
    for words in [true, false] {
        let rules = Rules { words, ..ORDINARY };
        let batches = [(1000, 200..450), (1000, 0..150)];
        let mut world = world((rules, &[]), (FEW_RECORDS, 2), &batches);
        world.live(usize::MAX, End::Kill).unwrap();
        world.check_complete();
        assert_eq!(world.dead.len(), 400);
        let is_alarm = |error: &String| error.contains("accepts none");
        let alarms = world.errors.iter().filter(|error| is_alarm(error)).count();
        assert_eq!(alarms == 0, words, "others of the same request are accepted");
    }
}

#[test]
fn other_limits_begin_a_partly_delivered_batch_again() {
    let script = [Answer::Ordinary, Answer::Hang, Answer::Ordinary];
    let mut world = world((ORDINARY, &script), (ONE_RECORD, 3), &[(2, 0..0), (1, 0..0)]);
    let mut uploader = world.open();
    give(&mut world, &mut uploader, 1);
    give(&mut world, &mut uploader, 2);
    world.pass(1);
    checkpoint(&mut world, &mut uploader, 2);
    drop(uploader);
    let same = sent(&world);
    assert_eq!(same, ["1-0", "1-1", "2-0"]);
    world.selection = "other".to_owned();
    world.live(usize::MAX, End::Kill).unwrap();
    // Batch 2 is complete, however it was cut.
    assert_eq!(sent(&world), ["1-0", "1-1"]);
    world.check_complete();
}

#[test]
fn a_stop_waits_for_requests_only_until_it_is_cancelled() {
    let script = [Answer::Hang, Answer::Ordinary];
    let mut world = world((ORDINARY, &script), (ONE_RECORD, 2), &[(2, 0..0)]);
    let mut uploader = world.open();
    give(&mut world, &mut uploader, 1);
    world.pass(1);
    world.stop.cancel();
    let begin = Instant::now();
    uploader.close().unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(5));
    checkpoint(&mut world, &mut uploader, 1);
    assert_eq!(world.cursor, 0);
    drop(uploader);
    world.stop = tokio_util::sync::CancellationToken::new();
    assert_eq!(sent(&world), ["1-0", "1-1"]);
    world.live(usize::MAX, End::Kill).unwrap();
    assert_eq!(sent(&world), ["1-0"]);
}

#[test]
fn a_cancelled_sink_answers_with_an_error() {
    let mut world = world((ORDINARY, &[Answer::Hang]), (ONE_RECORD, 1), &[(5, 0..0)]);
    let mut uploader = world.open();
    let records = world.batches[0].clone();
    let blocks = world.blocks(&records);
    assert_eq!(uploader.begin(&batch(1)).unwrap(), Begin::Ready);
    for block in &blocks {
        if uploader.arrange(block).unwrap() == Begin::CheckpointFirst {
            break;
        }
        uploader.write(block).unwrap();
    }
    uploader.write(&blocks[0]).unwrap_err();
    assert_eq!(uploader.in_doubt(), None, "the batch is not finished");
    world.stop.cancel();
    uploader.arrange(&blocks[0]).unwrap_err();
    uploader.begin(&batch(1)).unwrap_err();
    uploader.tend().unwrap_err();
}

#[test]
fn the_number_of_open_batches_is_bounded() {
    let batches = vec![(1, 0..0); 1100];
    let mut world = world((ORDINARY, &[Answer::Hang]), (ONE_RECORD, 2), &batches);
    let mut uploader = world.open();
    let mut sequence = 1;
    while uploader.begin(&batch(sequence)).unwrap() == Begin::Ready {
        give(&mut world, &mut uploader, sequence);
        world.pass(1);
        checkpoint(&mut world, &mut uploader, sequence);
        sequence += 1;
    }
    assert_eq!((sequence, world.cursor), (1025, 0));
    drop(uploader);
    sent(&world);
    world.live(usize::MAX, End::Kill).unwrap();
    let again = sent(&world);
    assert_eq!((again[0].as_str(), again[1].as_str(), again.len()), ("1-0", "1025-0", 77));
}
