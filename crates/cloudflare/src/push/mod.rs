//! `logpushd push`: sends the records of files as Logpush would.
//!
//! Each connection has a thread, which takes one file at a time, splits it into batches while reading,
//! and retries each batch until the server accepts it. Therefore the records of a file arrive in order,
//! and the same file with the same limits gives the same batches, which a server can deduplicate.

mod batch;
mod chunks;
mod files;
mod format;
mod options;
mod progress;
mod report;
mod sender;
mod split;

use std::{
    fmt,
    fs::File,
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use command::fatal::Fatal;
use http::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

pub use self::options::Push;
use self::{
    batch::GzippedBatch,
    files::InputFile,
    progress::{CountingReader, Progress},
    sender::{Sender, StopFlag, UploadTarget},
    split::{SplitMode, SplitOptions},
};
use crate::{argument, destination::Destination};

/// The interval between updates of the status line.
const REDRAW: Duration = Duration::from_millis(200);

/// The capacity of the queue of events to the main thread.
const EVENTS: usize = 16;

/// The reason why a file was not sent.
#[derive(Debug)]
enum PushError {
    /// The file cannot be read or split; other files continue.
    File(String),
    /// The server refused a batch, and a retry would not help; the push stops.
    Refused(String),
    /// The server cannot be reached, or accepted nothing for too long; the push stops.
    Unreachable(String),
    /// A signal or the error of another file stopped the push.
    Interrupted,
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(text) | Self::Refused(text) | Self::Unreachable(text) => f.write_str(text),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl From<io::Error> for PushError {
    fn from(error: io::Error) -> Self {
        Self::File(error.to_string())
    }
}

/// An event for the main thread.
enum PushEvent {
    /// A file is finished: its index, the number of accepted records, and the result.
    File(usize, u64, Result<(), PushError>),
    /// A connection has ended.
    Ended,
    /// A signal arrived.
    Stop,
}

/// The state that all connections share.
struct PushState {
    sources: Vec<InputFile>,
    next: AtomicUsize,
    split: SplitOptions,
    progress: Arc<Progress>,
    stop: Arc<StopFlag>,
}

/// Sends the files. Shows a status line on `terminal`, if there is one.
///
/// # Errors
/// An option is invalid, a file was not sent, or the server quarantined records.
pub fn run(
    options: &Push,
    out: &mut dyn Write,
    terminal: Option<&mut dyn Write>,
) -> Result<(), Fatal> {
    let target = target(options)?;
    let sources = files::find(&options.files)?;
    if sources.is_empty() {
        return Err(Fatal::Usage("the directories contain no files to send".to_owned()));
    }
    let has_stdin = sources.iter().any(InputFile::is_stdin);
    let total = if has_stdin { 0 } else { sources.iter().map(|source| source.bytes).sum() };
    let split = SplitOptions {
        max_bytes: options.max_bytes,
        max_records: options.max_records,
        level: options.gzip,
        mode: split_mode(options),
    };
    let shared = PushState {
        sources,
        next: AtomicUsize::new(0),
        split,
        progress: Arc::new(Progress::new(total)),
        stop: Arc::default(),
    };
    if options.dry_run {
        return report::describe(&shared, &target, options.json, out);
    }
    let mut senders = Vec::new();
    for _ in 0..shared.sources.len().min(options.parallel.into()) {
        senders.push(Sender::new(&target, &shared.progress, &shared.stop)?);
    }
    if let Some(first) = senders.first() {
        first.connect().map_err(|error| Fatal::Unavailable(error.to_string()))?;
    }
    let (events, receiver) = sync_channel(EVENTS);
    watch_signals(events.clone())?;
    let shared = Arc::new(shared);
    let connections = senders.len();
    for sender in senders {
        let (shared, events) = (Arc::clone(&shared), events.clone());
        thread::Builder::new()
            .name("push".to_owned())
            .spawn(move || work(&shared, sender, &events))?;
    }
    drop(events);
    let outcomes = wait(&shared, &receiver, connections, terminal)?;
    report::write(&shared, &outcomes, options.json, out)
}

/// Returns the split mode; the options are mutually exclusive.
const fn split_mode(options: &Push) -> SplitMode {
    if options.whole {
        SplitMode::Whole
    } else if options.csv_header {
        SplitMode::CsvWithHeader
    } else if options.no_csv_header {
        SplitMode::CsvRows
    } else if options.lines {
        SplitMode::Lines
    } else {
        SplitMode::Records
    }
}

fn target(options: &Push) -> Result<UploadTarget, Fatal> {
    let files = options.files.iter().filter_map(|path| path.to_str());
    let file = options.header_file.iter().filter_map(|path| path.to_str());
    let values = options.header.iter().map(String::as_str).chain([options.url.as_str()]);
    if values.chain(files).chain(file).filter(|value| argument::is_stdin(value)).count() > 1 {
        return Err(Fatal::Usage("standard input (-) can be read only once".to_owned()));
    }
    let parsed = Destination::parse(&argument::read(&options.url)?)
        .map_err(|problems| Fatal::Usage(format!("the URL is invalid:\n{problems}")))?;
    let mut more = HeaderMap::new();
    if let Some(path) = &options.header_file {
        let text = argument::read_file(path)?;
        headers(&path.display().to_string(), &text, &mut more)?;
    }
    for header in &options.header {
        let from = header.strip_prefix('@').unwrap_or("--header");
        headers(from, &argument::read(header)?, &mut more)?;
    }
    let tls =
        tls::public(options.ca.as_deref()).map_err(|error| Fatal::Io(format!("--ca: {error}")))?;
    Ok(UploadTarget::new(parsed.destination, more, tls, options.give_up_after))
}

/// Parses headers, one `Name: value` per line.
fn headers(from: &str, text: &str, headers: &mut HeaderMap) -> Result<(), Fatal> {
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let header = line.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        });
        let Some((name, mut value)) = header else {
            // Do not quote the line, which may contain a secret.
            return Err(Fatal::Usage(format!(
                "{from}:{}: not a header: write one such as \"X-Logpush-Secret: SECRET\"",
                number + 1
            )));
        };
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(())
}

/// Sends an event for each SIGINT and SIGTERM.
fn watch_signals(events: SyncSender<PushEvent>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let watch = move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if events.send(PushEvent::Stop).is_err() {
                    break;
                }
            }
        });
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop)
}

/// Sends [`PushEvent::Ended`] when dropped, also after a panic.
struct EndNotifier<'a>(&'a SyncSender<PushEvent>);

impl Drop for EndNotifier<'_> {
    fn drop(&mut self) {
        // After a second signal, the receiver is gone.
        self.0.send(PushEvent::Ended).ok();
    }
}

/// Runs a connection: sends one file after the other.
fn work(shared: &PushState, mut sender: Sender, events: &SyncSender<PushEvent>) {
    let _ending = EndNotifier(events);
    loop {
        let index = shared.next.fetch_add(1, Ordering::Relaxed);
        let Some(source) = shared.sources.get(index).filter(|_| !shared.stop.is_set()) else {
            break;
        };
        let mut records = 0;
        let outcome = each_batch(shared, source, &mut |body| {
            sender.send(&body)?;
            records += body.records;
            Ok(())
        });
        if matches!(outcome, Err(PushError::Refused(_) | PushError::Unreachable(_))) {
            shared.stop.set();
        }
        if events.send(PushEvent::File(index, records, outcome)).is_err() {
            break;
        }
    }
}

fn each_batch(
    shared: &PushState,
    source: &InputFile,
    take: &mut dyn FnMut(GzippedBatch) -> Result<(), PushError>,
) -> Result<(), PushError> {
    let progress = &shared.progress;
    let from: Box<dyn Read> = if source.is_stdin() {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(&source.path)?)
    };
    split::split(format::open(CountingReader { from, progress })?, shared.split, take)
}

/// The number of accepted records of a file, and the result.
type FileOutcome = (u64, Result<(), PushError>);

/// Waits until all connections have ended, or for a second signal. A file that was not started has no
/// outcome.
fn wait(
    shared: &PushState,
    receiver: &Receiver<PushEvent>,
    connections: usize,
    mut terminal: Option<&mut dyn Write>,
) -> io::Result<Vec<Option<FileOutcome>>> {
    let mut outcomes: Vec<Option<FileOutcome>> = Vec::new();
    outcomes.resize_with(shared.sources.len(), || None);
    let (mut ended, mut drawn) = (0, Instant::now());
    while ended < connections {
        match receiver.recv_timeout(REDRAW) {
            Ok(PushEvent::File(index, records, outcome)) => {
                if outcome.is_ok() {
                    shared.progress.file_done();
                }
                if let Some(slot) = outcomes.get_mut(index) {
                    *slot = Some((records, outcome));
                }
            }
            Ok(PushEvent::Ended) => ended += 1,
            Ok(PushEvent::Stop) if shared.stop.is_set() => break,
            Ok(PushEvent::Stop) => {
                shared.stop.set();
                if let Some(terminal) = &mut terminal {
                    writeln!(
                        terminal,
                        "\r\x1b[Kstopping after the current batches; press Ctrl-C again to stop at once"
                    )?;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if let Some(terminal) = terminal.as_mut().filter(|_| drawn.elapsed() >= REDRAW) {
            drawn = Instant::now();
            write!(terminal, "\r{}\x1b[K", shared.progress.line())?;
            terminal.flush()?;
        }
    }
    if let Some(terminal) = terminal {
        write!(terminal, "\r\x1b[K")?;
        terminal.flush()?;
    }
    Ok(outcomes)
}
