//! Limits the log lines about failures of the keeper: one line for all files of a round, whenever
//! the cause changes and then once a minute.

use std::{io, time::Instant};

use spool::{durable, log_throttle::FailureThrottle};

/// The failures of one kind of work, which may fail for many files in every round.
#[derive(Default)]
pub(super) struct RoundFailures {
    failures: FailureThrottle,
    files: u64,
    /// The failure that is logged for the round, and its cause.
    shown: Option<(String, io::Error)>,
}

/// What to log about a round.
#[derive(Debug)]
pub(super) enum RoundReport {
    /// Nothing.
    Nothing,
    /// The work failed for this many files.
    Failed {
        /// One of the failures.
        error: io::Error,
        /// How many files it failed for in this round.
        files: u64,
        /// How many rounds with failures were not logged since the last one that was.
        repeated: u64,
    },
    /// The work succeeded after a failure.
    Recovered,
}

impl RoundFailures {
    /// Counts a failure of this round.
    pub(super) fn failed(&mut self, error: io::Error) {
        self.files += 1;
        // The cause is without the path, and the smallest cause is logged: neither another file nor
        // another order of the files is a change.
        let cause = durable::cause(&error);
        if self.shown.as_ref().is_none_or(|(shown, _)| cause < *shown) {
            self.shown = Some((cause, error));
        }
    }

    /// Ends the round.
    pub(super) fn end_round(&mut self, now: Instant) -> RoundReport {
        let files = std::mem::take(&mut self.files);
        match self.shown.take() {
            Some((cause, error)) => match self.failures.failed(&cause, now) {
                Some(repeated) => RoundReport::Failed { error, files, repeated },
                None => RoundReport::Nothing,
            },
            None if self.failures.recovered() => RoundReport::Recovered,
            None => RoundReport::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;

    fn error(path: &str, kind: io::ErrorKind) -> io::Error {
        durable::error_at("compressing", Path::new(path))(kind.into())
    }

    fn failed(report: RoundReport) -> (String, u64, u64) {
        match report {
            RoundReport::Failed { error, files, repeated } => (error.to_string(), files, repeated),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_round_is_one_line_on_each_change_and_then_once_a_minute() {
        let mut round_failures = RoundFailures::default();
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        assert!(matches!(round_failures.end_round(at(0)), RoundReport::Nothing));
        for second in 0..61 {
            let (a, b) = if second % 2 == 0 { ("a", "b") } else { ("c", "a") };
            round_failures.failed(error(a, io::ErrorKind::PermissionDenied));
            round_failures.failed(error(b, io::ErrorKind::StorageFull));
            round_failures.failed(error(b, io::ErrorKind::PermissionDenied));
            let report = round_failures.end_round(at(second));
            if second == 0 || second == 60 {
                let (text, files, repeated) = failed(report);
                assert!(text.contains('b') && text.contains("no storage space"), "{text}");
                assert_eq!((files, repeated), (3, second.saturating_sub(1)));
            } else {
                assert!(matches!(report, RoundReport::Nothing), "{second}: {report:?}");
            }
        }
        round_failures.failed(error("a", io::ErrorKind::PermissionDenied));
        assert_eq!(failed(round_failures.end_round(at(61))).1, 1, "another cause");
        assert!(matches!(round_failures.end_round(at(62)), RoundReport::Recovered));
        assert!(matches!(round_failures.end_round(at(63)), RoundReport::Nothing));
    }
}
