//! SIGHUP: the file is read again, everything that it says is prepared, and only then exchanged under
//! those who use it. If anything cannot be prepared, nothing changes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::{Notify, Semaphore, watch};
use tracing::{error, info, warn};

use super::{
    announce, announce_sinks,
    changes::{
        Writers, added, check_sinks, differences, plans, still_departed, with_departed,
        with_writers, without_restart,
    },
    current::Current,
    parts,
    sinks::{Plan, Sinks},
    systemd::ServiceManager,
};
use crate::{
    audit::{self, Event},
    blocking, check,
    config::{self, Config, Endpoint, Quarantine},
    delivery::Delivery,
    http::Intake,
    logging::{LogHandle, list},
    metrics::Metrics,
    sink::SinkEnvironment,
    spool::Spool,
    tls::{self, Acceptor},
};

/// Everything that a reload changes.
pub(super) struct Reloader {
    pub(super) path: PathBuf,
    /// What is in force.
    pub(super) config: Config,
    /// The text of each of its keys.
    pub(super) texts: BTreeMap<String, String>,
    /// Endpoints that are gone: what came in by them goes where it was to go.
    pub(super) departed: Vec<Endpoint>,
    pub(super) writers: Writers,
    pub(super) log: LogHandle,
    pub(super) manager: Arc<ServiceManager>,
    pub(super) spool: Arc<Spool>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) acceptor: Arc<Acceptor>,
    pub(super) intake: Arc<Current<Intake>>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) bounds: watch::Sender<Quarantine>,
    pub(super) environment: SinkEnvironment,
    pub(super) sinks: Sinks,
}

/// What signals ask for. Requests that come while one is under way are served once, after it.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Read the configuration again.
    pub(super) reload: Notify,
    /// Let the sinks close their files and open them again.
    pub(super) reopen: Notify,
}

/// What is to be exchanged.
struct Prepared {
    config: Config,
    texts: BTreeMap<String, String>,
    writers: Writers,
    departed: Vec<Endpoint>,
    /// Keys that have changed, and are not taken over.
    need_restart: Vec<&'static str>,
    tls: tls::Prepared,
    intake: Intake,
    plans: Vec<(String, Option<Plan>)>,
    added: Vec<Delivery>,
}

impl Reloader {
    /// Serves requests, for ever.
    pub(super) async fn run(mut self, requests: Arc<Requests>) {
        loop {
            tokio::select! {
                () = requests.reopen.notified() => self.reopen(),
                () = requests.reload.notified() => {
                    self.manager.reloading();
                    self.reload().await;
                    self.manager.ready();
                }
                Some(delivery) = self.sinks.late() => self.sinks.replace(delivery).await,
            }
        }
    }

    fn reopen(&self) {
        self.sinks.reopen();
        audit::reopen();
        info!("reopening files");
    }

    async fn reload(&mut self) {
        // Whatever becomes of the rest.
        self.sinks.reopen();
        audit::reopen();
        match self.prepare().await {
            Ok(prepared) => self.exchange(prepared).await,
            Err(problem) => {
                error!("reload: the configuration stays as it was: {problem}");
                audit::record(Event::ReloadRefused { problem });
            }
        }
    }

    /// Reads files, so it may take a while.
    async fn prepare(&self) -> Result<Prepared, String> {
        let (old, departed) = (self.config.clone(), self.departed.clone());
        let writers = self.writers.clone();
        let (spool, metrics) = (Arc::clone(&self.spool), Arc::clone(&self.metrics));
        let (intake, lingering) = (self.intake.take(), self.sinks.lingering());
        let (path, environment) = (self.path.clone(), self.environment.clone());
        let prepared = blocking::run(move || {
            if path == Path::new(config::STDIN) {
                return Err("it was read from standard input: restart the daemon".to_owned());
            }
            let document = config::read(&path).map_err(|problems| problems.in_one_line())?;
            check::log_warnings(&document);
            let texts = document.texts();
            let new = document.config;
            let (config, need_restart) = without_restart(&old, new);
            check_sinks(&path, &old, &config, &lingering)?;
            let writers = with_writers(writers, &config)
                .map_err(|problem| format!("{}: {problem}", path.display()))?;
            let tls = tls::Prepared::load(&config.server.tls)
                .map_err(|error| format!("server.tls: {error}"))?;
            let intake = intake.renewed(&config).map_err(|error| error.to_string())?;

            let before = with_departed(&old, &departed);
            let departed = still_departed(&before, &config);
            let after = with_departed(&config, &departed);
            let plans = plans(&before, &after);
            // Last: from here on the spool keeps what they are to have.
            let added = added(&before, &after, &spool, &metrics, &environment)?;
            Ok(Prepared {
                config,
                texts,
                writers,
                departed,
                need_restart,
                tls,
                intake,
                plans,
                added,
            })
        });
        prepared.await.unwrap_or_else(|error| Err(format!("a defect: {error}")))
    }

    async fn exchange(&mut self, prepared: Prepared) {
        let Prepared { config, texts, writers, departed, need_restart, tls, intake, plans, added } =
            prepared;
        let old = std::mem::replace(&mut self.config, config);
        let changed_keys = differences(&std::mem::replace(&mut self.texts, texts), &self.texts);
        self.departed = departed;
        self.writers = writers;
        let config = &self.config;
        self.metrics.show(&parts::names(config));

        // Sinks first: what comes in by the new endpoints is for the sinks as they are to be.
        let names = |of: fn(&Option<Plan>) -> bool| {
            let those = plans.iter().filter(|(_, plan)| of(plan));
            those.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let (changed, removed) = (names(Option::is_some), names(Option::is_none));
        let awaited = names(|_| true);
        let new: Vec<_> = added.iter().map(|delivery| delivery.name().to_owned()).collect();
        let committed = self.sinks.end(plans);
        intake.audit_changes(&self.intake.take());
        self.intake.put(intake);
        let before = self.acceptor.chain();
        self.acceptor.adopt(tls);
        if self.acceptor.chain() != before {
            audit::record(Event::CertificateChanged { source: "reload" });
        }
        self.log.set_level(config.log.level);
        self.spool.reconfigure(parts::spool_options(config));
        self.bounds.send_replace(config.quarantine.clone());
        resize(&self.permits, old.limits.max_connections, config.limits.max_connections);

        let late = self.sinks.settle(added, &awaited, committed).await;
        for key in &need_restart {
            warn!("reload: needs a restart: {key}");
        }
        audit::record(Event::Reload { changed: changed_keys, need_restart });
        announce(&self.config, |endpoint| !old.endpoints.contains(endpoint));
        announce_sinks(&self.config, |sink| !old.sinks.contains(sink));
        let gone =
            |endpoint: &&Endpoint| self.config.endpoints.iter().all(|e| e.name != endpoint.name);
        for endpoint in old.endpoints.iter().filter(gone) {
            info!(name = endpoint.name, "endpoint is gone");
        }
        info!(
            sinks_added = list(&new),
            sinks_changed = list(&changed),
            sinks_removed = list(&removed),
            sinks_late = list(&late),
            "reloaded"
        );
    }
}

/// Connections that are open stay so: if there are too many, none is accepted until enough have
/// ended.
fn resize(permits: &Arc<Semaphore>, old: usize, new: usize) {
    permits.add_permits(new.saturating_sub(old));
    let fewer = old.saturating_sub(new);
    let missing = fewer - permits.forget_permits(fewer);
    if let Ok(missing @ 1..) = u32::try_from(missing) {
        let permits = Arc::clone(permits);
        tokio::spawn(async move {
            if let Ok(taken) = permits.acquire_many_owned(missing).await {
                taken.forget();
            }
        });
    }
}
