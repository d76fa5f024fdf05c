//! Decides which failures of the keeper are logged: one line for all files of a round, on each change
//! of the cause and then once a minute.

use std::{io, time::Instant};

use spool::{durable, log_throttle::FailureThrottle};

/// One kind of work that may fail for many files, round after round.
#[derive(Default)]
pub(super) struct Trouble {
    failures: FailureThrottle,
    files: u64,
    /// The failure that stands for the round, and its cause.
    shown: Option<(String, io::Error)>,
}

/// What to log about a round.
#[derive(Debug)]
pub(super) enum Report {
    /// Nothing new.
    Nothing,
    /// The work failed for this many files.
    Failed {
        /// One of the failures.
        error: io::Error,
        /// How many files it failed for in this round.
        files: u64,
        /// How many rounds with failures were not logged since the last that was.
        repeated: u64,
    },
    /// The work succeeded after a failure.
    Recovered,
}

impl Trouble {
    /// Counts a failure of this round.
    pub(super) fn failed(&mut self, error: io::Error) {
        self.files += 1;
        // The path in the error does not count: another file with the same cause is no change. The
        // order of the files does not count either.
        let cause = durable::cause(&error);
        if self.shown.as_ref().is_none_or(|(shown, _)| cause < *shown) {
            self.shown = Some((cause, error));
        }
    }

    /// Ends the round.
    pub(super) fn end_round(&mut self, now: Instant) -> Report {
        let files = std::mem::take(&mut self.files);
        match self.shown.take() {
            Some((cause, error)) => match self.failures.failed(&cause, now) {
                Some(repeated) => Report::Failed { error, files, repeated },
                None => Report::Nothing,
            },
            None if self.failures.recovered() => Report::Recovered,
            None => Report::Nothing,
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

    fn failed(report: Report) -> (String, u64, u64) {
        match report {
            Report::Failed { error, files, repeated } => (error.to_string(), files, repeated),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_round_is_one_line_on_each_change_and_then_once_a_minute() {
        let mut trouble = Trouble::default();
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        assert!(matches!(trouble.end_round(at(0)), Report::Nothing));
        for second in 0..61 {
            let (a, b) = if second % 2 == 0 { ("a", "b") } else { ("c", "a") };
            trouble.failed(error(a, io::ErrorKind::PermissionDenied));
            trouble.failed(error(b, io::ErrorKind::StorageFull));
            trouble.failed(error(b, io::ErrorKind::PermissionDenied));
            let report = trouble.end_round(at(second));
            if second == 0 || second == 60 {
                let (text, files, repeated) = failed(report);
                assert!(text.contains('b') && text.contains("no storage space"), "{text}");
                assert_eq!((files, repeated), (3, second.saturating_sub(1)));
            } else {
                assert!(matches!(report, Report::Nothing), "{second}: {report:?}");
            }
        }
        trouble.failed(error("a", io::ErrorKind::PermissionDenied));
        assert_eq!(failed(trouble.end_round(at(61))).1, 1, "another cause");
        assert!(matches!(trouble.end_round(at(62)), Report::Recovered));
        assert!(matches!(trouble.end_round(at(63)), Report::Nothing));
    }
}
