//! Puts the daemon together, watches over its parts, and takes it down in order.
//!
//! Start: spool and checkpoints, TLS, secrets, sinks, sockets; only then does anything run. Stop: no
//! new requests, those under way are answered, sinks take what waits, all within a deadline; what is
//! left then stays in the spool. A part that ends by itself is a defect and stops the daemon, so that
//! its supervisor starts a whole one.

mod certificates;
mod changes;
mod current;
mod descriptors;
mod door;
mod housekeeping;
mod last_batches;
mod parts;
mod probes;
mod process;
mod reload;
mod signals;
mod sinks;
mod sockets;
mod systemd;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::{Semaphore, mpsc, watch},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

use self::{
    changes::{Writers, with_writers},
    current::Current,
    last_batches::LastBatches,
    reload::{Reloader, Requests},
    signals::{Asked, Signals, Stops},
    sinks::Sinks,
    sockets::Sockets,
    systemd::ServiceManager,
};
use crate::{
    acme,
    admission::Connections,
    audit::{self, Event},
    config::{Auth, Config, Document, Endpoint, Quarantine, SinkConfig},
    delivery::Delivery,
    durable,
    fatal::Fatal,
    http::{Intake, MAX_UPLOADS},
    logging::{LogHandle, list},
    memory,
    metrics::{Arrival, Metrics},
    quarantine::{self, Bodies},
    sink::SinkEnvironment,
    spool::Spool,
    tls::Acceptor,
};

/// How long a stop may take: requests under way, then sinks. systemd's own patience is 90 s.
const DRAIN: Duration = Duration::from_secs(25);

/// The part of it that requests may take.
const DRAIN_REQUESTS: Duration = Duration::from_secs(15);

/// The part of it that is left for last checkpoints when sinks are told to abandon what is in flight.
const LAST_CHECKPOINTS: Duration = Duration::from_secs(2);

/// What is being committed when the drain is over gets this long to end.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// How often it is looked whether the spool is at rest.
const PAUSE: Duration = Duration::from_millis(2);

/// Threads that may block, beside those that uploads take.
const OTHER_BLOCKING_THREADS: usize = 32;

/// Connections beyond the limit that are told so; those beyond them wait to be accepted.
const OVERFLOW_CONNECTIONS: usize = 64;

/// Runs until a signal says to stop. `path` is where `document` came from: SIGHUP reads it again.
pub fn run(document: Document, path: &Path, log: &LogHandle) -> Result<(), Fatal> {
    let texts = document.texts();
    let config = document.config;
    descriptors::raise(&config);
    let io = |key: &'static str| move |error: io::Error| Fatal::Io(format!("{key}: {error}"));
    // Before there is a second thread; that of the log reads no environment.
    let sockets = Sockets::from_env(config.admin.address)
        .map_err(|error| Fatal::Unavailable(error.to_string()))?;
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .thread_name("logpushd")
        // Uploads that wait for a disk must not keep everything else from a thread.
        .max_blocking_threads(MAX_UPLOADS + OTHER_BLOCKING_THREADS)
        .on_thread_start(durable::forbid_blocking)
        .build()
        .map_err(|error| Fatal::Unavailable(format!("cannot start threads: {error}")))?;
    let _context = runtime.enter();
    // A start may take long, and a signal must not end it.
    let signals = Signals::new().map_err(|error| Fatal::Unavailable(error.to_string()))?;
    let manager = ServiceManager::from_env();
    manager.opening();
    let spool = Spool::open(&config.spool.dir, parts::spool_options(&config));
    let spool = Arc::new(spool.map_err(io("spool.dir"))?);
    let bodies = Arc::new(Bodies::open(&config.quarantine.dir).map_err(io("quarantine.dir"))?);
    let metrics = Arc::new(parts::metrics(&config));
    let last_batches = Arc::new(LastBatches::restore(&config, &metrics, Arrival::now()));
    let environment = SinkEnvironment {
        runtime: runtime.handle().clone(),
        stop: CancellationToken::new(),
        quarantine: config.quarantine.dir.clone(),
    };
    let deliveries = parts::deliveries(&config, &spool, &metrics, &environment)?;
    let acceptor = Acceptor::new(&config.server.tls)
        .map_err(|error| Fatal::Config(format!("server.tls: {error}")))?;
    let intake = Intake::new(&config, Arc::clone(&spool), bodies, Arc::clone(&metrics))
        .map_err(|error| Fatal::Config(error.to_string()))?;

    if let Some(path) = &config.log.audit_file {
        audit::start(path).map_err(io("log.audit_file"))?;
    }
    let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
    audit::record(Event::Start { version, pid });
    let permits = config.limits.max_connections + OVERFLOW_CONNECTIONS;
    let (waiting, bytes) = spool.size();
    info!(version = env!("CARGO_PKG_VERSION"), waiting, bytes, "starting");
    let daemon = Daemon {
        config,
        texts,
        path: path.to_owned(),
        log: log.clone(),
        manager: Arc::new(manager),
        spool,
        metrics,
        last_batches,
        acceptor: Arc::new(acceptor),
        intake: Arc::new(Current::new(intake)),
        stop: CancellationToken::new(),
        connections: TaskTracker::new(),
        open: Arc::default(),
        threads: TaskTracker::new(),
        environment,
        permits: Arc::new(Semaphore::new(permits)),
    };
    let outcome = daemon.run(&runtime, signals, deliveries, sockets);
    // What still writes to a disk that hangs is not waited for.
    runtime.shutdown_timeout(LAST_WRITES);
    audit::finish();
    outcome
}

struct Daemon {
    config: Config,
    /// Of the keys of the configuration.
    texts: BTreeMap<String, String>,
    path: PathBuf,
    log: LogHandle,
    manager: Arc<ServiceManager>,
    spool: Arc<Spool>,
    metrics: Arc<Metrics>,
    last_batches: Arc<LastBatches>,
    acceptor: Arc<Acceptor>,
    intake: Arc<Current<Intake>>,
    stop: CancellationToken,
    connections: TaskTracker,
    open: Arc<Connections>,
    /// Of the sinks.
    threads: TaskTracker,
    environment: SinkEnvironment,
    permits: Arc<Semaphore>,
}

/// What ended that must not: its name, and how.
type Ended = (String, String);

impl Daemon {
    fn run(
        self,
        runtime: &Runtime,
        signals: Signals,
        deliveries: Vec<Delivery>,
        sockets: Sockets,
    ) -> Result<(), Fatal> {
        let unavailable = |error: io::Error| Fatal::Unavailable(error.to_string());
        let server = &self.config.server.addresses;
        let listeners = sockets::listeners(sockets.public, server).map_err(unavailable)?;
        let admin = sockets::admin_listener(sockets.admin, &self.config.admin, &listeners)
            .map_err(unavailable)?;
        let stops = Stops::new().map_err(unavailable)?;

        // The first that ends stops the daemon: nobody else need be heard.
        let (tell_end, ended) = mpsc::channel(1);
        let spool = Arc::clone(&self.spool);
        let mut sinks = Sinks::new(spool, self.threads.clone(), tell_end.clone());
        for delivery in deliveries {
            sinks
                .start(delivery)
                .map_err(|error| Fatal::Unavailable(format!("cannot start a thread: {error}")))?;
        }
        let (bounds, rules) = watch::channel(self.config.quarantine.clone());
        let ages = quarantine::ages(&self.spool.cursors());
        let housekeeping =
            housekeeping::run(rules, ages, Arc::clone(&self.spool), Arc::clone(&self.metrics));
        self.supervise_until_stop("housekeeping", &tell_end, housekeeping);
        let last_batches = Arc::clone(&self.last_batches).run();
        self.supervise_until_stop("last batches", &tell_end, last_batches);
        let certificates = certificates::run(Arc::clone(&self.acceptor));
        self.supervise_until_stop("certificates", &tell_end, certificates);
        let memory = memory::run(Arc::clone(&self.open));
        self.supervise_until_stop("memory", &tell_end, memory);
        let requests = Arc::new(Requests::default());
        let reloader = self.reloader(bounds, sinks);
        self.supervise_until_stop("reloader", &tell_end, reloader.run(Arc::clone(&requests)));
        let acme = acme::run(Arc::clone(&self.acceptor), Arc::clone(&self.metrics));
        self.supervise("acme", &tell_end, acme);
        if let Some(listener) = admin {
            let serve = self.serve_admin(listener).map_err(unavailable)?;
            self.supervise("admin listener", &tell_end, serve);
        }
        for listener in listeners {
            self.supervise("listener", &tell_end, self.accept(listener));
        }
        info!("ready");
        self.manager.ready();
        // Behind that: the first line says that batches are received.
        let status = Arc::clone(&self.manager).keep_status(self.status());
        self.supervise_until_stop("status", &tell_end, status);
        drop(tell_end);
        announce(&self.config, |_| true);
        announce_sinks(&self.config, |_| true);
        let manager = Arc::clone(&self.manager);
        durable::forbid_blocking();
        runtime.block_on(async {
            tokio::select! {
                outcome = self.watch((signals, stops), ended, &requests) => outcome,
                () = manager.keep_alive() => Err(Fatal::Bug("the watchdog ended".to_owned())),
            }
        })
    }

    fn reloader(&self, bounds: watch::Sender<Quarantine>, sinks: Sinks) -> Reloader {
        Reloader {
            path: self.path.clone(),
            config: self.config.clone(),
            texts: self.texts.clone(),
            departed: Vec::new(),
            // Validation has seen that no two of them have the same files.
            writers: with_writers(Writers::new(), &self.config).unwrap_or_default(),
            log: self.log.clone(),
            manager: Arc::clone(&self.manager),
            spool: Arc::clone(&self.spool),
            metrics: Arc::clone(&self.metrics),
            acceptor: Arc::clone(&self.acceptor),
            intake: Arc::clone(&self.intake),
            permits: Arc::clone(&self.permits),
            bounds,
            environment: self.environment.clone(),
            sinks,
        }
    }

    /// Runs a task whose end, before the daemon's, is a defect.
    fn supervise(
        &self,
        name: &'static str,
        tell_end: &mpsc::Sender<Ended>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let (tell_end, stop) = (tell_end.clone(), self.stop.clone());
        let task = tokio::spawn(task);
        tokio::spawn(async move {
            let outcome = task.await;
            if !stop.is_cancelled() {
                // The receiver lives as long as the daemon.
                let how = if outcome.is_ok() { "ended" } else { "panicked" };
                tell_end.send((name.to_owned(), how.to_owned())).await.ok();
            }
        });
    }

    /// The same for a task that goes on for ever, and is not needed while the daemon drains.
    fn supervise_until_stop(
        &self,
        name: &'static str,
        tell_end: &mpsc::Sender<Ended>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.supervise(name, tell_end, async move {
            stop.run_until_cancelled(task).await;
        });
    }

    async fn watch(
        self,
        (mut signals, mut stops): (Signals, Stops),
        mut ended: mpsc::Receiver<Ended>,
        requests: &Requests,
    ) -> Result<(), Fatal> {
        let outcome = loop {
            tokio::select! {
                signal = signals.next(&mut stops) => match signal {
                    Asked::Reload => requests.reload.notify_one(),
                    Asked::Reopen => requests.reopen.notify_one(),
                    Asked::Stop(signal) => {
                        info!(signal, "stopping");
                        audit::record(Event::Stop { reason: signal.to_owned() });
                        break Ok(());
                    }
                },
                Some((name, how)) = ended.recv() => {
                    error!(name, "a part {how} that must not end: stopping");
                    audit::record(Event::Stop { reason: format!("{name} {how}") });
                    break Err(Fatal::Bug(format!("{name} {how}")));
                }
            }
        };
        tokio::select! {
            () = self.drain() => {}
            signal = signals.stop(&mut stops) => {
                warn!(signal, "stopping at once: what waits stays in the spool");
            }
        }
        outcome
    }

    async fn drain(&self) {
        let begun = Instant::now();
        self.manager.stopping();
        self.intake.take().drain();
        self.stop.cancel();
        self.connections.close();
        if timeout_at(begun + DRAIN_REQUESTS, self.connections.wait()).await.is_err() {
            warn!(connections = self.connections.len(), "uploads are cut off: they come again");
        }
        self.spool.close();
        self.threads.close();
        if timeout_at(begun + DRAIN - LAST_CHECKPOINTS, self.threads.wait()).await.is_err() {
            self.environment.stop.cancel();
        }
        if timeout_at(begun + DRAIN, self.threads.wait()).await.is_err() {
            warn!(sinks = self.threads.len(), "sinks did not come to an end");
        }
        // Nothing more comes.
        let last_batches = Arc::clone(&self.last_batches).write();
        timeout_at(begun + DRAIN, last_batches).await.ok();
        self.spool.report_dropped();
        let at_rest = async {
            while !self.spool.is_disk_idle() {
                sleep(PAUSE).await;
            }
        };
        // A disk that hangs is not waited for.
        timeout_at(begun + DRAIN, at_rest).await.ok();
        let (waiting, bytes) = self.spool.size();
        info!(waiting, bytes, "stopped");
    }
}

/// Says which of the endpoints are open, and to whom: what an operator compares with the job's
/// destination.
fn announce(config: &Config, which: impl Fn(&Endpoint) -> bool) {
    let is_public = config.server.addresses.iter().any(|at| !at.ip().is_loopback());
    for endpoint in config.endpoints.iter().filter(|endpoint| which(endpoint)) {
        let Endpoint { name, path, .. } = endpoint;
        let sinks = list(&endpoint.sinks);
        match &endpoint.auth {
            Auth::Secret { header, .. } => info!(name, %path, header, sinks, "endpoint"),
            Auth::Token { .. } => {
                info!(name, %path, header = "authorization", sinks, "endpoint for HEC");
            }
            Auth::None if is_public && config.server.tls.client_ca_file.is_none() => {
                warn!(name, %path, sinks, "endpoint that anybody may post to: auth = \"none\"");
            }
            Auth::None => info!(name, %path, sinks, "endpoint without a secret"),
        }
    }
}

/// Logs which of the sinks there are, and where each delivers to.
fn announce_sinks(config: &Config, which: impl Fn(&SinkConfig) -> bool) {
    for sink in config.sinks.iter().filter(|sink| which(sink)) {
        info!(name = sink.name, kind = sink.kind.name(), to = sink.kind.target(), "sink");
    }
}
