//! Tests of reloads during the pause after a failure.

use std::sync::{
    Once,
    atomic::{AtomicUsize, Ordering},
};

use tempfile::TempDir;
use tracing::{Event, Subscriber, subscriber::set_default};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt as _},
};

use super::*;
use crate::tls::{Tls, TlsVersion};

fn configuration(dir: &TempDir, domain: &str) -> Tls {
    let acme = Acme {
        domains: vec![domain.to_owned()],
        contact: None,
        directory_url: "https://acme.example/directory".to_owned(),
        directory_ca_file: None,
        cache_dir: dir.path().to_owned(),
    };
    Tls {
        cert_file: acme.certificate_file(),
        key_file: acme.certificate_file(),
        self_signed: false,
        acme: Some(acme),
        client_ca_file: None,
        min_version: TlsVersion::V1_2,
    }
}

fn failure() -> AttemptError {
    AttemptError {
        kind: ErrorKind::Rejected,
        text: "rejected".to_owned(),
        retry_after: Duration::ZERO,
    }
}

struct AtEachEvent<F>(F);

impl<S: Subscriber, F: Fn() + 'static> Layer<S> for AtEachEvent<F> {
    fn on_event(&self, _event: &Event<'_>, _context: Context<'_, S>) {
        self.0();
    }
}

/// Far less than the first pause, which is five minutes.
const SOON: Duration = Duration::from_secs(120);

/// Reloads during the first attempt, while its failure is logged, or in the pause after it. Returns
/// the status after the second attempt. Both attempts are rejected.
async fn second_pause(when: When, (old, new): (&Tls, &Tls)) -> String {
    let acceptor = Arc::new(Acceptor::new(old).unwrap());
    let _logged = (when == When::WhileItIsLogged).then(|| {
        let (acceptor, new, once) = (Arc::clone(&acceptor), new.clone(), Once::new());
        let at_the_first_line = AtEachEvent(move || {
            once.call_once(|| acceptor.reload(&new).unwrap());
        });
        set_default(tracing_subscriber::registry().with(at_the_first_line))
    });
    let metrics = Metrics::new(&crate::metrics::Names::default());
    let attempts = AtomicUsize::new(0);
    let attempt = |_acme| {
        let number = attempts.fetch_add(1, Ordering::Relaxed) + 1;
        if number == 1 && when == When::InTheAttempt {
            acceptor.reload(new).unwrap();
        }
        acceptor.set_missing_because(String::from("being asked for"));
        async { Err(failure()) }
    };
    let status_after = async |number| loop {
        let text = acceptor.readiness().unwrap_err();
        if attempts.load(Ordering::Relaxed) == number && text.contains("retrying") {
            return text;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let watched = async {
        if when == When::InThePause {
            status_after(1).await;
            acceptor.reload(new).unwrap();
        }
        status_after(2).await
    };
    tokio::select! {
        () = schedule_attempts(&acceptor, &metrics, attempt) => unreachable!("it never ends"),
        text = timeout(SOON, watched) => text.expect("a second attempt, at once"),
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum When {
    InTheAttempt,
    WhileItIsLogged,
    InThePause,
}

#[tokio::test]
async fn a_reload_is_never_missed_and_resets_the_delay() {
    let dir = TempDir::new().unwrap();
    let (old, new) = (configuration(&dir, "a.example"), configuration(&dir, "b.example"));
    for when in [When::InTheAttempt, When::WhileItIsLogged, When::InThePause] {
        for new in [&old, &new] {
            let status = second_pause(when, (&old, new)).await;
            let is_first =
                status.ends_with("retrying in 5 min") || status.ends_with("retrying in 6 min");
            assert!(is_first, "{when:?}: {status}");
        }
    }
}
