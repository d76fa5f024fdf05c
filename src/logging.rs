//! The daemon's own log: one line an event, to stderr.
//!
//! Stdout belongs to the records. Everything else only calls the macros of `tracing`.

use std::{env, io};

use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    reload,
    util::{SubscriberInitExt as _, TryInitError},
};

use crate::config::{LogFormat, LogLevel};

/// Libraries that report every frame and every packet: of interest to who debugs this daemon only.
const CHATTY: [&str; 5] = ["h2", "hyper", "hyper_util", "rustls", "tokio_rustls"];

/// Starts logging to stderr, for the whole process.
///
/// When stderr is systemd's journal, text lines carry no time: the journal adds its own.
///
/// # Errors
/// It was started before.
pub fn init(format: LogFormat, level: LogLevel) -> Result<LogHandle, TryInitError> {
    let time = if stderr_is_the_journal() { Time::Left } else { Time::Written };
    let (subscriber, handle) = subscriber(format, level, time, io::stderr);
    subscriber.try_init()?;
    Ok(handle)
}

/// `JOURNAL_STREAM` alone does not tell: it is inherited also by who has stderr redirected. It
/// holds device and inode of the journal's socket, see systemd.exec(5).
fn stderr_is_the_journal() -> bool {
    let stream = env::var("JOURNAL_STREAM").ok();
    let stat = rustix::fs::fstat(io::stderr()).ok();
    stream
        .zip(stat)
        .is_some_and(|(stream, stat)| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// Changes the level while the daemon runs.
#[derive(Clone, Debug)]
pub struct LogHandle(reload::Handle<Targets, Registry>);

impl LogHandle {
    /// From here on, everything that is at least as grave as `level` is logged.
    pub fn set_level(&self, level: LogLevel) {
        // It fails only when logging has ended, and then there is nobody to tell.
        drop(self.0.reload(targets(level)));
    }
}

/// Who says when something happened.
#[derive(Clone, Copy, Debug)]
enum Time {
    /// The line, in RFC 3339 and UTC.
    Written,
    /// Whoever takes the line.
    Left,
}

fn subscriber<W>(
    format: LogFormat,
    level: LogLevel,
    time: Time,
    writer: W,
) -> (impl Subscriber + Send + Sync, LogHandle)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(targets(level));
    // No colours: the feature is not compiled in.
    let lines = fmt::layer().with_writer(writer).with_ansi(false);
    let lines = match (format, time) {
        (LogFormat::Text, Time::Written) => lines.boxed(),
        (LogFormat::Text, Time::Left) => lines.without_time().boxed(),
        (LogFormat::Json, _) => lines.json().flatten_event(true).boxed(),
    };
    (tracing_subscriber::registry().with(filter).with(lines), LogHandle(handle))
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
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::{debug, info, subscriber::with_default, warn};

    use super::*;

    #[test]
    fn a_line_of_text_has_its_time_or_leaves_it() {
        for (time, starts) in [(Time::Written, "20"), (Time::Left, " INFO logpushd")] {
            let log = Log::default();
            let (subscriber, _) = log.subscriber(LogFormat::Text, LogLevel::Info, time);
            with_default(subscriber, || info!(peer = "192.0.2.1", "accepted"));
            let text = log.take();
            assert!(text.starts_with(starts), "{text}");
            assert!(text.ends_with(": accepted peer=\"192.0.2.1\"\n"), "{text}");
            assert!(!text.contains('\u{1b}'), "{text}");
        }
    }

    #[test]
    fn a_line_of_json_is_one_flat_object() {
        let log = Log::default();
        let (subscriber, _) = log.subscriber(LogFormat::Json, LogLevel::Info, Time::Left);
        with_default(subscriber, || info!(bytes = 7, "with \"quotes\"\nand lines"));
        let text = log.take();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "with \"quotes\"\nand lines");
        assert_eq!(line["bytes"], 7);
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{text}");
    }

    #[test]
    fn the_level_changes_while_running() {
        let log = Log::default();
        let (subscriber, handle) = log.subscriber(LogFormat::Text, LogLevel::Warn, Time::Left);
        with_default(subscriber, || {
            info!("one");
            handle.set_level(LogLevel::Info);
            info!("two");
            debug!("three");
            handle.set_level(LogLevel::Error);
            warn!("four");
        });
        let text = log.take();
        assert!(text.contains("two") && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn libraries_are_quieter_until_someone_debugs() {
        use tracing::Level;

        let info = targets(LogLevel::Info);
        assert!(info.would_enable("logpushd::serve", &Level::INFO));
        assert!(!info.would_enable("h2::codec", &Level::INFO));
        assert!(info.would_enable("h2::codec", &Level::WARN));
        assert!(targets(LogLevel::Debug).would_enable("h2::codec", &Level::DEBUG));
        assert!(!targets(LogLevel::Error).would_enable("rustls", &Level::WARN));
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        fn subscriber(
            &self,
            format: LogFormat,
            level: LogLevel,
            time: Time,
        ) -> (impl Subscriber + Send + Sync + use<>, LogHandle) {
            let log = self.clone();
            subscriber(format, level, time, move || log.clone())
        }

        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
        }
    }

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
