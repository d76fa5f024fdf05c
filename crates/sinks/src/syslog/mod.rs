//! The `syslog` sink: sends each record as a message to a syslog server (RFC 5424 or RFC 3164).
//!
//! Delivers at least once over TCP, TLS and unix sockets: the sink sends again what a broken
//! connection may have lost, and the server may get some records twice. Delivers with best effort
//! over UDP, where losses cannot be detected.

mod frame;
mod header;
mod in_doubt;
mod probe;
mod settings;
mod target_order;
mod transport;
mod unacknowledged;

use std::{io, time::Instant};

use records::{decode::Block, record};
use rustix::system::uname;
use spool::{Batch, log_throttle::LossThrottle};
use tracing::{info, warn};

pub use self::settings::{
    Framing, LeefVersion, MessageFormat, Oversize, Settings, SyslogFormat, SyslogTarget, SyslogTime,
};
pub use self::unacknowledged::check_acknowledgments;
use self::{
    frame::frame,
    header::Header,
    in_doubt::InDoubt,
    target_order::TargetOrder,
    transport::{Connection, SocketKind},
};
use super::{Readiness, Sink, SinkCounters, SinkError, State, message};

/// The size of a write to a stream.
const WRITE_BYTES: usize = 64 * 1024;

/// The error of the kernel for a datagram that is too long.
const TOO_LONG: i32 = rustix::io::Errno::MSGSIZE.raw_os_error();

/// Sends records to the first target that works.
#[derive(Debug)]
pub(super) struct SyslogSink {
    config: Settings,
    hostname: String,
    targets: TargetOrder,
    link: Option<Link>,
    in_doubt: InDoubt,
    batch: Option<CurrentBatch>,
    /// Framed messages that are not written to the stream yet.
    out: Vec<u8>,
    message: Vec<u8>,
    counters: SinkCounters,
    /// Limits the log lines about records that were too long.
    losses: LossThrottle,
}

/// The connection in use.
#[derive(Debug)]
struct Link {
    /// The index of its target in the configuration.
    target: usize,
    connection: Connection,
}

/// The current batch.
#[derive(Debug)]
struct CurrentBatch {
    sequence: u64,
    dataset: String,
    header: Header,
    received: String,
    oversize: u64,
}

impl SyslogSink {
    pub(super) fn new(config: Settings, counters: SinkCounters) -> Self {
        let hostname = config.hostname.clone().unwrap_or_else(hostname);
        let targets = TargetOrder::new(config.targets.len(), config.failback);
        Self {
            config,
            hostname,
            targets,
            link: None,
            in_doubt: InDoubt::default(),
            batch: None,
            out: Vec::new(),
            message: Vec::new(),
            counters,
            losses: LossThrottle::default(),
        }
    }

    /// Ensures that the sink is connected to the best available target.
    fn connect(&mut self) -> Result<(), SinkError> {
        let now = Instant::now();
        if let Some(link) = &mut self.link {
            let better = self.targets.better(link.target, now);
            if let Err(error) = link.connection.check() {
                let error = self.named(error);
                if !self.in_doubt.is_empty() {
                    return Err(self.broken(error));
                }
                // Servers close idle connections, and no batch was in doubt.
                self.link = None;
            } else if let Ok(link) = self.open(&better) {
                return self.change_to(link);
            }
        }
        if self.link.is_none() {
            let order = self.targets.order(now);
            self.link = Some(self.open(&order)?);
        }
        Ok(())
    }

    /// Connects to the first target of `order` that works.
    fn open(&mut self, order: &[usize]) -> io::Result<Link> {
        let mut errors = Vec::new();
        for target in order {
            let Some(at) = self.config.targets.get(*target) else { continue };
            match Connection::open(at, &self.config.tls, self.config.timeout) {
                Ok(connection) => {
                    info!(server = %at, "connected");
                    return Ok(Link { target: *target, connection });
                }
                Err(error) => {
                    self.targets.failed(*target, Instant::now());
                    errors.push(format!("{at}: {error}"));
                }
            }
        }
        Err(io::Error::other(errors.join("; ")))
    }

    /// Closes the connection in use gracefully and switches to a better target.
    fn change_to(&mut self, link: Link) -> Result<(), SinkError> {
        let Some(old) = self.link.replace(link) else { return Ok(()) };
        match old.connection.close() {
            Ok(()) => self.in_doubt.clear(),
            Err(error) if !self.in_doubt.is_empty() => {
                self.in_doubt.clear();
                return Err(SinkError::since_checkpoint(error));
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// Drops the connection. Batches in doubt have to be sent again.
    fn broken(&mut self, error: io::Error) -> SinkError {
        if let Some(link) = self.link.take() {
            self.targets.failed(link.target, Instant::now());
        }
        if self.in_doubt.is_empty() {
            return error.into();
        }
        self.in_doubt.clear();
        SinkError::since_checkpoint(error)
    }

    /// Adds the target to an error.
    fn named(&self, error: io::Error) -> io::Error {
        let at = self.link.as_ref().and_then(|link| self.config.targets.get(link.target));
        match at {
            Some(at) => io::Error::new(error.kind(), format!("{at}: {error}")),
            None => error,
        }
    }

    /// Whether the sink uses RFC 3164 on a unix socket.
    fn is_local(&self) -> bool {
        let at = self.link.as_ref().and_then(|link| self.config.targets.get(link.target));
        self.config.format == SyslogFormat::Rfc3164 && matches!(at, Some(SyslogTarget::Unix(_)))
    }

    fn send(&mut self, record: &[u8]) -> io::Result<()> {
        let (Some(batch), Some(link)) = (&mut self.batch, &mut self.link) else {
            return Err(io::Error::other("no batch was begun"));
        };
        self.message.clear();
        let severity = severity(&self.config, record);
        let event = match self.config.time {
            SyslogTime::Received => None,
            SyslogTime::Event => record::time_of(&batch.dataset, record),
        };
        let event = event.map(|time| batch.header.time(time));
        batch.header.write(&mut self.message, severity, event.as_ref().unwrap_or(&batch.received));
        let header = self.message.len();
        message::render(self.config.body(), &batch.dataset, record, &mut self.message);
        match fit(&self.config, &batch.dataset, record, &mut self.message, header) {
            FitOutcome::Whole => {}
            FitOutcome::Shortened => batch.oversize += 1,
            FitOutcome::Dropped => {
                batch.oversize += 1;
                return Ok(());
            }
        }
        let framing = match link.connection.kind() {
            SocketKind::Datagram => {
                let written = link.connection.write(&self.message);
                // A retry cannot succeed: the socket accepts no datagram of this size.
                let too_long = |error: &io::Error| error.raw_os_error() == Some(TOO_LONG);
                if written.as_ref().is_err_and(too_long) {
                    batch.oversize += 1;
                    return Ok(());
                }
                return written;
            }
            SocketKind::Network => self.config.framing.unwrap_or(Framing::OctetCounting),
            SocketKind::Local => self.config.framing.unwrap_or(Framing::Newline),
        };
        frame(&mut self.out, &self.message, framing);
        if self.out.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(link) = &mut self.link
            && !self.out.is_empty()
        {
            link.connection.write(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }
}

/// The result of fitting a message into its limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum FitOutcome {
    Whole,
    Shortened,
    /// The message has to be dropped.
    Dropped,
}

/// Shortens a message, whose first `header` bytes are the header, to its limit. Removes whole
/// fields: a parser would not accept a message that is cut elsewhere.
fn fit(
    config: &Settings,
    dataset: &str,
    record: &[u8],
    message: &mut Vec<u8>,
    header: usize,
) -> FitOutcome {
    let max = config.message_limit();
    if message.len() <= max {
        return FitOutcome::Whole;
    }
    if config.oversize == Oversize::Drop {
        return FitOutcome::Dropped;
    }
    message.truncate(header);
    let room = max.saturating_sub(header);
    let fits = message::render_within(config.body(), dataset, record, room, message);
    if fits { FitOutcome::Shortened } else { FitOutcome::Dropped }
}

impl Sink for SyslogSink {
    fn begin(&mut self, batch: &Batch) -> Result<Readiness, SinkError> {
        self.out.clear();
        self.connect()?;
        let (sequence, about) = (batch.sequence, &batch.header.origin);
        let hostname = (!self.is_local()).then_some(self.hostname.as_str());
        let header = Header::new(&self.config, hostname, &about.endpoint, &about.dataset);
        let received = header.time(about.received);
        let dataset = about.dataset.clone();
        self.batch = Some(CurrentBatch { sequence, dataset, header, received, oversize: 0 });
        Ok(Readiness::Ready)
    }

    fn write(&mut self, block: &Block) -> Result<(), SinkError> {
        for record in block.iter() {
            if let Err(error) = self.send(record) {
                let error = self.named(error);
                return Err(self.broken(error));
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        if let Err(error) = self.flush() {
            let error = self.named(error);
            return Err(self.broken(error));
        }
        let (Some(batch), Some(link)) = (self.batch.take(), &self.link) else { return Ok(()) };
        self.in_doubt.add(batch.sequence, link.connection.written(), Instant::now());
        if batch.oversize > 0 {
            let CurrentBatch { sequence, oversize, .. } = batch;
            let action = match self.config.oversize {
                Oversize::Truncate => "longest fields dropped",
                Oversize::Drop => "message dropped",
            };
            if let Some(records) = self.losses.add(oversize, Instant::now()) {
                warn!(batch = sequence, records, action, "longer than max_message_bytes");
            }
            self.counters.oversize_records.add(oversize);
        }
        Ok(())
    }

    /// Finds out which batches have arrived. Only the server can make them durable.
    fn sync(&mut self) -> Result<State, SinkError> {
        if let Some(link) = &mut self.link
            && !self.in_doubt.is_empty()
        {
            // In this order: if the connection breaks in between, the check fails.
            let (acknowledged, now) = (link.connection.acknowledged(), Instant::now());
            let checked = link.connection.check().and(acknowledged);
            let acknowledged = match checked {
                Ok(acknowledged) => acknowledged,
                Err(error) => {
                    let error = self.named(error);
                    return Err(self.broken(error));
                }
            };
            self.in_doubt.settle(acknowledged, self.config.resend_window, now);
        }
        Ok(State::default())
    }

    fn in_doubt(&self) -> Option<u64> {
        self.in_doubt.oldest()
    }

    fn close(&mut self) -> Result<(), SinkError> {
        let Some(link) = self.link.take() else { return Ok(()) };
        link.connection.close()?;
        self.in_doubt.clear();
        Ok(())
    }
}

fn severity(config: &Settings, record: &[u8]) -> u8 {
    let by = config.severity_field.as_ref().and_then(|field| {
        let value = record::find(record, field)?.into_text();
        config
            .severity_values
            .iter()
            .find(|(text, _)| *text == value)
            .map(|(_, severity)| *severity)
    });
    by.unwrap_or(config.severity)
}

fn hostname() -> String {
    // From the kernel, since a sandbox may hide /proc/sys.
    uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod failure_tests;
#[cfg(test)]
mod tests;
