//! What the uploader reports to the metrics.

use std::ops::Range;

use super::{
    super::{Limits, RequestErrorClass as Class, RequestOutcome as Outcome},
    harness::{Harness, ProcessEnd},
    mock_target::{MockTarget, Reply, Rules},
};

const FEW_RECORDS: Limits = Limits { max_bytes: 1 << 20, max_records: 1000 };

/// Delivers one batch, of which the given range of records is refused. Returns the results of the
/// requests, and the number of records that were reported as delivered.
fn deliver(
    rules: Rules,
    script: &[Reply],
    (records, bad): (usize, Range<usize>),
) -> (Vec<(Outcome, Option<Class>)>, u64) {
    let target = MockTarget::new(rules, script.iter().copied());
    let mut harness = Harness::new(target, FEW_RECORDS, 1, 1);
    let record = |at| if bad.contains(&at) { b"bad".to_vec() } else { b"good".to_vec() };
    harness.batches = vec![(0..records).map(record).collect()];
    harness.live(usize::MAX, ProcessEnd::Kill).unwrap();
    harness.check_complete();
    let reported = harness.metrics.reported();
    assert_eq!(reported.opened, 1);
    assert_eq!(reported.sent, reported.results.len(), "each request has ended once");
    (reported.results, reported.delivered)
}

#[test]
fn each_request_has_its_outcome_and_class() {
    let rules = Rules { max_bytes: 1 << 20, per_record: true, refuses_everything: false };
    let script = [
        Reply::Unavailable(None),
        Reply::Unauthorized,
        Reply::Panic,
        Reply::Hang,
        Reply::TakeAndBreak,
        Reply::Busy(2),
    ];
    let (results, delivered) = deliver(rules, &script, (6, 1..2));
    let expected = [
        (Outcome::Retried, Some(Class::Other)),
        (Outcome::ActionRequired, Some(Class::Configuration)),
        (Outcome::Retried, Some(Class::Other)),
        (Outcome::Retried, Some(Class::Timeout)),
        (Outcome::Retried, Some(Class::Other)),
        (Outcome::Partial, Some(Class::Throttled)),
        (Outcome::Delivered, None),
    ];
    assert_eq!(results, expected);
    assert_eq!(delivered, 5, "the refused record is not delivered");
}

#[test]
fn refused_records_are_not_delivered() {
    let rules = Rules { max_bytes: 1 << 20, per_record: true, refuses_everything: false };
    let (results, delivered) = deliver(rules, &[], (8, 2..4));
    assert_eq!(results, [(Outcome::Partial, Some(Class::Refused))]);
    assert_eq!(delivered, 6);

    let rules = Rules { per_record: false, max_bytes: 30, ..rules };
    let (results, delivered) = deliver(rules, &[], (8, 7..8));
    let expected = [
        (Outcome::TooLarge, Some(Class::TooLarge)),
        (Outcome::Delivered, None),
        (Outcome::Refused, Some(Class::Refused)),
        (Outcome::Delivered, None),
        (Outcome::Refused, Some(Class::Refused)),
        (Outcome::Delivered, None),
        (Outcome::Refused, Some(Class::Refused)),
    ];
    assert_eq!((results, delivered), (expected.to_vec(), 7));
}
