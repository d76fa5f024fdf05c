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
mod tally;

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

use self::{
    batch::Body,
    courier::{Courier, Route, Stop},
    cut::{Cut, How},
    files::Source,
    tally::{Counted, Tally},
};
use super::Count;
use crate::{cli::push::Push, destination::Destination, durable, fatal::Fatal, tls};

/// How often the line is drawn.
const REDRAW: Duration = Duration::from_millis(200);

/// What may wait for the main thread, which does nothing but wait.
const EVENTS: usize = 16;

/// How many files that are not done are named.
const NAMED_FILES: usize = 20;

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
    if sources.iter().filter(|source| source.is_stdin()).count() > 1 {
        return Err(Fatal::Usage("standard input (-) can be read once".to_owned()));
    }
    let has_stdin = sources.iter().any(Source::is_stdin);
    let total = if has_stdin { 0 } else { sources.iter().map(|source| source.bytes).sum() };
    let cut = Cut {
        max_bytes: options.max_bytes,
        max_records: options.max_records,
        level: options.gzip,
        how: match (options.whole, options.csv_header) {
            (true, _) => How::Whole,
            (false, true) => How::Rows,
            (false, false) => How::Lines,
        },
    };
    let shared = Shared {
        sources,
        next: AtomicUsize::new(0),
        cut,
        tally: Arc::new(Tally::new(total)),
        stop: Arc::default(),
    };
    if options.dry_run {
        return describe(&shared, &route, out);
    }
    let mut couriers = Vec::new();
    for _ in 0..shared.sources.len().min(options.parallel.into()) {
        couriers.push(Courier::new(&route, &shared.tally, &shared.stop)?);
    }
    if let Some(first) = couriers.first_mut() {
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
    report(&shared, &outcomes, out)
}

fn route(options: &Push) -> Result<Route, Fatal> {
    let parsed = Destination::parse(&options.url)
        .map_err(|problems| Fatal::Usage(format!("the URL cannot be used:\n{problems}")))?;
    let more = match &options.header_file {
        Some(path) => headers(path)?,
        None => HeaderMap::new(),
    };
    let tls =
        tls::public(options.ca.as_deref()).map_err(|error| Fatal::Io(format!("--ca: {error}")))?;
    Ok(Route::new(parsed.destination, more, tls, options.give_up_after))
}

/// `Name: value`, a line each.
fn headers(path: &Path) -> Result<HeaderMap, Fatal> {
    let text = fs::read_to_string(path).map_err(durable::at("reading", path))?;
    let mut headers = HeaderMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let header = line.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        });
        let Some((name, mut value)) = header else {
            let (path, number) = (path.display(), number + 1);
            return Err(Fatal::Usage(format!(
                "{path}:{number}: no header: write it as in \"X-Logpush-Secret: SECRET\""
            )));
        };
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
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

/// Says what is done, and if that is not all, how to go on.
fn report(shared: &Shared, outcomes: &[Option<Outcome>], out: &mut dyn Write) -> Result<(), Fatal> {
    shared.tally.summary(out)?;
    let (mut named, mut left, mut worst) = (0, 0_u64, None);
    for (source, outcome) in shared.sources.iter().zip(outcomes) {
        let why = match outcome {
            Some((_, Ok(()))) => continue,
            Some((records, Err(failure))) => {
                format!("{} taken, then: {failure}", Count(*records, "record"))
            }
            None => "not begun, or cut off".to_owned(),
        };
        left += 1;
        named += 1;
        if named <= NAMED_FILES {
            writeln!(out, "{}: {why}", source.path.display())?;
        }
        if let Some((_, Err(failure))) = outcome {
            worst = Some(worse(worst, failure));
        }
    }
    if left == 0 {
        return match shared.tally.bad() {
            None => Ok(()),
            Some(bad) => Err(Fatal::Data(format!(
                "everything was sent, but {bad} went to the server's quarantine: see `logpushd quarantine list` there"
            ))),
        };
    }
    if named > NAMED_FILES {
        writeln!(out, "and {} more", named - NAMED_FILES)?;
    }
    writeln!(
        out,
        "To go on, send the same again with the same limits: logpushd knows the batches that it has, within its \
         spool.dedup_window, and does not deliver them twice. For another server name only what is left."
    )?;
    let text = format!("{} of {} not sent", left, Count(shared.sources.len() as u64, "file"));
    Err(match worst {
        Some(Failure::Flaw(what)) => Fatal::Io(format!("{text}: {what}")),
        Some(failure) => Fatal::Unavailable(format!("{text}: {failure}")),
        None => Fatal::Unavailable(format!("{text}: interrupted")),
    })
}

/// What the server said counts for more than what is wrong with a file, and that it was interrupted only
/// follows.
fn worse<'a>(worst: Option<&'a Failure>, failure: &'a Failure) -> &'a Failure {
    let weight = |failure: &Failure| match failure {
        Failure::Refused(_) | Failure::Unreachable(_) => 2,
        Failure::Interrupted => 1,
        Failure::Flaw(_) => 0,
    };
    worst.filter(|worst| weight(worst) >= weight(failure)).unwrap_or(failure)
}

/// Says what would be sent.
fn describe(shared: &Shared, route: &Route, out: &mut dyn Write) -> Result<(), Fatal> {
    writeln!(out, "POST {route} with {}", route.header_names())?;
    let mut flaws = 0;
    for source in &shared.sources {
        let (mut batches, mut records, mut wire) = (0, 0, 0);
        let outcome = each_batch(shared, source, &mut |body| {
            batches += 1;
            records += body.records;
            wire += body.gzip.len() as u64;
            shared.tally.sent(&body);
            Ok(())
        });
        let path = source.path.display();
        match outcome {
            Ok(()) => {
                shared.tally.file_done();
                let (batches, records) = (Count(batches, "batch"), Count(records, "record"));
                writeln!(out, "{path}: {records} in {batches}, {wire} bytes gzipped")?;
            }
            Err(failure) => {
                flaws += 1;
                writeln!(out, "{path}: {failure}")?;
            }
        }
    }
    shared.tally.summary(out)?;
    if flaws == 0 {
        Ok(())
    } else {
        Err(Fatal::Io(format!("{} cannot be sent", Count(flaws, "file"))))
    }
}
