//! Deadlines of a connection.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    ConnectionEnd,
    activity::{Activity, Phase},
};

/// Interval at which deadlines are checked, and thus the longest delay after a deadline.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(5);

pub(super) const DEADLINES: Deadlines = Deadlines {
    handshake: Duration::from_secs(10),
    head: Duration::from_secs(30),
    first_request: Duration::from_secs(30),
    unverified: Some(Duration::from_secs(50)),
    idle: Duration::from_secs(90),
    answer: Duration::from_secs(20),
    close: Duration::from_secs(5),
};

/// Deadlines of the admin listener, where every client is local and sends its request at once.
pub(super) const ADMIN_DEADLINES: Deadlines = Deadlines {
    handshake: Duration::ZERO,
    head: Duration::from_secs(2),
    first_request: Duration::from_secs(2),
    unverified: None,
    idle: Duration::from_secs(2),
    answer: Duration::from_secs(10),
    close: Duration::from_secs(1),
};

/// Time that a connection may take for each step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// From the TCP connection to the end of the TLS handshake. Cloudflare itself gives up after 5
    /// s.
    pub(super) handshake: Duration,
    /// HTTP/1.1: for the head of a request, from the end of the previous request. Includes the idle
    /// time.
    pub(super) head: Duration,
    /// For the first request.
    pub(super) first_request: Duration,
    /// For a whole connection without a verified sender, whatever it does.
    pub(super) unverified: Option<Duration>,
    /// For an idle connection. Go's client, and so Cloudflare, closes it after the same time. A
    /// shorter time would close connections while requests are being sent.
    pub(super) idle: Duration,
    /// For the client to receive an answer, or a part of its answers.
    pub(super) answer: Duration,
    /// From the announcement that the connection ends to its end, unless requests are in progress.
    pub(super) close: Duration,
}

impl Deadlines {
    /// Returns the next deadline of a connection in its current state. `closing` is when its end
    /// was announced.
    pub(super) fn next(&self, activity: &Activity, closing: Option<Instant>) -> Instant {
        let now = Instant::now();
        let is_verified = self.unverified.is_none() || activity.is_verified();
        let Some(begun) = closing else {
            let due = match activity.phase() {
                Phase::Requests => now + self.idle.min(self.answer),
                Phase::Answers(since) => since + self.answer,
                Phase::Fresh(since) => since + self.first_request,
                Phase::Idle(since) => since + self.idle,
            };
            let waiting = activity.answers_wait_since().map(|since| since + self.answer);
            let unverified = self.unverified.filter(|_| !is_verified);
            let unverified = unverified.map(|after| activity.begun() + after);
            return [waiting, unverified].into_iter().flatten().fold(due, Instant::min);
        };
        match activity.phase() {
            // The shutdown of the daemon limits this wait.
            Phase::Requests if is_verified => now + self.close,
            Phase::Requests => begun + self.close,
            Phase::Answers(since) | Phase::Fresh(since) | Phase::Idle(since) => {
                if is_verified {
                    since.max(begun) + self.close
                } else {
                    begun + self.close
                }
            }
        }
    }

    /// Returns which deadline was missed.
    pub(super) fn missed(&self, activity: &Activity, now: Instant) -> ConnectionEnd {
        let is_over = |since: Instant, after: Duration| since + after <= now;
        if activity.answers_wait_since().is_some_and(|since| is_over(since, self.answer)) {
            return ConnectionEnd::AnswerTimeout;
        }
        match self.unverified {
            Some(after) if !activity.is_verified() && is_over(activity.begun(), after) => {
                ConnectionEnd::Unverified
            }
            _ => ConnectionEnd::Idle,
        }
    }
}
