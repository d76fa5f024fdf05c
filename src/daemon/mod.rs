//! Puts the daemon together, watches over its parts, and takes it down in order.
//!
//! Start: spool and checkpoints, TLS, secrets, sinks, sockets; only then does anything run. Stop: no
//! new requests, those under way are answered, sinks take what waits, all within a deadline; what is
//! left then stays in the spool. A part that ends by itself is a defect and stops the daemon, so that
//! its supervisor starts a whole one.

mod certificates;
mod housekeeping;
mod parts;
mod signals;

use std::{
    io,
    net::SocketAddr,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use jiff::Timestamp;
use rustls::server::ClientHello;
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::{Semaphore, mpsc},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, error, info, warn};

use self::signals::{Asked, Signals};
use crate::{
    acme, admin,
    config::{self, Auth, Config, Endpoint},
    delivery::{Delivery, Reopen},
    fatal::Fatal,
    http::Intake,
    listen,
    logging::LogHandle,
    metrics::{Metrics, Refusal},
    quarantine::Bodies,
    serve::{self, ConnectionEnd},
    spool::{ConsumerId, Spool},
    tls::Acceptor,
};

/// How long a stop may take: requests under way, then sinks. systemd's own patience is 90 s.
const DRAIN: Duration = Duration::from_secs(25);

/// The part of it that requests may take.
const DRAIN_REQUESTS: Duration = Duration::from_secs(15);

/// What is being committed when the drain is over gets this long to end.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// Connections beyond the limit that are told so; those beyond them wait to be accepted.
const OVERFLOW_CONNECTIONS: usize = 64;

/// Runs until a signal says to stop. `path` is where `config` came from: SIGHUP reads it again.
pub fn run(config: Config, path: &Path, log: &LogHandle) -> Result<(), Fatal> {
    let io = |key: &'static str| move |error: io::Error| Fatal::Io(format!("{key}: {error}"));
    let spool = Spool::open(&config.spool.dir, config.spool.max_bytes, config.spool.dedup_window);
    let spool = Arc::new(spool.map_err(io("spool.dir"))?);
    let bodies = Arc::new(Bodies::open(&config.quarantine.dir).map_err(io("quarantine.dir"))?);
    let metrics = Arc::new(parts::metrics(&config));
    let deliveries = parts::deliveries(&config, &spool, &metrics)?;
    let places = deliveries.iter().map(Delivery::id).collect();
    let reopens = deliveries.iter().map(Delivery::reopen).collect();
    let acceptor = Acceptor::new(&config.server.tls)
        .map_err(|error| Fatal::Config(format!("server.tls: {error}")))?;
    let intake = Intake::new(&config, Arc::clone(&spool), bodies, Arc::clone(&metrics))
        .map_err(|error| Fatal::Config(error.to_string()))?;
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .thread_name("logpushd")
        .build()
        .map_err(|error| Fatal::Unavailable(format!("cannot start threads: {error}")))?;

    let permits = config.limits.max_connections + OVERFLOW_CONNECTIONS;
    let (waiting, bytes) = spool.size();
    info!(version = env!("CARGO_PKG_VERSION"), waiting, bytes, "starting");
    let daemon = Daemon {
        config,
        path: path.to_owned(),
        log: log.clone(),
        spool,
        metrics,
        places,
        reopens,
        acceptor: Arc::new(acceptor),
        intake: Arc::new(intake),
        stop: CancellationToken::new(),
        connections: TaskTracker::new(),
        permits: Arc::new(Semaphore::new(permits)),
    };
    let outcome = daemon.run(&runtime, deliveries);
    // What still writes to a disk that hangs is not waited for.
    runtime.shutdown_timeout(LAST_WRITES);
    outcome
}

struct Daemon {
    config: Config,
    path: PathBuf,
    log: LogHandle,
    spool: Arc<Spool>,
    metrics: Arc<Metrics>,
    /// Of the sinks, in the order of the config.
    places: Vec<ConsumerId>,
    reopens: Vec<Reopen>,
    acceptor: Arc<Acceptor>,
    intake: Arc<Intake>,
    stop: CancellationToken,
    connections: TaskTracker,
    permits: Arc<Semaphore>,
}

/// What ended: its name, and whether in order.
type Ended = (String, bool);

impl Daemon {
    fn run(self, runtime: &Runtime, deliveries: Vec<Delivery>) -> Result<(), Fatal> {
        let _context = runtime.enter();
        let unavailable = |error: io::Error| Fatal::Unavailable(error.to_string());
        let listeners: Vec<_> = self.config.server.addresses.iter().copied().map(bind).collect();
        let listeners =
            listeners.into_iter().collect::<io::Result<Vec<_>>>().map_err(unavailable)?;
        let admin = self.bind_admin().map_err(unavailable)?;
        let signals = Signals::new().map_err(unavailable)?;

        let parts = deliveries.len() + listeners.len() + 4;
        let (tell_end, ended) = mpsc::channel(parts);
        let sinks = deliveries.len();
        for delivery in deliveries {
            deliver(delivery, tell_end.clone())
                .map_err(|error| Fatal::Unavailable(format!("cannot start a thread: {error}")))?;
        }
        let housekeeping = housekeeping::run(&self.config.quarantine, &self.metrics, &self.stop);
        self.supervise("housekeeping", &tell_end, housekeeping);
        let certificates = certificates::run(&self.acceptor, &self.stop);
        self.supervise("certificates", &tell_end, certificates);
        let acme = acme::run(Arc::clone(&self.acceptor), Arc::clone(&self.metrics));
        self.supervise("acme", &tell_end, acme);
        if let Some(listener) = admin {
            self.supervise("admin listener", &tell_end, self.serve_admin(listener));
        }
        for listener in listeners {
            self.supervise("listener", &tell_end, self.accept(listener));
        }
        drop(tell_end);
        info!("ready");
        self.announce();
        runtime.block_on(self.watch(signals, ended, sinks))
    }

    /// Says what is open, and to whom: what an operator compares with the job's destination.
    fn announce(&self) {
        for warning in self.config.server.warnings() {
            warn!("{warning}");
        }
        let is_public = self.config.server.addresses.iter().any(|at| !at.ip().is_loopback());
        for endpoint in &self.config.endpoints {
            let Endpoint { name, path, sinks, .. } = endpoint;
            match &endpoint.auth {
                Auth::Secret { header, .. } => info!(name, %path, header, ?sinks, "endpoint"),
                Auth::None if is_public && self.config.server.tls.client_ca_file.is_none() => {
                    warn!(name, %path, ?sinks, "endpoint that anybody may post to: auth = \"none\"");
                }
                Auth::None => info!(name, %path, ?sinks, "endpoint without a secret"),
            }
        }
    }

    fn bind_admin(&self) -> io::Result<Option<TcpListener>> {
        let admin = self.config.admin;
        match listen::bind(admin.address) {
            Ok(listener) => {
                let address = listener.local_addr()?;
                info!(%address, "admin listener: /healthz /readyz /metrics /version");
                Ok(Some(listener))
            }
            Err(error) if !admin.asked_for => {
                warn!(%error, "going on without the admin listener: set admin.address to choose one");
                Ok(None)
            }
            Err(error) => Err(error),
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
                tell_end.send((name.to_owned(), outcome.is_ok())).await.ok();
            }
        });
    }

    fn serve_admin(&self, listener: TcpListener) -> impl Future<Output = ()> + Send + 'static {
        let intake = Arc::clone(&self.intake);
        let (spool, metrics) = (Arc::clone(&self.spool), Arc::clone(&self.metrics));
        let (acceptor, places) = (Arc::clone(&self.acceptor), self.places.clone());
        let render = move || {
            let (batches, bytes) = spool.size();
            metrics.spool(bytes, batches as u64);
            if let Some((validity, _)) = acceptor.validity() {
                metrics.certificate_expiry(validity.not_after);
            }
            for (sink, place) in places.iter().enumerate() {
                let oldest = spool.oldest_for(*place).map_or(0, Timestamp::as_microsecond);
                metrics.sink_oldest_waiting(sink, u64::try_from(oldest).unwrap_or(0));
                metrics.sink_dropped(sink, spool.dropped_by(*place));
            }
            metrics.render()
        };
        // It goes on while the daemon drains, to say so, and ends with the runtime.
        let (permits, acceptor) = (Arc::clone(&self.permits), Arc::clone(&self.acceptor));
        let ready = move || match permits.available_permits() {
            ..OVERFLOW_CONNECTIONS => Err(String::from("limits.max_connections is reached")),
            _ => acceptor.readiness().and_then(|()| intake.readiness()),
        };
        admin::serve(listener, CancellationToken::new(), ready, render)
    }

    fn accept(&self, listener: TcpListener) -> impl Future<Output = ()> + Send + 'static {
        let intake = Arc::clone(&self.intake);
        let (acceptor, metrics) = (Arc::clone(&self.acceptor), Arc::clone(&self.metrics));
        let (stop, connections) = (self.stop.clone(), self.connections.clone());
        let (permits, free) = (Arc::clone(&self.permits), Arc::clone(&self.permits));
        listen::accept_loop(listener, permits, stop.clone(), move |stream, peer, permit| {
            let too_many = free.available_permits() < OVERFLOW_CONNECTIONS;
            let (intake, metrics) = (Arc::clone(&intake), Arc::clone(&metrics));
            let (acceptor, stop) = (Arc::clone(&acceptor), stop.clone());
            let tls = move |hello: &ClientHello<'_>| acceptor.choose(hello);
            connections.spawn(async move {
                let _open = metrics.connection();
                let service = |request, peer| {
                    let intake = Arc::clone(&intake);
                    async move {
                        if too_many {
                            return intake.too_many_connections();
                        }
                        intake.handle(request, peer).await
                    }
                };
                let end = serve::connection(stream, peer, tls, service, stop).await;
                debug!(%peer, ?end, "connection ended");
                if matches!(end, ConnectionEnd::HandshakeFailed | ConnectionEnd::HandshakeTimeout) {
                    metrics.refused(Refusal::TlsHandshake);
                }
                drop(permit);
            });
        })
    }

    async fn watch(
        self,
        mut signals: Signals,
        mut ended: mpsc::Receiver<Ended>,
        sinks: usize,
    ) -> Result<(), Fatal> {
        let outcome = loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Asked::Reload => self.reload(),
                    Asked::Stop(signal) => {
                        info!(signal, "stopping");
                        break Ok(());
                    }
                },
                Some((name, in_order)) = ended.recv() => {
                    let how = if in_order { "ended" } else { "panicked" };
                    error!(name, "a part {how} that must not end: stopping");
                    break Err(Fatal::Bug(format!("{name} {how}")));
                }
            }
        };
        tokio::select! {
            () = self.drain(&mut ended, sinks - usize::from(outcome.is_err())) => {}
            signal = signals.stop() => {
                warn!(signal, "stopping at once: what waits stays in the spool");
            }
        }
        outcome
    }

    async fn drain(&self, ended: &mut mpsc::Receiver<Ended>, sinks: usize) {
        let begun = Instant::now();
        self.intake.drain();
        self.stop.cancel();
        self.connections.close();
        if timeout_at(begun + DRAIN_REQUESTS, self.connections.wait()).await.is_err() {
            warn!(connections = self.connections.len(), "uploads are cut off: they come again");
        }
        self.spool.close();
        for _ in 0..sinks {
            if timeout_at(begun + DRAIN, ended.recv()).await.is_err() {
                warn!("a sink did not come to an end");
                break;
            }
        }
        let (waiting, bytes) = self.spool.size();
        info!(waiting, bytes, "stopped");
    }

    /// Takes over what can change under load: certificates, secrets, the log level. Whatever becomes
    /// of that, sinks open their files anew.
    fn reload(&self) {
        self.reopens.iter().for_each(Reopen::ask);
        let new = match config::load(&self.path) {
            Ok(new) => new,
            Err(problems) => {
                error!("reload: the configuration stays as it was:\n{problems}");
                return;
            }
        };
        self.log.set_level(new.log.level);
        let problems = self.intake.reload_secrets();
        for problem in &problems {
            error!(problem, "reload");
        }
        let certificate = self.acceptor.reload(&new.server.tls);
        if let Err(error) = &certificate {
            error!(%error, "reload: the certificate stays as it was");
        }
        let mut same = self.config.clone();
        same.log.level = new.log.level;
        same.server.tls = new.server.tls.clone();
        if same != new {
            warn!(
                "reload: only certificates, secrets and log.level were taken over; the rest needs a restart"
            );
        }
        if problems.is_empty() && certificate.is_ok() {
            info!("reloaded");
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = listen::bind(address)?;
    let address = listener.local_addr()?;
    info!(%address, "listening");
    Ok(listener)
}

fn deliver(delivery: Delivery, tell_end: mpsc::Sender<Ended>) -> io::Result<()> {
    let name = format!("sink {}", delivery.name());
    thread::Builder::new().name(name.clone()).spawn(move || {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| delivery.run()));
        // The receiver is gone when the daemon did not wait.
        tell_end.blocking_send((name, outcome.is_ok())).ok();
    })?;
    Ok(())
}
