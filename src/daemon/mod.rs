//! Starts the daemon, supervises its tasks, and shuts it down gracefully.
//!
//! Startup opens the spool, the checkpoints, TLS, the secrets, the sinks and the sockets, and
//! starts tasks only after all of that has succeeded. Shutdown accepts no new requests, answers
//! those in progress, and lets the sinks deliver their backlog, all within a deadline. The rest
//! stays in the spool. A task that ends by itself is a defect: the daemon stops, and its supervisor
//! restarts it.

mod certificates;
mod changes;
mod connections;
mod current;
mod descriptors;
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
    signals::{SignalAction, Signals, StopSignals},
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

/// The time limit of a shutdown: first the requests in progress, then the sinks. systemd waits 90
/// s.
const DRAIN: Duration = Duration::from_secs(25);

/// The part of [`DRAIN`] for requests in progress.
const DRAIN_REQUESTS: Duration = Duration::from_secs(15);

/// The part of [`DRAIN`] for the last checkpoints, after sinks were asked to cancel what is in
/// flight.
const LAST_CHECKPOINTS: Duration = Duration::from_secs(2);

/// The time for commits that are still in progress after [`DRAIN`].
const LAST_WRITES: Duration = Duration::from_secs(5);

/// The interval at which a shutdown checks whether the disk of the spool is idle.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_millis(2);

/// Threads for blocking work, in addition to those for uploads.
const OTHER_BLOCKING_THREADS: usize = 32;

/// Connections over `limits.max_connections` that get an error response. Further ones wait in the
/// listen queue.
const OVERFLOW_CONNECTIONS: usize = 64;

/// Runs until a signal stops the daemon. `path` is the file of `document`: SIGHUP reads it again.
pub fn run(document: Document, path: &Path, log: &LogHandle) -> Result<(), Fatal> {
    let texts = document.texts();
    let config = document.config;
    descriptors::raise(&config);
    let io = |key: &'static str| move |error: io::Error| Fatal::Io(format!("{key}: {error}"));
    // Before a second thread starts, since this changes the environment. The log's thread does not
    // read it.
    let sockets = Sockets::from_env(config.admin.address)
        .map_err(|error| Fatal::Unavailable(error.to_string()))?;
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .thread_name("logpushd")
        // Uploads that wait for a disk must leave threads for other work.
        .max_blocking_threads(MAX_UPLOADS + OTHER_BLOCKING_THREADS)
        .on_thread_start(durable::forbid_blocking)
        .build()
        .map_err(|error| Fatal::Unavailable(format!("cannot start threads: {error}")))?;
    let _context = runtime.enter();
    // Startup may take long, and SIGHUP or SIGUSR1 must not end the process meanwhile.
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
    // Do not wait for writes to a disk that hangs.
    runtime.shutdown_timeout(LAST_WRITES);
    audit::finish();
    outcome
}

struct Daemon {
    config: Config,
    /// The text of each key of the configuration.
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
    /// The threads of the sinks.
    threads: TaskTracker,
    environment: SinkEnvironment,
    permits: Arc<Semaphore>,
}

/// A task or thread that ended before the daemon: its name, and how it ended.
type EndedTask = (String, String);

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
        let stops = StopSignals::new().map_err(unavailable)?;

        // The first task that ends stops the daemon, so one slot is enough.
        let (ended_sender, ended) = mpsc::channel(1);
        let spool = Arc::clone(&self.spool);
        let mut sinks = Sinks::new(spool, self.threads.clone(), ended_sender.clone());
        for delivery in deliveries {
            sinks
                .start(delivery)
                .map_err(|error| Fatal::Unavailable(format!("cannot start a thread: {error}")))?;
        }
        let (bounds, rules) = watch::channel(self.config.quarantine.clone());
        let ages = quarantine::ages(&self.spool.cursors());
        let housekeeping =
            housekeeping::run(rules, ages, Arc::clone(&self.spool), Arc::clone(&self.metrics));
        self.supervise_until_stop("housekeeping", &ended_sender, housekeeping);
        let last_batches = Arc::clone(&self.last_batches).run();
        self.supervise_until_stop("last batches", &ended_sender, last_batches);
        let certificates = certificates::run(Arc::clone(&self.acceptor));
        self.supervise_until_stop("certificates", &ended_sender, certificates);
        let memory = memory::run(Arc::clone(&self.open));
        self.supervise_until_stop("memory", &ended_sender, memory);
        let requests = Arc::new(Requests::default());
        let reloader = self.reloader(bounds, sinks);
        self.supervise_until_stop("reloader", &ended_sender, reloader.run(Arc::clone(&requests)));
        let acme = acme::run(Arc::clone(&self.acceptor), Arc::clone(&self.metrics));
        self.supervise("acme", &ended_sender, acme);
        if let Some(listener) = admin {
            let serve = self.serve_admin(listener).map_err(unavailable)?;
            self.supervise("admin listener", &ended_sender, serve);
        }
        for listener in listeners {
            self.supervise("listener", &ended_sender, self.accept(listener));
        }
        info!("ready");
        self.manager.ready();
        // After `ready`, so that the first status line reports that batches are received.
        let status = Arc::clone(&self.manager).keep_status(self.status());
        self.supervise_until_stop("status", &ended_sender, status);
        drop(ended_sender);
        log_endpoints(&self.config, |_| true);
        log_sinks(&self.config, |_| true);
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
            // It cannot fail: validation has refused sinks that share files.
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

    /// Runs a task that must not end before the daemon.
    fn supervise(
        &self,
        name: &'static str,
        ended_sender: &mpsc::Sender<EndedTask>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let (ended_sender, stop) = (ended_sender.clone(), self.stop.clone());
        let task = tokio::spawn(task);
        tokio::spawn(async move {
            let outcome = task.await;
            if !stop.is_cancelled() {
                // Sending cannot fail: the receiver lives as long as the daemon.
                let how = if outcome.is_ok() { "ended" } else { "panicked" };
                ended_sender.send((name.to_owned(), how.to_owned())).await.ok();
            }
        });
    }

    /// Runs a task that never ends, and cancels it when the daemon shuts down.
    fn supervise_until_stop(
        &self,
        name: &'static str,
        ended_sender: &mpsc::Sender<EndedTask>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let stop = self.stop.clone();
        self.supervise(name, ended_sender, async move {
            stop.run_until_cancelled(task).await;
        });
    }

    async fn watch(
        self,
        (mut signals, mut stops): (Signals, StopSignals),
        mut ended: mpsc::Receiver<EndedTask>,
        requests: &Requests,
    ) -> Result<(), Fatal> {
        let outcome = loop {
            tokio::select! {
                signal = signals.next(&mut stops) => match signal {
                    SignalAction::Reload => requests.reload.notify_one(),
                    SignalAction::Reopen => requests.reopen.notify_one(),
                    SignalAction::Stop(signal) => {
                        info!(signal, "stopping");
                        audit::record(Event::Stop { reason: signal.to_owned() });
                        break Ok(());
                    }
                },
                Some((name, how)) = ended.recv() => {
                    error!(name, how, "a task of the daemon ended, stopping");
                    audit::record(Event::Stop { reason: format!("{name} {how}") });
                    break Err(Fatal::Bug(format!("{name} {how}")));
                }
            }
        };
        tokio::select! {
            () = self.drain() => {}
            signal = signals.stop(&mut stops) => {
                warn!(signal, "stopping at once; the backlog stays in the spool");
            }
        }
        outcome
    }

    async fn drain(&self) {
        let begun = Instant::now();
        self.manager.stopping();
        self.intake.load().drain();
        self.stop.cancel();
        self.connections.close();
        if timeout_at(begun + DRAIN_REQUESTS, self.connections.wait()).await.is_err() {
            let connections = self.connections.len();
            warn!(connections, "closing unfinished uploads; Logpush will retry them");
        }
        self.spool.close();
        self.threads.close();
        if timeout_at(begun + DRAIN - LAST_CHECKPOINTS, self.threads.wait()).await.is_err() {
            self.environment.stop.cancel();
        }
        if timeout_at(begun + DRAIN, self.threads.wait()).await.is_err() {
            warn!(sinks = self.threads.len(), "sinks did not stop in time");
        }
        // No more batches can arrive.
        let last_batches = Arc::clone(&self.last_batches).write();
        timeout_at(begun + DRAIN, last_batches).await.ok();
        self.spool.report_dropped();
        let disk_idle = async {
            while !self.spool.is_disk_idle() {
                sleep(IDLE_CHECK_INTERVAL).await;
            }
        };
        // Do not wait for a disk that hangs.
        timeout_at(begun + DRAIN, disk_idle).await.ok();
        let (waiting, bytes) = self.spool.size();
        info!(waiting, bytes, "stopped");
    }
}

/// Logs the selected endpoints, for comparison with the destination of the Logpush job.
fn log_endpoints(config: &Config, which: impl Fn(&Endpoint) -> bool) {
    let is_public = config.server.addresses.iter().any(|at| !at.ip().is_loopback());
    for endpoint in config.endpoints.iter().filter(|endpoint| which(endpoint)) {
        let Endpoint { name, path, .. } = endpoint;
        let sinks = list(&endpoint.sinks);
        match &endpoint.auth {
            Auth::Secret { header, .. } => info!(name, %path, header, sinks, "endpoint"),
            Auth::Token { .. } => {
                info!(name, %path, header = "authorization", sinks, "HEC endpoint");
            }
            Auth::None if is_public && config.server.tls.client_ca_file.is_none() => {
                warn!(name, %path, sinks, "endpoint accepts uploads from anyone: auth = \"none\"");
            }
            Auth::None => info!(name, %path, sinks, "endpoint without a secret"),
        }
    }
}

/// Logs the selected sinks and the target of each.
fn log_sinks(config: &Config, which: impl Fn(&SinkConfig) -> bool) {
    for sink in config.sinks.iter().filter(|sink| which(sink)) {
        info!(name = sink.name, kind = sink.kind.name(), to = sink.kind.target(), "sink");
    }
}
