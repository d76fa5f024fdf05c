//! Reloads the configuration on SIGHUP.
//!
//! A reload reads the file, prepares everything that has changed, and only then replaces it. If any
//! preparation fails, nothing changes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::{Notify, Semaphore, watch};
use tracing::{error, info, warn};

use super::{
    changes::{
        Writers, added, check_sinks, differences, plans, still_departed, with_departed,
        with_writers, without_restart,
    },
    current::Current,
    log_endpoints, log_sinks, parts,
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

/// The state that a reload changes.
pub(super) struct Reloader {
    pub(super) path: PathBuf,
    /// The configuration in force.
    pub(super) config: Config,
    /// The text of each of its keys.
    pub(super) texts: BTreeMap<String, String>,
    /// Removed endpoints, which still route the batches that they received.
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

/// Requests by signals. Those that arrive during a reload are served once, after it.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Read the configuration again.
    pub(super) reload: Notify,
    /// Reopen the files of the sinks and the audit log.
    pub(super) reopen: Notify,
}

/// A configuration that is ready to replace the one in force.
struct Prepared {
    config: Config,
    texts: BTreeMap<String, String>,
    writers: Writers,
    departed: Vec<Endpoint>,
    /// Changed keys that take effect only after a restart.
    need_restart: Vec<&'static str>,
    tls: tls::Prepared,
    intake: Intake,
    plans: Vec<(String, Option<Plan>)>,
    added: Vec<Delivery>,
}

impl Reloader {
    /// Serves requests. Never returns.
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
        // Also if the reload fails.
        self.sinks.reopen();
        audit::reopen();
        match self.prepare().await {
            Ok(prepared) => self.apply(prepared).await,
            Err(problem) => {
                error!("reload: the configuration stays as it was: {problem}");
                audit::record(Event::ReloadRefused { problem });
            }
        }
    }

    /// Reads the files and prepares the new configuration. This may take a while.
    async fn prepare(&self) -> Result<Prepared, String> {
        let (old, departed) = (self.config.clone(), self.departed.clone());
        let writers = self.writers.clone();
        let (spool, metrics) = (Arc::clone(&self.spool), Arc::clone(&self.metrics));
        let (intake, lingering) = (self.intake.load(), self.sinks.lingering());
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
            // Last, since from here on the spool keeps batches for the new sinks.
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

    async fn apply(&mut self, prepared: Prepared) {
        let Prepared { config, texts, writers, departed, need_restart, tls, intake, plans, added } =
            prepared;
        let old = std::mem::replace(&mut self.config, config);
        let changed_keys = differences(&std::mem::replace(&mut self.texts, texts), &self.texts);
        self.departed = departed;
        self.writers = writers;
        let config = &self.config;
        self.metrics.show(&parts::names(config));

        // Sinks first: batches of new endpoints are for the new sinks.
        let names = |of: fn(&Option<Plan>) -> bool| {
            let selected = plans.iter().filter(|(_, plan)| of(plan));
            selected.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let (changed, removed) = (names(Option::is_some), names(Option::is_none));
        let awaited = names(|_| true);
        let new: Vec<_> = added.iter().map(|delivery| delivery.name().to_owned()).collect();
        let committed = self.sinks.end(plans);
        intake.audit_changes(&self.intake.load());
        self.intake.store(intake);
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
        log_endpoints(&self.config, |endpoint| !old.endpoints.contains(endpoint));
        log_sinks(&self.config, |sink| !old.sinks.contains(sink));
        let is_removed =
            |endpoint: &&Endpoint| self.config.endpoints.iter().all(|e| e.name != endpoint.name);
        for endpoint in old.endpoints.iter().filter(is_removed) {
            info!(name = endpoint.name, "endpoint removed");
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

/// Adjusts the number of connection permits. Open connections stay open: after a decrease, new ones
/// are accepted only when enough have ended.
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
