//! When a certificate expires, and how often to warn about it.

use jiff::Timestamp;

use super::Tls;

const DAY: i64 = 24 * 60 * 60;

/// How long before the end to warn: enough time for the authority of a company to issue a certificate.
const SOON: i64 = 21 * DAY;

/// How to renew a certificate that the daemon created.
const SELF_SIGNED: &str = "delete the files cert_file and key_file and reload (SIGHUP), which creates new \
    ones, then copy the new cert_file to the clients that verify it";

/// The validity period of a certificate, in Unix seconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validity {
    /// The beginning.
    pub not_before: i64,
    /// The end.
    pub not_after: i64,
}

impl Validity {
    /// The length of the period, in seconds.
    pub fn lifetime(self) -> i64 {
        self.not_after.saturating_sub(self.not_before).max(0)
    }
}

/// Who renews a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Renewal {
    /// The operator, or a program outside of the daemon.
    External,
    /// The daemon, when a third of the lifetime is left.
    Acme,
    /// The operator deletes the files, and the daemon creates new ones (`self_signed`).
    SelfSigned,
}

impl From<&Tls> for Renewal {
    fn from(tls: &Tls) -> Self {
        match tls {
            _ if tls.acme.is_some() => Self::Acme,
            _ if tls.self_signed => Self::SelfSigned,
            _ => Self::External,
        }
    }
}

/// The state of a certificate that expires soon or has expired.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expiry {
    /// It expires within three weeks.
    Soon {
        /// The number of whole days left; 0 within the last day.
        days: i64,
    },
    /// It has expired.
    Expired,
}

impl Expiry {
    /// `None` if the certificate does not expire soon. `now` is in Unix seconds.
    pub fn of(validity: Validity, renewal: Renewal, now: i64) -> Option<Self> {
        let soon = match renewal {
            Renewal::External | Renewal::SelfSigned => SOON,
            // Some authorities issue for six days. Renewal is due at a third of the lifetime, so a
            // quarter means that it has failed for a while.
            Renewal::Acme => SOON.min(validity.lifetime() / 4),
        };
        match validity.not_after.saturating_sub(now) {
            ..=0 => Some(Self::Expired),
            left if left <= soon => Some(Self::Soon { days: left / DAY }),
            _ => None,
        }
    }

    /// A warning in one line, with what to do.
    pub fn text(self, validity: Validity, renewal: Renewal) -> String {
        let at = Timestamp::from_second(validity.not_after);
        let at = at.map_or_else(|_| String::new(), |at| format!(", at {at}"));
        let remedy = match renewal {
            Renewal::External => "renew it",
            Renewal::Acme => "see the log for why it has not been renewed",
            Renewal::SelfSigned => {
                return match self {
                    Self::Soon { .. } => {
                        format!("the development certificate expires soon{at}: {SELF_SIGNED}")
                    }
                    Self::Expired => format!(
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
            Self::Expired => {
                format!("the certificate has expired{at}, so Cloudflare does not connect: {remedy}")
            }
        }
    }
}

/// Decides when to log a warning: immediately if the state is new, then once a day.
#[derive(Debug, Default)]
pub struct Reminder {
    /// The certificate of the last warning, whether it had expired, and the time of the warning.
    last: Option<(Validity, bool, i64)>,
}

impl Reminder {
    /// The warning that is due now, if one is. `now` is in Unix seconds.
    pub fn due(&mut self, validity: Validity, renewal: Renewal, now: i64) -> Option<Expiry> {
        let expiry = Expiry::of(validity, renewal, now)?;
        let is_expired = expiry == Expiry::Expired;
        if let Some((of, was_expired, at)) = self.last
            && (of, was_expired) == (validity, is_expired)
            // A clock that was set back must not suppress warnings.
            && (at..at.saturating_add(DAY)).contains(&now)
        {
            return None;
        }
        self.last = Some((validity, is_expired, now));
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
    fn the_renewal_follows_from_the_settings() {
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
        assert_eq!(of(false, None), Renewal::External);
        assert_eq!(of(false, Some(acme)), Renewal::Acme);
    }

    #[test]
    fn a_certificate_expires_soon_from_21_days_on() {
        let cases = [
            (END - SOON - 1, None),
            (END - SOON, Some(Expiry::Soon { days: 21 })),
            (END - DAY, Some(Expiry::Soon { days: 1 })),
            (END - 1, Some(Expiry::Soon { days: 0 })),
            (END, Some(Expiry::Expired)),
            (END + 400 * DAY, Some(Expiry::Expired)),
        ];
        for (now, expected) in cases {
            assert_eq!(Expiry::of(YEAR, Renewal::External, now), expected, "{now}");
            assert_eq!(Expiry::of(YEAR, Renewal::Acme, now), expected, "{now}");
            assert_eq!(Expiry::of(YEAR, Renewal::SelfSigned, now), expected, "{now}");
        }
        let text = Expiry::Soon { days: 3 }.text(YEAR, Renewal::External);
        assert!(text.contains("in 3 days, at 2027-01-15T08:00:00Z: renew it"), "{text}");
        let text = Expiry::Soon { days: 3 }.text(YEAR, Renewal::SelfSigned);
        let begin =
            "the development certificate expires soon, at 2027-01-15T08:00:00Z: delete the files";
        assert!(text.starts_with(begin), "{text}");
        let text = Expiry::Expired.text(YEAR, Renewal::SelfSigned);
        assert!(text.starts_with("the development certificate has expired, at 2027"), "{text}");
        assert!(!text.contains("Cloudflare"), "{text}");
        let never = Validity { not_before: 0, not_after: i64::MAX };
        assert!(Expiry::Expired.text(never, Renewal::External).contains("has expired, so"));

        // A certificate for six days that ACME renews is reported only in its last quarter.
        let short = Validity { not_before: END - 6 * DAY, not_after: END };
        assert_eq!(Expiry::of(short, Renewal::Acme, END - 3 * DAY), None);
        assert_eq!(Expiry::of(short, Renewal::Acme, END - DAY), Some(Expiry::Soon { days: 1 }));
        let soon = Some(Expiry::Soon { days: 3 });
        assert_eq!(Expiry::of(short, Renewal::External, END - 3 * DAY), soon);
    }

    #[test]
    fn warnings_are_due_immediately_and_then_once_a_day() {
        let mut reminder = Reminder::default();
        let mut due = |validity, now| reminder.due(validity, Renewal::External, now);
        assert_eq!(due(YEAR, END - 30 * DAY), None);
        let start = END - 20 * DAY;
        let minutes = (0..).map(|minutes| start + minutes * 60).take_while(|now| *now < END);
        assert_eq!(minutes.filter(|now| due(YEAR, *now).is_some()).count(), 20);
        assert_eq!(due(YEAR, END), Some(Expiry::Expired));
        assert_eq!(due(YEAR, END + 60), None);
        // Another certificate that expires soon.
        let other = Validity { not_after: END + DAY, ..YEAR };
        assert_eq!(due(other, END + 60), Some(Expiry::Soon { days: 0 }));
        assert_eq!(due(Validity { not_after: END + 90 * DAY, ..YEAR }, END + 120), None);
    }
}
