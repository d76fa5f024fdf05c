//! The daemon's own log: one line an event, to stderr.
//!
//! Stdout belongs to the records. Everything else only calls the macros of `tracing`. Nothing that
//! logs waits for stderr: lines go through a bounded queue.

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

/// Libraries that report every frame and every packet: of interest only to those who debug them.
const CHATTY: [&str; 5] = ["h2", "hyper", "hyper_util", "rustls", "tokio_rustls"];

/// How long the end of the process waits for a reader of stderr. One that works takes milliseconds.
const FLUSH: Duration = Duration::from_secs(2);

/// Starts logging to stderr, for the whole process, and logs panics as well.
///
/// When stderr is systemd's journal, text lines carry their priority and no time: the journal adds
/// its own.
///
/// # Errors
/// Logging was started before, or there can be no thread for it.
pub fn init(format: LogFormat, level: LogLevel) -> io::Result<LogHandle> {
    let reader = if stderr_is_the_journal() { LogReader::Journal } else { LogReader::Any };
    let (subscriber, log) = subscriber(Style { format, reader }, level);
    subscriber.try_init().map_err(io::Error::other)?;
    log.queue.start()?;
    // The default hook writes to stderr itself, and so may never return.
    panic::set_hook(Box::new(|panic| error!("{panic}")));
    Ok(log)
}

/// Whether stderr is systemd's journal.
///
/// `JOURNAL_STREAM` alone does not tell: a process inherits it even when its stderr is redirected. It
/// holds device and inode of the journal's socket, see systemd.exec(5).
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
    /// From here on, everything that is at least as severe as `level` is logged.
    pub fn set_level(&self, level: LogLevel) {
        // It fails only when logging has ended, and then there is nowhere to report it.
        drop(self.level.reload(targets(level)));
    }

    /// How many lines were dropped because stderr was not read.
    pub fn dropped_lines(&self) -> u64 {
        self.queue.dropped()
    }

    /// Writes the lines that are left, after them `last_words` if there are any. Waits a moment for
    /// that, and gives up if stderr is not read.
    pub fn finish(&self, last_words: Option<&str>) {
        if let Some(text) = last_words {
            self.queue.push_last(self.style.last_words(text));
        }
        self.queue.flush(FLUSH);
    }
}

/// Composes the lines and queues them. The fields of a span, such as the sink of a thread, are those
/// of each event in it.
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
