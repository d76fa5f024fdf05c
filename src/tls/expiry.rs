//! How near a certificate is to its end, and how often that is worth a word.

use jiff::Timestamp;

const DAY: i64 = 24 * 60 * 60;

/// From here on it is worth a word: what a company's own authority takes to issue one, and then some.
const SOON: i64 = 21 * DAY;

/// A certificate that expires soon, or has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expiry {
    /// In so many whole days.
    Soon {
        /// 0: today.
        days: i64,
    },
    /// It is over.
    Over,
}

impl Expiry {
    /// `None` if it is far away. Both are seconds since 1970.
    pub fn of(not_after: i64, now: i64) -> Option<Self> {
        match not_after.saturating_sub(now) {
            ..=0 => Some(Self::Over),
            left if left <= SOON => Some(Self::Soon { days: left / DAY }),
            _ => None,
        }
    }

    /// In one line, with what to do.
    pub fn text(self, not_after: i64) -> String {
        let at =
            Timestamp::from_second(not_after).map_or_else(|_| String::new(), |at| at.to_string());
        match self {
            Self::Soon { days: 0 } => {
                format!("the certificate expires within a day, at {at}: renew it")
            }
            Self::Soon { days: 1 } => {
                format!("the certificate expires in a day, at {at}: renew it")
            }
            Self::Soon { days } => {
                format!("the certificate expires in {days} days, at {at}: renew it")
            }
            Self::Over => {
                format!("the certificate has expired at {at}, cloudflare refuses it: renew it")
            }
        }
    }
}

/// Decides when to say it again: at once when it is news, and then once a day.
#[derive(Debug, Default)]
pub struct Reminder {
    /// Of which certificate, whether it was over, and when it was said.
    last: Option<(i64, bool, i64)>,
}

impl Reminder {
    /// What is to be said now. Both are seconds since 1970.
    pub fn due(&mut self, not_after: i64, now: i64) -> Option<Expiry> {
        let expiry = Expiry::of(not_after, now)?;
        let is_over = expiry == Expiry::Over;
        if let Some((of, was_over, at)) = self.last
            && (of, was_over) == (not_after, is_over)
            // A clock that was put back must not silence it.
            && (at..at + DAY).contains(&now)
        {
            return None;
        }
        self.last = Some((not_after, is_over, now));
        Some(expiry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: i64 = 1_800_000_000;

    #[test]
    fn from_21_days_on_it_is_soon() {
        let cases = [
            (END - SOON - 1, None),
            (END - SOON, Some(Expiry::Soon { days: 21 })),
            (END - DAY, Some(Expiry::Soon { days: 1 })),
            (END - 1, Some(Expiry::Soon { days: 0 })),
            (END, Some(Expiry::Over)),
            (END + 400 * DAY, Some(Expiry::Over)),
        ];
        for (now, expected) in cases {
            assert_eq!(Expiry::of(END, now), expected, "{now}");
        }
        let text = Expiry::Soon { days: 3 }.text(END);
        assert!(text.contains("in 3 days, at 2027-01-15T08:00:00Z"), "{text}");
        assert!(Expiry::Over.text(i64::MAX).contains("has expired"));
    }

    #[test]
    fn it_is_said_once_a_day_and_at_once_when_it_is_news() {
        let mut reminder = Reminder::default();
        assert_eq!(reminder.due(END, END - 30 * DAY), None);
        let begun = END - 20 * DAY;
        let said = (0..).map(|minutes| begun + minutes * 60).take_while(|now| *now < END);
        let said = said.filter(|now| reminder.due(END, *now).is_some()).count();
        assert_eq!(said, 20);
        assert_eq!(reminder.due(END, END), Some(Expiry::Over));
        assert_eq!(reminder.due(END, END + 60), None);
        // Another one that is soon over as well.
        assert_eq!(reminder.due(END + DAY, END + 60), Some(Expiry::Soon { days: 0 }));
        assert_eq!(reminder.due(END + 90 * DAY, END + 120), None);
    }
}
