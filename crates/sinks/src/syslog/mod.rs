//! The `syslog` sink: a message a record, to a server of RFC 5424 or RFC 3164.
//!
//! At least once over TCP, TLS and unix sockets: what a broken connection may have lost is sent
//! again, so some records come twice then. Best effort over UDP, where nobody hears of a loss.

mod doubt;
mod frame;
mod header;
mod settings;
mod targets;
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
    doubt::Doubt,
    frame::frame,
    header::Header,
    targets::Targets,
    transport::{Connection, Kind},
};
use super::{Begin, Sink, SinkCounters, SinkError, State, message};

/// How much is gathered for one write to a stream.
const WRITE_BYTES: usize = 64 * 1024;

/// What the system says of a datagram that is too long.
const TOO_LONG: i32 = rustix::io::Errno::MSGSIZE.raw_os_error();

/// Sends records to the first target that works.
#[derive(Debug)]
pub(super) struct SyslogSink {
    config: Settings,
    hostname: String,
    targets: Targets,
    link: Option<Link>,
    doubt: Doubt,
    batch: Option<Current>,
    /// Framed messages on their way to a stream.
    out: Vec<u8>,
    message: Vec<u8>,
    counters: SinkCounters,
    /// Which of the records that were too long are logged.
    losses: LossThrottle,
}

#[derive(Debug)]
struct Link {
    /// Its place in the config.
    target: usize,
    connection: Connection,
}

/// The batch that is being written.
#[derive(Debug)]
struct Current {
    sequence: u64,
    dataset: String,
    header: Header,
    received: String,
    oversize: u64,
}

impl SyslogSink {
    pub(super) fn new(config: Settings, counters: SinkCounters) -> Self {
        let hostname = config.hostname.clone().unwrap_or_else(hostname);
        let targets = Targets::new(config.targets.len(), config.failback);
        Self {
            config,
            hostname,
            targets,
            link: None,
            doubt: Doubt::default(),
            batch: None,
            out: Vec::new(),
            message: Vec::new(),
            counters,
            losses: LossThrottle::default(),
        }
    }

    /// Sees to it that there is a connection, to the best target that there is.
    fn connect(&mut self) -> Result<(), SinkError> {
        let now = Instant::now();
        if let Some(link) = &mut self.link {
            let better = self.targets.better(link.target, now);
            if let Err(error) = link.connection.check() {
                let error = self.named(error);
                if !self.doubt.is_empty() {
                    return Err(self.broken(error));
                }
                // Servers close what was idle for long, and nothing was under way.
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

    /// Connects to the first of these that can be reached.
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

    /// Leaves a target that works for a better one.
    fn change_to(&mut self, link: Link) -> Result<(), SinkError> {
        let Some(old) = self.link.replace(link) else { return Ok(()) };
        match old.connection.close() {
            Ok(()) => self.doubt.clear(),
            Err(error) if !self.doubt.is_empty() => {
                self.doubt.clear();
                return Err(SinkError::since_checkpoint(error));
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// Gives up the connection. What is in doubt is to be sent again.
    fn broken(&mut self, error: io::Error) -> SinkError {
        if let Some(link) = self.link.take() {
            self.targets.failed(link.target, Instant::now());
        }
        if self.doubt.is_empty() {
            return error.into();
        }
        self.doubt.clear();
        SinkError::since_checkpoint(error)
    }

    /// Says which target it was.
    fn named(&self, error: io::Error) -> io::Error {
        let at = self.link.as_ref().and_then(|link| self.config.targets.get(link.target));
        match at {
            Some(at) => io::Error::new(error.kind(), format!("{at}: {error}")),
            None => error,
        }
    }

    /// Whether RFC 3164 is spoken on a unix socket.
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
            Fit::Whole => {}
            Fit::Shortened => batch.oversize += 1,
            Fit::Dropped => {
                batch.oversize += 1;
                return Ok(());
            }
        }
        let framing = match link.connection.kind() {
            Kind::Datagram => {
                let written = link.connection.write(&self.message);
                // However often it were tried: the socket takes none of this size.
                let too_long = |error: &io::Error| error.raw_os_error() == Some(TOO_LONG);
                if written.as_ref().is_err_and(too_long) {
                    batch.oversize += 1;
                    return Ok(());
                }
                return written;
            }
            Kind::Network => self.config.framing.unwrap_or(Framing::OctetCounting),
            Kind::Local => self.config.framing.unwrap_or(Framing::Newline),
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

/// What became of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fit {
    Whole,
    Shortened,
    /// It is to be left out.
    Dropped,
}

/// Brings a message, of which the first `header` bytes are the header, to its limit. It loses whole fields:
/// cut anywhere else, no reader would take it.
fn fit(
    config: &Settings,
    dataset: &str,
    record: &[u8],
    message: &mut Vec<u8>,
    header: usize,
) -> Fit {
    let max = config.message_limit();
    if message.len() <= max {
        return Fit::Whole;
    }
    if config.oversize == Oversize::Drop {
        return Fit::Dropped;
    }
    message.truncate(header);
    let room = max.saturating_sub(header);
    let fits = message::render_within(config.body(), dataset, record, room, message);
    if fits { Fit::Shortened } else { Fit::Dropped }
}

impl Sink for SyslogSink {
    fn begin(&mut self, batch: &Batch) -> Result<Begin, SinkError> {
        self.out.clear();
        self.connect()?;
        let (sequence, about) = (batch.sequence, &batch.header.origin);
        let hostname = (!self.is_local()).then_some(self.hostname.as_str());
        let header = Header::new(&self.config, hostname, &about.endpoint, &about.dataset);
        let received = header.time(about.received);
        let dataset = about.dataset.clone();
        self.batch = Some(Current { sequence, dataset, header, received, oversize: 0 });
        Ok(Begin::Ready)
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
        self.doubt.add(batch.sequence, link.connection.written(), Instant::now());
        if batch.oversize > 0 {
            let Current { sequence, oversize, .. } = batch;
            let action = match self.config.oversize {
                Oversize::Truncate => "longest fields left out",
                Oversize::Drop => "message left out",
            };
            if let Some(records) = self.losses.add(oversize, Instant::now()) {
                warn!(batch = sequence, records, action, "longer than max_message_bytes");
            }
            self.counters.oversize_records.add(oversize);
        }
        Ok(())
    }

    /// Nothing is made durable here: that is the server's business. But what has arrived is told from
    /// what may not have.
    fn sync(&mut self) -> Result<State, SinkError> {
        if let Some(link) = &mut self.link
            && !self.doubt.is_empty()
        {
            // In this order: a connection that breaks in between takes nothing with it.
            let (acknowledged, now) = (link.connection.acknowledged(), Instant::now());
            let checked = link.connection.check().and(acknowledged);
            let acknowledged = match checked {
                Ok(acknowledged) => acknowledged,
                Err(error) => {
                    let error = self.named(error);
                    return Err(self.broken(error));
                }
            };
            self.doubt.settle(acknowledged, self.config.resend_window, now);
        }
        Ok(State::default())
    }

    fn in_doubt(&self) -> Option<u64> {
        self.doubt.oldest()
    }

    fn close(&mut self) -> Result<(), SinkError> {
        let Some(link) = self.link.take() else { return Ok(()) };
        link.connection.close()?;
        self.doubt.clear();
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
    // Asked of the kernel: a sandbox may hide /proc/sys.
    uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod failure_tests;
#[cfg(test)]
mod tests;
