//! Looks after the server's certificate: takes over files that have changed, and says in time that
//! it expires.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::{
    audit::{self, Event},
    blocking,
    tls::{Acceptor, Expiry, FilesChange, Reminder, Watch},
};

/// Soon enough for whoever tries it out, and no work to speak of.
const INTERVAL: Duration = Duration::from_secs(2);

/// Goes on for ever.
pub(super) async fn run(acceptor: Arc<Acceptor>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut watch, mut reminder) = (Watch::default(), Reminder::default());
    loop {
        ticks.tick().await;
        let acceptor = Arc::clone(&acceptor);
        let round = blocking::run(move || {
            look(&acceptor, &mut watch, &mut reminder);
            (watch, reminder)
        });
        match round.await {
            Ok(kept) => (watch, reminder) = kept,
            Err(error) => {
                error!(%error, "looking after the certificate failed");
                (watch, reminder) = (Watch::default(), Reminder::default());
            }
        }
    }
}

fn look(acceptor: &Acceptor, watch: &mut Watch, reminder: &mut Reminder) {
    match watch.poll(acceptor) {
        FilesChange::None => {}
        FilesChange::Loaded => {
            info!("the certificate's files have changed: taken over");
            audit::record(Event::CertificateChanged { source: "files" });
        }
        FilesChange::Rejected(error) => {
            error!(%error, "the certificate's files have changed: the old certificate stays");
        }
    }
    let Some((validity, renewal)) = acceptor.validity() else { return };
    match reminder.due(validity, renewal, Timestamp::now().as_second()) {
        None => {}
        Some(expiry @ Expiry::Soon { .. }) => warn!("{}", expiry.text(validity, renewal)),
        Some(Expiry::Expired) => error!("{}", Expiry::Expired.text(validity, renewal)),
    }
}
