//! Writes the audit log: security-relevant events as lines of JSON in `log.audit_file`.
//!
//! A separate thread writes the file, so recording an event never blocks. Events that do not fit
//! into the queue are dropped and counted. Failed authentications are counted by network and
//! endpoint, and written once a minute. No event contains a secret or a value of the configuration.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::Serialize;
use tracing::{error, info};

use crate::{log_throttle::FailureThrottle, network::network};

/// Events in the queue to the thread. The daemon records a few a minute.
const QUEUE_LENGTH: usize = 1024;

/// Interval at which failed authentications are written.
const FAILURES_INTERVAL: Duration = Duration::from_secs(60);

/// Pairs of network and endpoint that are counted separately within an interval. Others are counted
/// together.
const MAX_COUNTED: usize = 1000;

/// Time that the process waits for the file before it exits.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

static LOG: OnceLock<AuditLog> = OnceLock::new();

/// An event. The names of events and members are an interface, described in docs/audit.md.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The daemon starts to accept batches.
    Start {
        /// Version of the daemon.
        version: &'static str,
        /// Process ID.
        pid: u32,
    },
    /// The daemon got a signal to stop, or a part of it failed.
    Stop {
        /// The signal, or the part that failed.
        reason: String,
    },
    /// The configuration was reloaded.
    Reload {
        /// Keys whose value changed.
        changed: Vec<String>,
        /// Changed keys that take effect at the next restart.
        need_restart: Vec<&'static str>,
    },
    /// A reload failed; the old configuration stays in effect.
    ReloadRefused {
        /// The first problem.
        problem: String,
    },
    /// A reload found changed secrets in a file.
    SecretsChanged {
        /// Endpoint of the secrets.
        endpoint: String,
        /// Labels of the new secrets: name or line number.
        added: Vec<String>,
        /// Labels of the removed secrets.
        removed: Vec<String>,
    },
    /// A secret was used for the first time since it was loaded.
    SecretUsed {
        /// Endpoint of the secret.
        endpoint: String,
        /// Label of the secret.
        secret: String,
    },
    /// Another certificate is in use.
    CertificateChanged {
        /// `files`, `acme` or `reload`.
        source: &'static str,
    },
    /// Requests with a wrong or missing secret from a network to an endpoint in the last minute.
    AuthenticationFailures {
        /// An address, or the /64 of an IPv6 address. `None` stands for all others.
        network: Option<IpAddr>,
        /// The endpoint. `None` with `network`.
        endpoint: Option<String>,
        /// Number of requests.
        count: u64,
    },
    /// Records were taken out of quarantine and sent again.
    Replay {
        /// Files of the records.
        files: Vec<PathBuf>,
        /// The only sink that gets the records. `None` stands for all sinks that take them.
        sink: Option<String>,
    },
    /// Records and bodies are about to be deleted from quarantine.
    QuarantineDelete {
        /// The files that lose records or are removed.
        files: Vec<PathBuf>,
        /// Number of records.
        records: u64,
        /// Number of unreadable bodies.
        bodies: u64,
    },
    /// Events were dropped, because the file could not be written, or not fast enough.
    Dropped {
        /// Number of events.
        count: u64,
    },
}

#[derive(Serialize)]
struct AuditLine<'a> {
    time: String,
    #[serde(flatten)]
    event: &'a Event,
}

enum Message {
    Event(Timestamp, Event),
    Reopen,
    Flush(SyncSender<()>),
}

struct AuditLog {
    sender: SyncSender<Message>,
    counts: Arc<AuditCounts>,
}

#[derive(Default)]
struct AuditCounts {
    failures: Mutex<BTreeMap<Option<(IpAddr, String)>, u64>>,
    dropped: AtomicU64,
}

impl AuditCounts {
    fn failures(&self) -> MutexGuard<'_, BTreeMap<Option<(IpAddr, String)>, u64>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_failures(&self) -> BTreeMap<Option<(IpAddr, String)>, u64> {
        std::mem::take(&mut *self.failures())
    }
}

/// Starts the audit log of this process.
///
/// # Errors
/// The file cannot be opened or is not a regular file, or the thread cannot be started.
pub fn start(path: &Path) -> io::Result<()> {
    let file = open(path, IfMissing::Create)?;
    let (sender, receiver) = sync_channel(QUEUE_LENGTH);
    let counts = Arc::<AuditCounts>::default();
    let writer = Writer {
        path: path.to_owned(),
        file: Some(file),
        counts: Arc::clone(&counts),
        failures: FailureThrottle::default(),
    };
    thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&receiver))?;
    // There is one call per process.
    LOG.set(AuditLog { sender, counts }).ok();
    Ok(())
}

/// Records an event, if there is an audit log.
pub fn record(event: Event) {
    let Some(log) = LOG.get() else { return };
    if log.sender.try_send(Message::Event(Timestamp::now(), event)).is_err() {
        log.counts.dropped.fetch_add(1, Relaxed);
    }
}

/// Counts a wrong or missing secret.
pub fn authentication_failed(address: IpAddr, endpoint: &str) {
    let Some(log) = LOG.get() else { return };
    let mut failures = log.counts.failures();
    let key = Some((network(address), endpoint.to_owned()));
    let key = if failures.len() < MAX_COUNTED || failures.contains_key(&key) { key } else { None };
    *failures.entry(key).or_default() += 1;
}

/// Reopens the file, which may have been renamed.
pub fn reopen() {
    if let Some(log) = LOG.get() {
        log.sender.try_send(Message::Reopen).ok();
    }
}

/// Waits up to two seconds until all events are written.
pub fn finish() {
    let Some(log) = LOG.get() else { return };
    let (done, written) = sync_channel(1);
    if log.sender.try_send(Message::Flush(done)).is_ok() {
        written.recv_timeout(FLUSH_TIMEOUT).ok();
    }
}

/// Appends an event of a command to the audit log of the daemon, if the file exists.
///
/// # Errors
/// The file cannot be opened or written.
pub fn record_from_command(path: &Path, event: &Event) -> io::Result<()> {
    match open(path, IfMissing::Fail) {
        Ok(mut file) => file.write_all(&line(Timestamp::now(), event)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum IfMissing {
    Create,
    Fail,
}

fn open(path: &Path, if_missing: IfMissing) -> io::Result<File> {
    // Opening a pipe without a reader must not block.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.append(true).create(if_missing == IfMissing::Create).mode(0o600).custom_flags(flags);
    let describe = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot open {}: {error}", path.display()))
    };
    let file = options.open(path).map_err(describe)?;
    if !file.metadata().map_err(describe)?.is_file() {
        return Err(describe(io::Error::other("it is not a regular file")));
    }
    Ok(file)
}

fn line(time: Timestamp, event: &Event) -> Vec<u8> {
    // Always six digits, so that lines sort by time.
    let time = format!("{time:.6}");
    let text = serde_json::to_string(&AuditLine { time, event }).unwrap_or_default();
    let mut line = String::with_capacity(text.len() + 1);
    crate::printable::json(&text, &mut line);
    line.push('\n');
    line.into_bytes()
}

/// Writes the file, in the thread.
struct Writer {
    path: PathBuf,
    /// `None` if it must be reopened.
    file: Option<File>,
    counts: Arc<AuditCounts>,
    failures: FailureThrottle,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut due = Instant::now() + FAILURES_INTERVAL;
        loop {
            match messages.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Message::Event(time, event)) => self.write(time, &event),
                Ok(Message::Reopen) => self.file = None,
                Ok(Message::Flush(done)) => {
                    self.write_counts();
                    done.try_send(()).ok();
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.write_counts();
                    due = Instant::now() + FAILURES_INTERVAL;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn write_counts(&mut self) {
        let counts = Arc::clone(&self.counts);
        let failures = counts.take_failures();
        let now = Timestamp::now();
        for (from, count) in failures {
            let (network, endpoint) = from.unzip();
            self.write(now, &Event::AuthenticationFailures { network, endpoint, count });
        }
        let count = counts.dropped.swap(0, Relaxed);
        if count > 0 {
            self.write(now, &Event::Dropped { count });
        }
    }

    fn write(&mut self, time: Timestamp, event: &Event) {
        match self.append(&line(time, event)) {
            Ok(()) => {
                if self.failures.recovered() {
                    info!("the audit log can be written again");
                }
            }
            Err(error) => {
                self.file = None;
                self.counts.dropped.fetch_add(1, Relaxed);
                if let Some(repeated) = self.failures.failed(&error.to_string(), Instant::now()) {
                    error!(%error, repeated, "cannot write the audit log: events are lost");
                }
            }
        }
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path, IfMissing::Create)?,
        };
        file.write_all(line)?;
        self.file = Some(file);
        Ok(())
    }
}
