//! Writes the daemon's log to stderr, one line per event. Stdout is for records.
//!
//! Other modules only use the macros of `tracing`. Logging never waits for stderr, since lines go
//! through a bounded queue.

mod line;
mod queue;

use std::{env, io, panic, sync::Arc, time::Duration};

use tracing::{
    Event, Subscriber, error,
    level_filters::LevelFilter,
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt as _,
};

pub(crate) use self::line::list;
use self::{
    line::{LogReader, Style},
    queue::Queue,
};
use crate::config::{LogFormat, LogLevel};

/// Libraries that log every frame and packet, which is useful only to debug them.
const CHATTY: [&str; 5] = ["h2", "hyper", "hyper_util", "rustls", "tokio_rustls"];

/// How long the process waits at its end for the reader of stderr. A working reader takes
/// milliseconds.
const FLUSH: Duration = Duration::from_secs(2);

/// Starts logging to stderr for the whole process, including panics.
///
/// When stderr is systemd's journal, text lines carry their priority and no time: the journal adds
/// its own.
///
/// # Errors
/// Logging was started before, or its thread cannot be started.
pub fn init(format: LogFormat, level: LogLevel) -> io::Result<LogHandle> {
    let reader = if stderr_is_the_journal() { LogReader::Journal } else { LogReader::Any };
    let (subscriber, log) = subscriber(Style { format, reader }, level);
    subscriber.try_init().map_err(io::Error::other)?;
    log.queue.start()?;
    // The default hook writes to stderr directly, and may block forever.
    panic::set_hook(Box::new(|panic| error!("{panic}")));
    Ok(log)
}

/// Returns whether stderr is systemd's journal.
///
/// `JOURNAL_STREAM` contains the device and inode of the journal's socket, see systemd.exec(5). Its
/// presence alone is not enough: a process inherits it even if its stderr is redirected.
pub fn stderr_is_the_journal() -> bool {
    let stream = env::var("JOURNAL_STREAM").ok();
    let stat = rustix::fs::fstat(io::stderr()).ok();
    stream
        .zip(stat)
        .is_some_and(|(stream, stat)| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// The log of a running daemon.
#[derive(Clone)]
pub struct LogHandle {
    level: reload::Handle<Targets, Registry>,
    style: Style,
    queue: Arc<Queue>,
}

impl LogHandle {
    /// Sets the level: events that are at least as severe are logged.
    pub fn set_level(&self, level: LogLevel) {
        // It fails only when logging has ended, and then the error cannot be reported.
        drop(self.level.reload(targets(level)));
    }

    /// Returns the number of lines dropped because stderr was not read.
    pub fn dropped_lines(&self) -> u64 {
        self.queue.dropped()
    }

    /// Writes the queued lines, then `text` if there is one. Gives up after a moment if stderr is
    /// not read.
    pub fn finish(&self, text: Option<&str>) {
        if let Some(text) = text {
            self.queue.push_last(self.style.final_text(text));
        }
        self.queue.flush(FLUSH);
    }
}

/// Formats and queues the lines. Each event gets the fields of its spans, such as the sink of a
/// thread.
struct Lines {
    style: Style,
    queue: Arc<Queue>,
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = self.style.fields();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = self.style.fields();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get() {
                fields.add_span(outer);
            }
        }
        self.queue.push(self.style.line(event, &fields));
    }
}

fn subscriber(style: Style, level: LogLevel) -> (impl Subscriber + Send + Sync, LogHandle) {
    let (filter, level) = reload::Layer::new(targets(level));
    let queue = Arc::new(Queue::new(move |dropped| {
        let text = format!("{dropped} log lines were dropped: stderr was not read fast enough");
        style.warning(&text)
    }));
    let lines = Lines { style, queue: Arc::clone(&queue) };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    (subscriber, LogHandle { level, style, queue })
}

fn targets(level: LogLevel) -> Targets {
    let (ours, theirs) = match level {
        LogLevel::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
        LogLevel::Warn => (LevelFilter::WARN, LevelFilter::WARN),
        LogLevel::Info => (LevelFilter::INFO, LevelFilter::WARN),
        LogLevel::Debug => (LevelFilter::DEBUG, LevelFilter::DEBUG),
        LogLevel::Trace => (LevelFilter::TRACE, LevelFilter::TRACE),
    };
    Targets::new().with_default(ours).with_targets(CHATTY.map(|target| (target, theirs)))
}

#[cfg(test)]
mod tests;
