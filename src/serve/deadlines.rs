//! How long a connection may take for what, whatever it does.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    ConnectionEnd,
    activity::{Activity, Doing},
};

/// How often a connection is looked at: the most that a deadline is missed by.
pub(super) const LOOK: Duration = Duration::from_secs(5);

pub(super) const DEADLINES: Deadlines = Deadlines {
    handshake: Duration::from_secs(10),
    head: Duration::from_secs(30),
    first_request: Duration::from_secs(30),
    unverified: Some(Duration::from_secs(50)),
    idle: Duration::from_secs(90),
    answer: Duration::from_secs(20),
    close: Duration::from_secs(5),
};

/// On the admin listener: every client is local, and sends its request at once.
pub(super) const ADMIN_DEADLINES: Deadlines = Deadlines {
    handshake: Duration::ZERO,
    head: Duration::from_secs(2),
    first_request: Duration::from_secs(2),
    unverified: None,
    idle: Duration::from_secs(2),
    answer: Duration::from_secs(10),
    close: Duration::from_secs(1),
};

/// How long a connection may take for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadlines {
    /// From the TCP connection to the end of the TLS handshake. Cloudflare itself gives up after 5
    /// s.
    pub(super) handshake: Duration,
    /// HTTP/1.1: for the head of a request, from the end of the one before: there it is the idle
    /// time, too.
    pub(super) head: Duration,
    /// A connection that asks for nothing holds a permit for nothing.
    pub(super) first_request: Duration,
    /// For all of a connection on which no sender is verified, whatever it does.
    pub(super) unverified: Option<Duration>,
    /// What Go's client, and so Cloudflare, keeps an idle connection for: earlier, and requests
    /// would meet connections that are just being closed.
    pub(super) idle: Duration,
    /// For the client to take an answer, or a part of its answers.
    pub(super) answer: Duration,
    /// From the announcement that the connection ends to its end, unless requests are under way.
    pub(super) close: Duration,
}

impl Deadlines {
    /// When the time of a connection is up as it is now. `closing`: since when its end
    /// is announced.
    pub(super) fn next(&self, activity: &Activity, closing: Option<Instant>) -> Instant {
        let now = Instant::now();
        let is_verified = self.unverified.is_none() || activity.is_verified();
        let Some(begun) = closing else {
            let due = match activity.doing() {
                Doing::Requests => now + self.idle.min(self.answer),
                Doing::Answers(since) => since + self.answer,
                Doing::NothingYet(since) => since + self.first_request,
                Doing::NothingSince(since) => since + self.idle,
            };
            let waiting = activity.answers_wait_since().map(|since| since + self.answer);
            let unverified = self.unverified.filter(|_| !is_verified);
            let unverified = unverified.map(|after| activity.begun() + after);
            return [waiting, unverified].into_iter().flatten().fold(due, Instant::min);
        };
        match activity.doing() {
            // Whoever closes it bounds the wait.
            Doing::Requests if is_verified => now + self.close,
            Doing::Requests => begun + self.close,
            Doing::Answers(since) | Doing::NothingYet(since) | Doing::NothingSince(since) => {
                if is_verified {
                    since.max(begun) + self.close
                } else {
                    begun + self.close
                }
            }
        }
    }

    /// Which deadline it was.
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
