//! `logpushd push`: sends files as Logpush would send their records.
//!
//! Each connection is a thread, and takes one file after the other. It cuts it into batches while it
//! reads it, and sends each until it is taken. So the records of a file arrive in their order, and the
//! same file with the same limits is the same batches, which a server that knows them takes once.

mod batch;
mod compressed;
mod courier;
mod cut;
mod files;
mod options;
mod pieces;
mod report;
mod tally;

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
    batch::Body,
    courier::{Courier, Route, Stop},
    cut::{Cut, How},
    files::Source,
    tally::{Counted, Tally},
};
use crate::{argument, destination::Destination};

/// How often the line is drawn.
const REDRAW: Duration = Duration::from_millis(200);

/// What may wait for the main thread, which does nothing but wait.
const EVENTS: usize = 16;

/// Why a file was not sent.
#[derive(Debug)]
enum Failure {
    /// Something about the file: others go on.
    Flaw(String),
    /// The server does not take it, and would not take it again: nothing goes on.
    Refused(String),
    /// There is no server, or it took nothing for too long.
    Unreachable(String),
    /// It was asked for, or another file failed.
    Interrupted,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flaw(text) | Self::Refused(text) | Self::Unreachable(text) => f.write_str(text),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Flaw(error.to_string())
    }
}

/// What the main thread hears of.
enum Event {
    /// A file is done, or not: its place, and how many records of it were taken.
    File(usize, u64, Result<(), Failure>),
    /// A connection has nothing more to do.
    Ended,
    /// A signal says to stop.
    Stop,
}

/// What all connections share.
struct Shared {
    sources: Vec<Source>,
    next: AtomicUsize,
    cut: Cut,
    tally: Arc<Tally>,
    stop: Arc<Stop>,
}

/// Sends what `options` name. `terminal`: where a line shows how it goes.
///
/// # Errors
/// Also if a file was not sent.
pub fn run(
    options: &Push,
    out: &mut dyn Write,
    terminal: Option<&mut dyn Write>,
) -> Result<(), Fatal> {
    let route = route(options)?;
    let sources = files::find(&options.files)?;
    if sources.is_empty() {
        return Err(Fatal::Usage("there is no file in what was named".to_owned()));
    }
    let has_stdin = sources.iter().any(Source::is_stdin);
    let total = if has_stdin { 0 } else { sources.iter().map(|source| source.bytes).sum() };
    let cut = Cut {
        max_bytes: options.max_bytes,
        max_records: options.max_records,
        level: options.gzip,
        how: how(options),
    };
    let shared = Shared {
        sources,
        next: AtomicUsize::new(0),
        cut,
        tally: Arc::new(Tally::new(total)),
        stop: Arc::default(),
    };
    if options.dry_run {
        return report::describe(&shared, &route, options.json, out);
    }
    let mut couriers = Vec::new();
    for _ in 0..shared.sources.len().min(options.parallel.into()) {
        couriers.push(Courier::new(&route, &shared.tally, &shared.stop)?);
    }
    if let Some(first) = couriers.first() {
        first.connect().map_err(|failure| Fatal::Unavailable(failure.to_string()))?;
    }
    let (events, heard) = sync_channel(EVENTS);
    watch_signals(events.clone())?;
    let shared = Arc::new(shared);
    let connections = couriers.len();
    for courier in couriers {
        let (shared, events) = (Arc::clone(&shared), events.clone());
        thread::Builder::new()
            .name("push".to_owned())
            .spawn(move || work(&shared, courier, &events))?;
    }
    drop(events);
    let outcomes = wait(&shared, &heard, connections, terminal)?;
    report::write(&shared, &outcomes, options.json, out)
}

/// The options exclude each other.
const fn how(options: &Push) -> How {
    if options.whole {
        How::Whole
    } else if options.csv_header {
        How::NamedRows
    } else if options.no_csv_header {
        How::Rows
    } else if options.lines {
        How::Lines
    } else {
        How::Records
    }
}

fn route(options: &Push) -> Result<Route, Fatal> {
    let files = options.files.iter().filter_map(|path| path.to_str());
    let file = options.header_file.iter().filter_map(|path| path.to_str());
    let values = options.header.iter().map(String::as_str).chain([options.url.as_str()]);
    if values.chain(files).chain(file).filter(|value| argument::is_stdin(value)).count() > 1 {
        return Err(Fatal::Usage("standard input (-) can be read once".to_owned()));
    }
    let parsed = Destination::parse(&argument::text(&options.url)?)
        .map_err(|problems| Fatal::Usage(format!("the URL cannot be used:\n{problems}")))?;
    let mut more = HeaderMap::new();
    if let Some(path) = &options.header_file {
        let text = argument::from_file(path)?;
        headers(&path.display().to_string(), &text, &mut more)?;
    }
    for header in &options.header {
        let from = header.strip_prefix('@').unwrap_or("--header");
        headers(from, &argument::text(header)?, &mut more)?;
    }
    let tls =
        tls::public(options.ca.as_deref()).map_err(|error| Fatal::Io(format!("--ca: {error}")))?;
    Ok(Route::new(parsed.destination, more, tls, options.give_up_after))
}

/// `Name: value`, a line each.
fn headers(from: &str, text: &str, headers: &mut HeaderMap) -> Result<(), Fatal> {
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let header = line.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        });
        let Some((name, mut value)) = header else {
            // Not the line itself, which may hold a secret.
            return Err(Fatal::Usage(format!(
                "{from}:{}: no header: write it as in \"X-Logpush-Secret: SECRET\"",
                number + 1
            )));
        };
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(())
}

/// Tells of SIGINT and SIGTERM, as often as they come.
fn watch_signals(events: SyncSender<Event>) -> io::Result<()> {
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
                if events.send(Event::Stop).is_err() {
                    break;
                }
            }
        });
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop)
}

/// Says that a connection has ended, however it did.
struct Ending<'a>(&'a SyncSender<Event>);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        // Behind a second signal nobody listens any more.
        self.0.send(Event::Ended).ok();
    }
}

/// One connection: a file after the other.
fn work(shared: &Shared, mut courier: Courier, events: &SyncSender<Event>) {
    let _ending = Ending(events);
    loop {
        let place = shared.next.fetch_add(1, Ordering::Relaxed);
        let Some(source) = shared.sources.get(place).filter(|_| !shared.stop.is_asked()) else {
            break;
        };
        let mut records = 0;
        let outcome = each_batch(shared, source, &mut |body| {
            courier.send(&body)?;
            records += body.records;
            Ok(())
        });
        if matches!(outcome, Err(Failure::Refused(_) | Failure::Unreachable(_))) {
            shared.stop.ask();
        }
        if events.send(Event::File(place, records, outcome)).is_err() {
            break;
        }
    }
}

fn each_batch(
    shared: &Shared,
    source: &Source,
    take: &mut dyn FnMut(Body) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let tally = &shared.tally;
    let from: Box<dyn Read> = if source.is_stdin() {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(&source.path)?)
    };
    cut::cut(compressed::open(Counted { from, tally })?, shared.cut, take)
}

/// What became of a file: how many of its records were taken, and why not all.
type Outcome = (u64, Result<(), Failure>);

/// Waits for the end of all connections, or for a second signal. A file that nobody began has no
/// outcome.
fn wait(
    shared: &Shared,
    heard: &Receiver<Event>,
    connections: usize,
    mut terminal: Option<&mut dyn Write>,
) -> io::Result<Vec<Option<Outcome>>> {
    let mut outcomes: Vec<Option<Outcome>> = Vec::new();
    outcomes.resize_with(shared.sources.len(), || None);
    let (mut ended, mut drawn) = (0, Instant::now());
    while ended < connections {
        match heard.recv_timeout(REDRAW) {
            Ok(Event::File(place, records, outcome)) => {
                if outcome.is_ok() {
                    shared.tally.file_done();
                }
                if let Some(slot) = outcomes.get_mut(place) {
                    *slot = Some((records, outcome));
                }
            }
            Ok(Event::Ended) => ended += 1,
            Ok(Event::Stop) if shared.stop.is_asked() => break,
            Ok(Event::Stop) => {
                shared.stop.ask();
                if let Some(terminal) = &mut terminal {
                    writeln!(
                        terminal,
                        "\r\x1b[Kstopping as soon as what is under way is answered; once more stops at once"
                    )?;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if let Some(terminal) = terminal.as_mut().filter(|_| drawn.elapsed() >= REDRAW) {
            drawn = Instant::now();
            write!(terminal, "\r{}\x1b[K", shared.tally.line())?;
            terminal.flush()?;
        }
    }
    if let Some(terminal) = terminal {
        write!(terminal, "\r\x1b[K")?;
        terminal.flush()?;
    }
    Ok(outcomes)
}
