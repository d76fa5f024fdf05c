//! A circuit breaker, which distinguishes a target that refuses everything from one that refuses
//! some records.

/// The maximum number of consecutive refused records that go into quarantine. If the target has
/// refused this many and accepted none in between, the cause is the target or the configuration,
/// not the records.
const MAX_REFUSED_IN_A_ROW: u32 = 100;

/// Counts the records that were refused since one was last accepted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Breaker {
    refused: u32,
}

impl Breaker {
    /// Continues with a number that [`Breaker::refused`] has returned.
    pub(super) fn resume(refused: u32) -> Self {
        Self { refused: refused.min(MAX_REFUSED_IN_A_ROW) }
    }

    /// The number of records that were refused in a row.
    pub(super) fn refused(self) -> u32 {
        self.refused
    }

    /// How many more records may go into quarantine before one is accepted.
    pub(super) fn left(self) -> usize {
        usize::try_from(MAX_REFUSED_IN_A_ROW.saturating_sub(self.refused)).unwrap_or(0)
    }

    /// Whether no more records may go into quarantine before one is accepted.
    pub(super) fn is_open(self) -> bool {
        self.refused >= MAX_REFUSED_IN_A_ROW
    }

    /// Counts a record that was put into quarantine.
    pub(super) fn count_refused(&mut self) {
        self.refused = self.refused.saturating_add(1);
    }

    /// Closes the breaker: the target has accepted a record.
    pub(super) fn close(&mut self) {
        self.refused = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_refusals_in_a_row_only() {
        let mut breaker = Breaker::default();
        for _ in 0..2 {
            for _ in 0..MAX_REFUSED_IN_A_ROW {
                assert!(!breaker.is_open());
                breaker.count_refused();
            }
            assert!(breaker.is_open() && Breaker::resume(breaker.refused()).is_open());
            breaker.close();
        }
        for _ in 0..5 * MAX_REFUSED_IN_A_ROW {
            breaker.count_refused();
            breaker.close();
        }
        assert!(!breaker.is_open());
    }
}
