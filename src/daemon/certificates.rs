//! Watches the server's certificate: loads changed files, and warns before it expires.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::{
    audit::{self, Event},
    blocking,
    tls::{Acceptor, Expiry, FilesChange, Reminder, Watch},
};

/// The interval between checks, short enough for an operator who waits for the new certificate.
const INTERVAL: Duration = Duration::from_secs(2);

/// Checks the certificate in intervals. Never returns.
pub(super) async fn run(acceptor: Arc<Acceptor>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut watch, mut reminder) = (Watch::default(), Reminder::default());
    loop {
        ticks.tick().await;
        let acceptor = Arc::clone(&acceptor);
        let round = blocking::run(move || {
            check(&acceptor, &mut watch, &mut reminder);
            (watch, reminder)
        });
        match round.await {
            Ok(state) => (watch, reminder) = state,
            Err(error) => {
                error!(%error, "checking the certificate failed");
                (watch, reminder) = (Watch::default(), Reminder::default());
            }
        }
    }
}

fn check(acceptor: &Acceptor, watch: &mut Watch, reminder: &mut Reminder) {
    match watch.poll(acceptor) {
        FilesChange::None => {}
        FilesChange::Loaded => {
            info!("changed certificate files loaded");
            audit::record(Event::CertificateChanged { source: "files" });
        }
        FilesChange::Rejected(error) => {
            error!(%error, "cannot load the changed certificate files, keeping the old certificate");
        }
    }
    let Some((validity, renewal)) = acceptor.validity() else { return };
    match reminder.due(validity, renewal, Timestamp::now().as_second()) {
        None => {}
        Some(expiry @ Expiry::Soon { .. }) => warn!("{}", expiry.text(validity, renewal)),
        Some(Expiry::Expired) => error!("{}", Expiry::Expired.text(validity, renewal)),
    }
}
