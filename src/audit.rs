//! The audit log: who did what to the daemon, as lines of JSON in `log.audit_file`.
//!
//! A thread of its own writes the file. Whoever records an event never waits: events beyond a bound are
//! dropped and counted. Failed authentications are counted by network and endpoint, and written once a
//! minute. No event has a secret or a value of the configuration.

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

/// Events that wait for the thread. The daemon makes a handful a minute.
const QUEUE: usize = 1024;

/// How often failed authentications are written.
const INTERVAL: Duration = Duration::from_secs(60);

/// Networks and endpoints that are counted by themselves within an interval; the rest together.
const MAX_COUNTED: usize = 1000;

/// How long the end of the process waits for the file.
const FLUSH: Duration = Duration::from_secs(2);

static LOG: OnceLock<AuditLog> = OnceLock::new();

/// What happened. The names of events and members are an interface: docs/audit.md describes them.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The daemon is about to receive.
    Start {
        /// Of the daemon.
        version: &'static str,
        /// Of the process.
        pid: u32,
    },
    /// The daemon was told to stop, or has to.
    Stop {
        /// The signal, or the part that ended.
        reason: String,
    },
    /// The configuration was read again and is in force.
    Reload {
        /// Keys whose text changed.
        changed: Vec<String>,
        /// Keys that stay as they were until a restart.
        need_restart: Vec<&'static str>,
    },
    /// The configuration was read again and refused.
    ReloadRefused {
        /// Why.
        problem: String,
    },
    /// A reload found other secrets in a file.
    SecretsChanged {
        /// Whose secrets.
        endpoint: String,
        /// Names, or lines without one.
        added: Vec<String>,
        /// The same.
        removed: Vec<String>,
    },
    /// A secret was used for the first time since it was loaded.
    SecretUsed {
        /// Whose secret.
        endpoint: String,
        /// Its name or line.
        secret: String,
    },
    /// Another certificate is in use.
    CertificateChanged {
        /// `files`, `acme` or `reload`.
        source: &'static str,
    },
    /// Wrong or missing secrets of a network at an endpoint, in the last minute.
    AuthenticationFailures {
        /// An address, or the /64 of an IPv6 address; `None`: all others.
        network: Option<IpAddr>,
        /// Where.
        endpoint: Option<String>,
        /// How many.
        count: u64,
    },
    /// Records were taken out of quarantine and sent again.
    Replay {
        /// The files.
        files: Vec<PathBuf>,
        /// The only sink that gets the records; `None`: all that take them.
        sink: Option<String>,
    },
    /// Records and bodies are about to be deleted from quarantine.
    QuarantineDelete {
        /// The files that lose records or are removed.
        files: Vec<PathBuf>,
        /// How many records.
        records: u64,
        /// How many bodies that could not be decoded.
        bodies: u64,
    },
    /// Events were dropped, since the file could not be written fast enough.
    Dropped {
        /// How many.
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
    counted: Arc<AuditCounts>,
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
/// The file cannot be opened or is no regular file, or there can be no thread.
pub fn start(path: &Path) -> io::Result<()> {
    let file = open(path, Missing::Create)?;
    let (sender, receiver) = sync_channel(QUEUE);
    let counted = Arc::<AuditCounts>::default();
    let writer = Writer {
        path: path.to_owned(),
        file: Some(file),
        counted: Arc::clone(&counted),
        failures: FailureThrottle::default(),
    };
    thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&receiver))?;
    // A second log would be a defect; the first one stays.
    LOG.set(AuditLog { sender, counted }).ok();
    Ok(())
}

/// Records an event, if there is an audit log.
pub fn record(event: Event) {
    let Some(log) = LOG.get() else { return };
    if log.sender.try_send(Message::Event(Timestamp::now(), event)).is_err() {
        log.counted.dropped.fetch_add(1, Relaxed);
    }
}

/// Counts a wrong or missing secret.
pub fn authentication_failed(address: IpAddr, endpoint: &str) {
    let Some(log) = LOG.get() else { return };
    let mut failures = log.counted.failures();
    let key = Some((network(address), endpoint.to_owned()));
    let key = if failures.len() < MAX_COUNTED || failures.contains_key(&key) { key } else { None };
    *failures.entry(key).or_default() += 1;
}

/// Opens the file again: it may have been renamed.
pub fn reopen() {
    if let Some(log) = LOG.get() {
        log.sender.try_send(Message::Reopen).ok();
    }
}

/// Waits a moment until everything is written.
pub fn finish() {
    let Some(log) = LOG.get() else { return };
    let (done, written) = sync_channel(1);
    if log.sender.try_send(Message::Flush(done)).is_ok() {
        written.recv_timeout(FLUSH).ok();
    }
}

/// Records an event of a command in the audit log of a daemon, if the file is there.
///
/// # Errors
/// The file cannot be opened or written.
pub fn record_of_command(path: &Path, event: &Event) -> io::Result<()> {
    match open(path, Missing::Fail) {
        Ok(mut file) => file.write_all(&line(Timestamp::now(), event)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Missing {
    Create,
    Fail,
}

fn open(path: &Path, missing: Missing) -> io::Result<File> {
    // A pipe without a reader would block.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.append(true).create(missing == Missing::Create).mode(0o600).custom_flags(flags);
    let in_words = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot open {}: {error}", path.display()))
    };
    let file = options.open(path).map_err(in_words)?;
    if !file.metadata().map_err(in_words)?.is_file() {
        return Err(in_words(io::Error::other("it is not a regular file")));
    }
    Ok(file)
}

fn line(time: Timestamp, event: &Event) -> Vec<u8> {
    // Always six digits, so that lines sort by time as text.
    let time = format!("{time:.6}");
    let text = serde_json::to_string(&AuditLine { time, event }).unwrap_or_default();
    let mut line = String::with_capacity(text.len() + 1);
    crate::printable::json(&text, &mut line);
    line.push('\n');
    line.into_bytes()
}

/// The thread's side.
struct Writer {
    path: PathBuf,
    /// `None`: it could not be opened again.
    file: Option<File>,
    counted: Arc<AuditCounts>,
    failures: FailureThrottle,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut due = Instant::now() + INTERVAL;
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
                    due = Instant::now() + INTERVAL;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn write_counts(&mut self) {
        let counted = Arc::clone(&self.counted);
        let failures = counted.take_failures();
        let now = Timestamp::now();
        for (from, count) in failures {
            let (network, endpoint) = from.unzip();
            self.write(now, &Event::AuthenticationFailures { network, endpoint, count });
        }
        let count = counted.dropped.swap(0, Relaxed);
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
                self.counted.dropped.fetch_add(1, Relaxed);
                if let Some(repeated) = self.failures.failed(&error.to_string(), Instant::now()) {
                    error!(%error, repeated, "cannot write the audit log: events are lost");
                }
            }
        }
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path, Missing::Create)?,
        };
        file.write_all(line)?;
        self.file = Some(file);
        Ok(())
    }
}
