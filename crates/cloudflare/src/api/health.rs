//! Whether a job is healthy, and what to do if not.

use std::fmt;

use jiff::Timestamp;

use super::job::Job;

/// A job that has delivered within this time is healthy: Logpush works at intervals of about a minute,
/// and is seen to lag by three.
const FRESH_SECONDS: i64 = 15 * 60;

/// How a job is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It has delivered lately.
    Healthy,
    /// It reports no failure, but has not delivered for a while.
    Quiet,
    /// It has never delivered, and reports no failure.
    New,
    /// The last attempt failed; Cloudflare goes on trying.
    Failing,
    /// It is disabled, and was failing before.
    Stopped,
    /// It is disabled.
    Disabled,
}

impl State {
    /// What the API's answer says of it.
    pub fn of(job: &Job, now: Timestamp) -> Self {
        match (job.enabled, job.is_failing(), job.last_complete) {
            (false, true, _) => Self::Stopped,
            (false, false, _) => Self::Disabled,
            (true, true, _) => Self::Failing,
            (true, false, None) => Self::New,
            (true, false, Some(last)) if now.as_second() - last.as_second() > FRESH_SECONDS => {
                Self::Quiet
            }
            (true, false, Some(_)) => Self::Healthy,
        }
    }

    /// For a table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Quiet => "quiet",
            Self::New => "new",
            Self::Failing => "failing",
            Self::Stopped => "stopped",
            Self::Disabled => "disabled",
        }
    }

    /// What it means, and what to do. `enable` is the command that enables the job.
    pub fn explanation(self, enable: &str) -> String {
        match self {
            Self::Healthy => "it delivers".into(),
            Self::Quiet => "no failure is reported, but nothing was delivered for a while: there was nothing to log, or the filter matches nothing, or Logpush lags".into(),
            Self::New => "it has not delivered anything yet: that takes some minutes after it was enabled, and there must be something to log".into(),
            Self::Failing => "Cloudflare tries again for some hours, then drops what it could not deliver; after 24 hours without a success it disables the job. Put the cause right: nothing else is to be done".into(),
            Self::Stopped => format!("it was failing, and then Cloudflare disabled it (after 24 hours without a success) or somebody did. Nothing is sent, and what there was to log meanwhile is lost. Put the cause right, then: {enable}"),
            Self::Disabled => format!("nothing is sent. To begin: {enable}"),
        }
    }
}

/// What a failure in Cloudflare's words comes from, and what to do.
pub fn advice(message: &str) -> Option<&'static str> {
    let known = WORDS.iter().find(|(words, _)| message.contains(words)).map(|(_, advice)| *advice);
    known.or_else(|| advice_on_status(status_in(message)?))
}

/// Cloudflare's words, and what they come from. The first that are found count.
const WORDS: [(&str, &str); 11] = [
    (
        "because it doesn't contain any IP SANs",
        "the destination names an IP address, and the certificate does not: use the DNS name that it was issued for",
    ),
    (
        "certificate signed by unknown authority",
        "the certificate is self-signed or from a private authority, or the server does not send the intermediate ones: use a publicly trusted certificate, with its full chain in cert_file",
    ),
    (
        "certificate is valid for",
        "the certificate is for another name than that of the destination",
    ),
    (
        "certificate has expired or is not yet valid",
        "renew the certificate, and check the server's clock",
    ),
    (
        "no such host",
        "the destination's name does not resolve: check its spelling and the public DNS",
    ),
    (
        "connection refused",
        "nobody listens on that port: is the daemon running, and the port the right one?",
    ),
    ("connection reset", "the server, or a firewall before it, hangs up: is it TLS on that port?"),
    (
        "context deadline exceeded",
        "no connection within 5 s, or no progress for 10 s: a firewall drops the packets, or the server is too slow",
    ),
    (
        "context canceled",
        "no progress for 10 s: the server takes too long to read or to answer; lower --max-upload-bytes, or see what its disk does",
    ),
    (
        "first record does not look like a TLS handshake",
        "that port speaks no TLS: is it the right one?",
    ),
    (
        "i/o timeout",
        "no connection within 5 s: a firewall drops the packets, or the server is down",
    ),
];

/// The status that a failed upload was answered with: `to https: status:405`, `status 404`,
/// `error 415: error pushing`.
fn status_in(message: &str) -> Option<u16> {
    let marks = ["status:", "status ", "https: ", "error "];
    let mut found = marks.iter().flat_map(|mark| {
        message.match_indices(mark).filter_map(|(place, mark)| {
            let rest = message.get(place + mark.len()..)?;
            let digits =
                rest.get(..3).filter(|_| !rest.as_bytes().get(3).is_some_and(u8::is_ascii_digit));
            digits?.parse().ok().filter(|status| (300..600).contains(status))
        })
    });
    found.next()
}

/// What a server that refuses means by its status.
pub fn advice_on_status(status: u16) -> Option<&'static str> {
    Some(match status {
        300..=399 => {
            "the server redirects, which Cloudflare does not follow: name the final URL; Cloudflare Access needs a bypass policy for it"
        }
        400 => "the server found the request malformed: see its log",
        401 => {
            "the secret in the destination is not, or no longer, one of the server's: compare header_X-Logpush-Secret with the endpoint's secret_file"
        }
        403 => {
            "the server does not let Cloudflare's addresses in: see the endpoint's allow_from, and firewalls before it"
        }
        404 => "there is nothing at that path: compare it with the endpoint's path",
        405 => "what is at that path takes no POST: compare it with the endpoint's path",
        408 => "the server waited in vain for the body: see the network between",
        413 => {
            "the batch is over a limit of the server: raise limits.max_body_bytes and limits.max_inflated_bytes (and those of any proxy before it), or lower --max-upload-bytes. Cloudflare sends the same batch again until it fits"
        }
        415 => {
            "the server wants another content type or encoding: is it logpushd that answers there?"
        }
        503 => {
            "the server cannot take anything now: see its /readyz and its log; most often the spool or the disk is full"
        }
        500..=599 => "the server, or a proxy before it, failed: see its log",
        _ => return None,
    })
}

/// How long ago a time was.
#[derive(Clone, Copy, Debug)]
pub struct Ago {
    /// What is looked back from.
    pub now: Timestamp,
    /// When it was.
    pub time: Timestamp,
}

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.now.as_second() - self.time.as_second();
        let (count, unit) = match seconds.abs() {
            0..=1 => return f.write_str("just now"),
            seconds @ ..120 => (seconds, "second"),
            seconds @ ..7_200 => (seconds / 60, "minute"),
            seconds @ ..172_800 => (seconds / 3_600, "hour"),
            seconds => (seconds / 86_400, "day"),
        };
        match seconds {
            0.. => write!(f, "{count} {unit}s ago"),
            _ => write!(f, "in {count} {unit}s, by this machine's clock"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_state_follows_from_what_the_api_says() {
        let now = at(1_000_000);
        let job = |enabled, failing: bool, last: Option<i64>| Job {
            enabled,
            last_error: failing.then_some(now),
            last_complete: last.map(at),
            ..Job::default()
        };
        for (job, state) in [
            (job(true, false, Some(999_100)), State::Healthy),
            (job(true, false, Some(999_099)), State::Quiet),
            (job(true, false, None), State::New),
            (job(true, true, Some(999_999)), State::Failing),
            (job(false, true, None), State::Stopped),
            (job(false, false, Some(999_999)), State::Disabled),
        ] {
            assert_eq!(State::of(&job, now), state);
        }
        let by_text = Job { enabled: true, error_message: "x".into(), ..Job::default() };
        assert_eq!(State::of(&by_text, now), State::Failing);
        assert!(State::Stopped.explanation("do it").ends_with("do it"));
    }

    #[test]
    fn cloudflare_s_words_are_known() {
        for (message, expected) in [
            (
                "error validating destination: error writing object: error uploading to https: status:405",
                Some("takes no POST"),
            ),
            (
                "error 415: error pushing: error uploading to https: 415 {\"message\":\"wrong Content-Type header\"}",
                Some("content type"),
            ),
            (
                "error 500: error pushing: error uploading to https: status:500",
                Some("failed: see its log"),
            ),
            ("error uploading to https: status 404", Some("compare it with the endpoint's path")),
            ("error uploading to https: status:302", Some("Access")),
            (
                "error uploading to https: 413 {\"error\":\"over the limit of 2000000000\"}",
                Some("max_inflated_bytes"),
            ),
            ("Post \"https://a.b.c.d:12469\": context deadline exceeded", Some("firewall")),
            (
                "x509: cannot validate certificate for a.b.c.d because it doesn't contain any IP SANs",
                Some("DNS name"),
            ),
            ("x509: certificate signed by unknown authority", Some("full chain")),
            ("x509: certificate is valid for a, not b", Some("another name")),
            ("dial tcp: lookup h: no such host", Some("resolve")),
            ("error validating destination: error writing object: error uploading", None),
            ("error 9999: something", None),
            ("", None),
        ] {
            let found = advice(message);
            match expected {
                Some(expected) => {
                    assert!(
                        found.is_some_and(|text| text.contains(expected)),
                        "{message}: {found:?}"
                    );
                }
                None => assert_eq!(found, None, "{message}"),
            }
        }
    }

    #[test]
    fn times_are_told_in_words() {
        for (second, want) in [
            (1_000_000, "just now"),
            (999_940, "60 seconds ago"),
            (999_880, "2 minutes ago"),
            (992_801, "119 minutes ago"),
            (992_800, "2 hours ago"),
            (827_200, "2 days ago"),
            (1_000_100, "in 100 seconds, by this machine's clock"),
        ] {
            assert_eq!(Ago { now: at(1_000_000), time: at(second) }.to_string(), want);
        }
    }
}
