//! Gets a certificate from an ACME directory, and renews it (RFC 8555), with the challenge
//! TLS-ALPN-01 on the daemon's own listener.
//!
//! [`run`] schedules attempts, `order` orders a certificate, `cache` stores it, and `failure` has
//! the errors. [`Acceptor`] takes the certificate into use.

mod cache;
mod failure;
mod http;
mod order;
mod schedule;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use self::{
    failure::{AttemptError, ErrorKind},
    schedule::{RetryDelays, Spread},
};
use crate::{
    audit::{self, Event},
    blocking,
    logging::list,
    metrics::Metrics,
    tls::{Acceptor, Acme, TlsError, Validity},
};

/// Interval at which the time of the renewal is checked, since the clock may change and a machine
/// may sleep.
const CHECK_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Timeout of an attempt: a dozen requests, and some connections of the directory to the daemon.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Gets and renews certificates while the configuration uses ACME. Never ends.
pub async fn run(acceptor: Arc<Acceptor>, metrics: Arc<Metrics>) {
    let attempt = |acme: Acme| {
        let acceptor = Arc::clone(&acceptor);
        async move { attempt(&acme, &acceptor).await }
    };
    schedule_attempts(&acceptor, &metrics, attempt).await;
}

/// Runs `attempt` whenever a certificate is due.
async fn schedule_attempts<Attempt: Future<Output = Result<(), AttemptError>>>(
    acceptor: &Acceptor,
    metrics: &Metrics,
    attempt: impl Fn(Acme) -> Attempt,
) {
    let (spread, mut delays) = (Spread::new(), RetryDelays::default());
    let mut pause: Option<Pause> = None;
    // Created first, so that no reload is missed.
    let mut reloads = acceptor.reloads();
    loop {
        let Some((acme, validity)) = acceptor.acme() else {
            // The acceptor outlives this.
            reloads.changed().await.ok();
            continue;
        };
        let paused = pause.as_ref().map_or(Duration::ZERO, |pause| pause.left(&acme));
        let wait = paused.max(until_renewal(validity, spread));
        if !wait.is_zero() {
            if timeout(wait.min(CHECK_INTERVAL), reloads.changed()).await.is_ok() {
                // The reload may have fixed the cause.
                pause = pause.filter(|pause| pause.after == After::Success);
                delays = RetryDelays::default();
            }
            continue;
        }
        if pause.as_ref().is_some_and(|pause| pause.of != acme) {
            delays = RetryDelays::default();
        }
        // The attempt uses all reloads until here.
        reloads.mark_unchanged();
        let (after, wait) = match attempt(acme.clone()).await {
            Ok(()) => {
                delays = RetryDelays::default();
                let now = acceptor.acme().and_then(|(_, validity)| validity);
                let delay = |validity| schedule::min_interval(validity, spread);
                (After::Success, now.map_or(CHECK_INTERVAL, delay))
            }
            Err(failure) => {
                // A reload during the attempt may have fixed the cause.
                let is_reloaded = reloads.has_changed().unwrap_or(false);
                let wait = if is_reloaded {
                    delays = RetryDelays::default();
                    Duration::ZERO
                } else {
                    delays.next_delay(failure.kind).max(failure.retry_after)
                };
                let retry_in = failure::minutes(wait);
                acceptor.set_missing_because(format!("{}; retrying in {retry_in}", failure.text));
                // In this order: the status has the reason before the metric changes, and both
                // precede the log line.
                metrics.acme_failure();
                log_failure(&acme, &failure, &retry_in);
                (After::Failure, wait)
            }
        };
        pause = Some(Pause { until: Instant::now() + wait, after, of: acme });
    }
}

/// Time without attempts, independent of the clock: a wrong clock must not cause endless orders.
struct Pause {
    until: Instant,
    after: After,
    /// Configuration of the last attempt. Another configuration need not wait.
    of: Acme,
}

impl Pause {
    fn left(&self, acme: &Acme) -> Duration {
        if self.of == *acme {
            self.until.saturating_duration_since(Instant::now())
        } else {
            Duration::ZERO
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum After {
    Success,
    Failure,
}

fn until_renewal(validity: Option<Validity>, spread: Spread) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let renewal = validity.map_or(0, |validity| schedule::renewal(validity, spread));
    Duration::from_secs(u64::try_from(renewal).unwrap_or(0)).saturating_sub(now)
}

/// Orders a certificate, stores it and takes it into use.
async fn attempt(acme: &Acme, acceptor: &Arc<Acceptor>) -> Result<(), AttemptError> {
    let directory = failure::directory(acme);
    info!(%directory, domains = list(&acme.domains), "asking for a certificate");
    acceptor.set_missing_because(format!("asking {directory} for {}", acme.domains.join(", ")));
    in_cache(acme, cache::check_writable).await?;
    // In a separate task, so that a panic does not end the daemon.
    let ordering = {
        let (acme, acceptor) = (acme.clone(), Arc::clone(acceptor));
        tokio::spawn(async move { timeout(ATTEMPT_TIMEOUT, order::place(&acme, &acceptor)).await })
    };
    let outcome = match ordering.await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(AttemptError::timed_out(ATTEMPT_TIMEOUT)),
        Err(error) => Err(AttemptError::internal(&error)),
    };
    acceptor.clear_challenges();
    let pem = outcome?;

    let accepting = Arc::clone(acceptor);
    in_cache(acme, move |acme| {
        cache::store_certificate(acme, &pem)?;
        accepting.refresh()
    })
    .await?;
    info!(domains = list(&acme.domains), "a new certificate is in use");
    audit::record(Event::CertificateChanged { source: "acme" });
    Ok(())
}

/// Accesses the cache on a blocking thread.
async fn in_cache(
    acme: &Acme,
    run: impl FnOnce(&Acme) -> Result<(), TlsError> + Send + 'static,
) -> Result<(), AttemptError> {
    let acme = acme.clone();
    let outcome = blocking::run(move || run(&acme)).await;
    outcome
        .map_err(|error| AttemptError::internal(&error))?
        .map_err(|error| AttemptError::local(&error))
}

fn log_failure(acme: &Acme, failure: &AttemptError, retry_in: &str) {
    let (directory, domains) = (failure::directory(acme), list(&acme.domains));
    let text = &failure.text;
    if failure.kind == ErrorKind::Local {
        error!(%directory, domains, retry_in, "no certificate: {text}");
    } else {
        warn!(%directory, domains, retry_in, "no certificate: {text}; a reload retries at once");
    }
}

#[cfg(test)]
mod tests;
