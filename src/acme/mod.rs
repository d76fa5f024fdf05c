//! Gets a certificate from an ACME directory, and renews it: RFC 8555, with TLS-ALPN-01 on the
//! daemon's own listener.
//!
//! [`run`] decides when, `order` does it once, `cache` keeps what came of it, and `failure` says what
//! went wrong. What connections are accepted with is the business of [`Acceptor`].

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
    failure::{Failure, Kind},
    schedule::{Spread, Waits},
};
use crate::{
    audit::{self, Event},
    blocking,
    logging::list,
    metrics::Metrics,
    tls::{Acceptor, Acme, TlsError, Validity},
};

/// The clock may be put, and a machine may sleep: the time of the renewal is looked at this often.
const LOOK: Duration = Duration::from_secs(60 * 60);

/// An order is a dozen requests and some connections of the directory to us.
const ATTEMPT: Duration = Duration::from_secs(5 * 60);

/// Keeps a certificate in use for as long as the configuration asks for ACME. Never ends.
pub async fn run(acceptor: Arc<Acceptor>, metrics: Arc<Metrics>) {
    let attempt = |acme: Acme| {
        let acceptor = Arc::clone(&acceptor);
        async move { attempt(&acme, &acceptor).await }
    };
    keep(&acceptor, &metrics, attempt).await;
}

async fn keep<Attempt: Future<Output = Result<(), Failure>>>(
    acceptor: &Acceptor,
    metrics: &Metrics,
    attempt: impl Fn(Acme) -> Attempt,
) {
    let (spread, mut waits) = (Spread::new(), Waits::default());
    let mut pause: Option<Pause> = None;
    // Each reload is seen, whatever was being done when it came.
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
            if timeout(wait.min(LOOK), reloads.changed()).await.is_ok() {
                // Somebody may have mended what was wrong.
                pause = pause.filter(|pause| pause.after == After::Success);
                waits = Waits::default();
            }
            continue;
        }
        if pause.as_ref().is_some_and(|pause| pause.of != acme) {
            waits = Waits::default();
        }
        // What was reloaded until here is tried now.
        reloads.mark_unchanged();
        let (after, wait) = match attempt(acme.clone()).await {
            Ok(()) => {
                waits = Waits::default();
                let now = acceptor.acme().and_then(|(_, validity)| validity);
                (After::Success, now.map_or(LOOK, |validity| schedule::rest(validity, spread)))
            }
            Err(failure) => {
                // A reload meanwhile may have mended it as well.
                let is_reloaded = reloads.has_changed().unwrap_or(false);
                let wait = if is_reloaded {
                    waits = Waits::default();
                    Duration::ZERO
                } else {
                    waits.next_wait(failure.kind).max(failure.retry_after)
                };
                let again = failure::minutes(wait);
                acceptor.set_missing_because(format!("{}; trying again in {again}", failure.text));
                // Whoever sees the count finds the reason, and whoever reads the log finds both.
                metrics.acme_failure();
                tell(&acme, &failure, &again);
                (After::Failure, wait)
            }
        };
        pause = Some(Pause { until: Instant::now() + wait, after, of: acme });
    }
}

/// Before it is over nothing is asked for, whatever the clock says: a clock that is wrong must not make
/// us ask on and on.
struct Pause {
    until: Instant,
    after: After,
    /// Another configuration need not wait.
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

/// Orders a certificate, keeps it and takes it into use.
async fn attempt(acme: &Acme, acceptor: &Arc<Acceptor>) -> Result<(), Failure> {
    let directory = failure::directory(acme);
    info!(%directory, domains = list(&acme.domains), "asking for a certificate");
    acceptor.set_missing_because(format!("asking {directory} for {}", acme.domains.join(", ")));
    in_cache(acme, cache::check_writable).await?;
    // In a task of its own: what a directory answers must not end the daemon.
    let ordering = {
        let (acme, acceptor) = (acme.clone(), Arc::clone(acceptor));
        tokio::spawn(async move { timeout(ATTEMPT, order::place(&acme, &acceptor)).await })
    };
    let outcome = match ordering.await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(Failure::late(ATTEMPT)),
        Err(error) => Err(Failure::other(&error)),
    };
    acceptor.clear_challenges();
    let pem = outcome?;

    let accepting = Arc::clone(acceptor);
    in_cache(acme, move |acme| {
        cache::keep_certificate(acme, &pem)?;
        accepting.refresh()
    })
    .await?;
    info!(domains = list(&acme.domains), "a new certificate is in use");
    audit::record(Event::CertificateChanged { source: "acme" });
    Ok(())
}

/// The runtime's threads touch no disk.
async fn in_cache(
    acme: &Acme,
    run: impl FnOnce(&Acme) -> Result<(), TlsError> + Send + 'static,
) -> Result<(), Failure> {
    let acme = acme.clone();
    let outcome = blocking::run(move || run(&acme)).await;
    outcome.map_err(|error| Failure::other(&error))?.map_err(|error| Failure::local(&error))
}

fn tell(acme: &Acme, failure: &Failure, again: &str) {
    let (directory, domains) = (failure::directory(acme), list(&acme.domains));
    let text = &failure.text;
    if failure.kind == Kind::Local {
        error!(%directory, domains, again, "no certificate: {text}");
    } else {
        warn!(%directory, domains, again, "no certificate: {text}; a reload tries at once");
    }
}

#[cfg(test)]
mod tests;
