//! Determines the state of a job, and explains failures.

use std::fmt;

use jiff::Timestamp;

use super::job::Job;

/// The age up to which the last delivery counts as recent. Logpush sends about every minute, and
/// usually lags by up to three.
const RECENT_SECONDS: i64 = 15 * 60;

/// The state of a job.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum JobState {
    /// Enabled, delivered recently.
    Healthy,
    /// Enabled, no failure, but no recent delivery.
    Quiet,
    /// Enabled, no failure, and no delivery yet.
    New,
    /// Enabled, and the last attempt failed; Cloudflare retries.
    Failing,
    /// Disabled while it was failing.
    Stopped,
    /// Disabled.
    Disabled,
}

impl JobState {
    /// Derives the state from the job that the API returned.
    pub fn from_job(job: &Job, now: Timestamp) -> Self {
        match (job.enabled, job.is_failing(), job.last_complete) {
            (false, true, _) => Self::Stopped,
            (false, false, _) => Self::Disabled,
            (true, true, _) => Self::Failing,
            (true, false, None) => Self::New,
            (true, false, Some(last)) if now.as_second() - last.as_second() > RECENT_SECONDS => {
                Self::Quiet
            }
            (true, false, Some(_)) => Self::Healthy,
        }
    }

    /// Returns the name of the state, for a table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Quiet => "quiet",
            Self::New => "new",
            Self::Failing => "failing",
            Self::Stopped => "stopped",
            Self::Disabled => "disabled",
        }
    }

    /// Explains the state and what to do. `enable` is the command that enables the job.
    pub fn explanation(self, enable: &str) -> String {
        match self {
            Self::Healthy => "the job delivers".into(),
            Self::Quiet => "Cloudflare reports no failure, but the job has not delivered recently: there was nothing to log, the filter matches nothing, or Logpush lags".into(),
            Self::New => "the job has not delivered anything yet; the first delivery takes a few minutes, and there must be something to log".into(),
            Self::Failing => "Cloudflare retries for some hours, then drops the records that it could not deliver; after 24 hours without a success it disables the job. Fix the cause; the job then recovers by itself".into(),
            Self::Stopped => format!("the job was failing, and Cloudflare (after 24 hours without a success) or someone else disabled it. Cloudflare sends nothing, and records from this time are lost. Fix the cause, then run: {enable}"),
            Self::Disabled => format!("Cloudflare sends nothing. To enable the job: {enable}"),
        }
    }
}

/// Explains a failure message from Cloudflare: its cause and what to do.
pub fn advice(message: &str) -> Option<&'static str> {
    let known =
        KNOWN_MESSAGES.iter().find(|(part, _)| message.contains(part)).map(|(_, advice)| *advice);
    known.or_else(|| advice_for_status(find_status(message)?))
}

/// Parts of Cloudflare's messages with their explanation. The first match counts.
const KNOWN_MESSAGES: [(&str, &str); 11] = [
    (
        "because it doesn't contain any IP SANs",
        "the destination contains an IP address that is not in the certificate: use the DNS name of the certificate",
    ),
    (
        "certificate signed by unknown authority",
        "the certificate is self-signed or from a private authority, or the server does not send the intermediate certificates: use a publicly trusted certificate, with its full chain in cert_file",
    ),
    (
        "certificate is valid for",
        "the certificate does not contain the host name of the destination: use a name from the certificate, or get a certificate for this name",
    ),
    (
        "certificate has expired or is not yet valid",
        "renew the certificate, and check the server's clock",
    ),
    (
        "no such host",
        "the host name of the destination does not resolve: check its spelling and the public DNS",
    ),
    (
        "connection refused",
        "nothing listens on that port: check that the daemon is running and that the port is right",
    ),
    (
        "connection reset",
        "the server, or a firewall in front of it, closes the connection: check that the port speaks TLS",
    ),
    (
        "context deadline exceeded",
        "no connection within 5 s, or no progress for 10 s: a firewall drops the packets, or the server or its disk is too slow",
    ),
    (
        "context canceled",
        "no progress for 10 s: the server reads or answers too slowly; lower --max-upload-bytes, and check the server's disk",
    ),
    (
        "first record does not look like a TLS handshake",
        "the port does not speak TLS: check the port",
    ),
    ("i/o timeout", "no connection within 5 s: a firewall drops the packets, or the host is down"),
];

/// Finds the HTTP status of a failed upload in a message such as `to https: status:405`, `status 404`
/// or `error 415: error pushing`.
fn find_status(message: &str) -> Option<u16> {
    let prefixes = ["status:", "status ", "https: ", "error "];
    let mut found = prefixes.iter().flat_map(|prefix| {
        message.match_indices(prefix).filter_map(|(start, prefix)| {
            let rest = message.get(start + prefix.len()..)?;
            let digits =
                rest.get(..3).filter(|_| !rest.as_bytes().get(3).is_some_and(u8::is_ascii_digit));
            digits?.parse().ok().filter(|status| (300..600).contains(status))
        })
    });
    found.next()
}

/// Explains the HTTP status of a refused upload.
pub fn advice_for_status(status: u16) -> Option<&'static str> {
    Some(match status {
        300..=399 => {
            "the server redirects, and Cloudflare does not follow redirects: use the final URL; if Cloudflare Access redirects, add a bypass policy for the path"
        }
        400 => "the server considers the request malformed: see its log",
        401 => {
            "the server does not accept the secret in the destination: compare header_X-Logpush-Secret with the endpoint's secret_file"
        }
        403 => {
            "the server does not accept Cloudflare's addresses: see the endpoint's allow_from, and firewalls in front of the server"
        }
        404 => "the server has no endpoint at this path: compare it with the endpoint's path",
        405 => "the server does not accept POST at this path: compare it with the endpoint's path",
        408 => "the body did not reach the server in time: check the network in between",
        413 => {
            "the batch is over a limit of the server: raise limits.max_body_bytes and limits.max_inflated_bytes (and the limits of any proxy in front), or lower --max-upload-bytes. Cloudflare retries the same batch until it fits"
        }
        415 => {
            "the server does not accept the content type or encoding: check that logpushd answers there"
        }
        503 => {
            "the server cannot accept batches now, mostly because the spool or the disk is full: see its /readyz and its log"
        }
        500..=599 => "the server, or a proxy in front of it, failed: see its log",
        _ => return None,
    })
}

/// A time relative to now, formatted such as `2 hours ago`.
#[derive(Clone, Copy, Debug)]
pub struct RelativeTime {
    /// The current time.
    pub now: Timestamp,
    /// The time to format.
    pub time: Timestamp,
}

impl fmt::Display for RelativeTime {
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
    fn the_state_follows_from_the_members_of_the_job() {
        let now = at(1_000_000);
        let job = |enabled, failing: bool, last: Option<i64>| Job {
            enabled,
            last_error: failing.then_some(now),
            last_complete: last.map(at),
            ..Job::default()
        };
        for (job, state) in [
            (job(true, false, Some(999_100)), JobState::Healthy),
            (job(true, false, Some(999_099)), JobState::Quiet),
            (job(true, false, None), JobState::New),
            (job(true, true, Some(999_999)), JobState::Failing),
            (job(false, true, None), JobState::Stopped),
            (job(false, false, Some(999_999)), JobState::Disabled),
        ] {
            assert_eq!(JobState::from_job(&job, now), state);
        }
        let by_text = Job { enabled: true, error_message: "x".into(), ..Job::default() };
        assert_eq!(JobState::from_job(&by_text, now), JobState::Failing);
        assert!(JobState::Stopped.explanation("do it").ends_with("do it"));
    }

    #[test]
    fn messages_from_cloudflare_are_explained() {
        for (message, expected) in [
            (
                "error validating destination: error writing object: error uploading to https: status:405",
                Some("does not accept POST"),
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
            ("x509: certificate is valid for a, not b", Some("does not contain the host name")),
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
    fn times_are_relative_to_now() {
        for (second, want) in [
            (1_000_000, "just now"),
            (999_940, "60 seconds ago"),
            (999_880, "2 minutes ago"),
            (992_801, "119 minutes ago"),
            (992_800, "2 hours ago"),
            (827_200, "2 days ago"),
            (1_000_100, "in 100 seconds, by this machine's clock"),
        ] {
            assert_eq!(RelativeTime { now: at(1_000_000), time: at(second) }.to_string(), want);
        }
    }
}
