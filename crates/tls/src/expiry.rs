//! How near a certificate is to its end, and how often that is worth a word.

use jiff::Timestamp;

use super::Tls;

const DAY: i64 = 24 * 60 * 60;

/// From here on it is worth a word: what a company's own authority takes to issue one, and then some.
const SOON: i64 = 21 * DAY;

/// How to renew a certificate that the daemon made.
const SELF_SIGNED: &str = "delete the files cert_file and key_file and reload (SIGHUP), which makes new \
    ones, then copy the new cert_file to the clients that verify it";

/// When a certificate may be used, in seconds since 1970.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validity {
    /// From here.
    pub not_before: i64,
    /// To here.
    pub not_after: i64,
}

impl Validity {
    /// All of it.
    pub fn lifetime(self) -> i64 {
        self.not_after.saturating_sub(self.not_before).max(0)
    }
}

/// Who renews a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Renewal {
    /// The operator, or a program of his.
    Outside,
    /// The daemon, when a third of its life is left.
    Acme,
    /// The daemon made it for development (`self_signed`) and makes another one if the files are missing.
    SelfSigned,
}

impl From<&Tls> for Renewal {
    fn from(tls: &Tls) -> Self {
        match tls {
            _ if tls.acme.is_some() => Self::Acme,
            _ if tls.self_signed => Self::SelfSigned,
            _ => Self::Outside,
        }
    }
}

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
    /// `None` if it is far away. `now` is in seconds since 1970.
    pub fn of(validity: Validity, renewal: Renewal, now: i64) -> Option<Self> {
        let soon = match renewal {
            Renewal::Outside | Renewal::SelfSigned => SOON,
            // Some authorities issue for six days. What should long have been renewed is news.
            Renewal::Acme => SOON.min(validity.lifetime() / 4),
        };
        match validity.not_after.saturating_sub(now) {
            ..=0 => Some(Self::Over),
            left if left <= soon => Some(Self::Soon { days: left / DAY }),
            _ => None,
        }
    }

    /// In one line, with what to do.
    pub fn text(self, validity: Validity, renewal: Renewal) -> String {
        let at = Timestamp::from_second(validity.not_after);
        let at = at.map_or_else(|_| String::new(), |at| format!(", at {at}"));
        let remedy = match renewal {
            Renewal::Outside => "renew it",
            Renewal::Acme => "the log says why it is not renewed",
            Renewal::SelfSigned => {
                return match self {
                    Self::Soon { .. } => {
                        format!("the development certificate expires soon{at}: {SELF_SIGNED}")
                    }
                    Self::Over => format!(
                        "the development certificate has expired{at}, so clients that verify it do not \
                         connect: {SELF_SIGNED}"
                    ),
                };
            }
        };
        match self {
            Self::Soon { days: 0 } => format!("the certificate expires within a day{at}: {remedy}"),
            Self::Soon { days: 1 } => format!("the certificate expires in a day{at}: {remedy}"),
            Self::Soon { days } => {
                format!("the certificate expires in {days} days{at}: {remedy}")
            }
            Self::Over => {
                format!("the certificate has expired{at}, so cloudflare does not connect: {remedy}")
            }
        }
    }
}

/// Decides when to say it again: at once when it is news, and then once a day.
#[derive(Debug, Default)]
pub struct Reminder {
    /// Of which certificate, whether it was over, and when it was said.
    last: Option<(Validity, bool, i64)>,
}

impl Reminder {
    /// What is to be said now, in seconds since 1970.
    pub fn due(&mut self, validity: Validity, renewal: Renewal, now: i64) -> Option<Expiry> {
        let expiry = Expiry::of(validity, renewal, now)?;
        let is_over = expiry == Expiry::Over;
        if let Some((of, was_over, at)) = self.last
            && (of, was_over) == (validity, is_over)
            // A clock that was put back must not silence it.
            && (at..at.saturating_add(DAY)).contains(&now)
        {
            return None;
        }
        self.last = Some((validity, is_over, now));
        Some(expiry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Acme, TlsVersion};

    const END: i64 = 1_800_000_000;
    const YEAR: Validity = Validity { not_before: END - 365 * DAY, not_after: END };

    #[test]
    fn who_renews_it_depends_on_the_settings() {
        let of = |self_signed, acme| {
            Renewal::from(&Tls {
                cert_file: "/c".into(),
                key_file: "/k".into(),
                self_signed,
                acme,
                client_ca_file: None,
                min_version: TlsVersion::V1_2,
            })
        };
        let acme = Acme {
            domains: vec!["a.example".to_owned()],
            contact: None,
            directory_url: "https://acme.example/directory".to_owned(),
            directory_ca_file: None,
            cache_dir: "/cache".into(),
        };
        assert_eq!(of(true, None), Renewal::SelfSigned);
        assert_eq!(of(false, None), Renewal::Outside);
        assert_eq!(of(false, Some(acme)), Renewal::Acme);
    }

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
            assert_eq!(Expiry::of(YEAR, Renewal::Outside, now), expected, "{now}");
            assert_eq!(Expiry::of(YEAR, Renewal::Acme, now), expected, "{now}");
            assert_eq!(Expiry::of(YEAR, Renewal::SelfSigned, now), expected, "{now}");
        }
        let text = Expiry::Soon { days: 3 }.text(YEAR, Renewal::Outside);
        assert!(text.contains("in 3 days, at 2027-01-15T08:00:00Z: renew it"), "{text}");
        let text = Expiry::Soon { days: 3 }.text(YEAR, Renewal::SelfSigned);
        let begin =
            "the development certificate expires soon, at 2027-01-15T08:00:00Z: delete the files";
        assert!(text.starts_with(begin), "{text}");
        let text = Expiry::Over.text(YEAR, Renewal::SelfSigned);
        assert!(text.starts_with("the development certificate has expired, at 2027"), "{text}");
        assert!(!text.contains("cloudflare"), "{text}");
        let never = Validity { not_before: 0, not_after: i64::MAX };
        assert!(Expiry::Over.text(never, Renewal::Outside).contains("has expired, so"));

        // One that lives for six days is no news, unless nobody renews it.
        let short = Validity { not_before: END - 6 * DAY, not_after: END };
        assert_eq!(Expiry::of(short, Renewal::Acme, END - 3 * DAY), None);
        assert_eq!(Expiry::of(short, Renewal::Acme, END - DAY), Some(Expiry::Soon { days: 1 }));
        let soon = Some(Expiry::Soon { days: 3 });
        assert_eq!(Expiry::of(short, Renewal::Outside, END - 3 * DAY), soon);
    }

    #[test]
    fn it_is_said_once_a_day_and_at_once_when_it_is_news() {
        let mut reminder = Reminder::default();
        let mut due = |validity, now| reminder.due(validity, Renewal::Outside, now);
        assert_eq!(due(YEAR, END - 30 * DAY), None);
        let begun = END - 20 * DAY;
        let minutes = (0..).map(|minutes| begun + minutes * 60).take_while(|now| *now < END);
        assert_eq!(minutes.filter(|now| due(YEAR, *now).is_some()).count(), 20);
        assert_eq!(due(YEAR, END), Some(Expiry::Over));
        assert_eq!(due(YEAR, END + 60), None);
        // Another one that is soon over as well.
        let other = Validity { not_after: END + DAY, ..YEAR };
        assert_eq!(due(other, END + 60), Some(Expiry::Soon { days: 0 }));
        assert_eq!(due(Validity { not_after: END + 90 * DAY, ..YEAR }, END + 120), None);
    }
}
