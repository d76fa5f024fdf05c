//! The whole daemon for an hour under everything at once: does it stay as it was, and is every record
//! there once?
//!
//!     cargo bench --bench soak                       an hour
//!     cargo bench --bench soak -- --minutes 5
//!
//! Senders over HTTP/1.1 and HTTP/2 post batches of 1 to 5,000 records of 0.5 to 2.2 KB to ten
//! datasets, now and then one of 40,000; some again, as after a timeout; some with records that are
//! none. Beside them come damaged bodies, wrong secrets, destination checks, connections that end in
//! the middle of a body, and a reload each minute. The file sink begins a new file each minute in each
//! dataset. Files that are finished are renamed, read, held against the ledger of what was answered,
//! and removed, so an hour needs little disk.
//!
//! A line a minute says what the daemon holds: memory (`VmRSS`), open files, threads, batches in the
//! spool. It fails if a record is lost, doubled, or in the wrong place, or if what the daemon holds has
//! grown: the median of the last quarter against that of the second.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a program for a terminal")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may panic")]

mod ledger;
mod sender;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "each benchmark uses a part of it")]
mod support;

use std::{
    env,
    error::Error,
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use self::{
    ledger::Ledger,
    sender::Sender,
    support::{
        client::{Client, Protocol},
        daemon::Daemon,
        process,
    },
};

const CONFIG: &str = r#"
    sink.out.file.path = "out/{dataset}/%Y%m%dT%H%M.ndjson"
    spool.dedup_window = "10m"
    quarantine = { max_bytes = "16MiB", max_age = "10m" }
"#;

/// How often the daemon is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// What the daemon held at a moment.
struct Sample {
    memory: u64,
    open_files: usize,
    threads: u64,
}

type Measure = fn(&Sample) -> u64;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(minutes) = minutes() else {
        println!("no load without --bench: run `cargo bench --bench soak`");
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let daemon = Daemon::start(folder.path(), CONFIG, &[" ERROR "])?;
    let idle = look(daemon.pid())?;
    let ledger = Arc::new(Ledger::default());
    let stop = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..3)
        .map(|number| {
            let protocol = if number == 0 { Protocol::Http1 } else { Protocol::Http2 };
            let client = Client::new(daemon.address, &daemon.cert_file(), protocol);
            let sender = Sender::new(number, client.unwrap(), Arc::clone(&ledger));
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || sender.run(&stop))
        })
        .collect();

    let watched = watch(&daemon, folder.path(), &ledger, minutes);
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        let ended = sender.join().map_err(|_| "a sender failed")?;
        ended.map_err(|error| error.to_string())?;
    }
    let samples = watched?;
    daemon.wait_for_empty_spool()?;
    ledger.read_finished(&folder.path().join("out"), None)?;
    let rest = look(daemon.pid())?;
    println!("{}", ledger.settle()?);
    println!(
        "open files: {} before, {} after the last sender; threads: {} and {}",
        idle.open_files, rest.open_files, idle.threads, rest.threads,
    );
    verdict(&samples)
}

/// `None` if this is a test run, which cargo tells by not saying `--bench`.
fn minutes() -> Option<u32> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let asked = arguments.iter().position(|argument| argument == "--minutes");
    let minutes = asked.map(|at| arguments[at + 1].parse().unwrap());
    arguments.iter().any(|argument| argument == "--bench").then_some(minutes.unwrap_or(60))
}

fn look(pid: u32) -> Result<Sample, Box<dyn Error>> {
    Ok(Sample {
        memory: process::memory(pid)?,
        open_files: process::open_files(pid)?,
        threads: process::threads(pid)?,
    })
}

/// Looks at the daemon until the time is over, reads what is finished, and reloads it each minute.
fn watch(
    daemon: &Daemon,
    folder: &Path,
    ledger: &Ledger,
    minutes: u32,
) -> Result<Vec<Sample>, Box<dyn Error>> {
    let begun = Instant::now();
    let mut samples = Vec::new();
    println!("minute  memory MB  open files  threads  waiting  batches  records  MB  cpu s");
    for minute in 1..=minutes {
        let first = samples.len();
        while begun.elapsed() < Duration::from_secs(u64::from(minute) * 60) {
            std::thread::sleep(LOOK);
            samples.push(look(daemon.pid())?);
        }
        let most = |of: Measure| samples[first..].iter().map(of).max().unwrap_or(0);
        let waiting = fs::read_dir(folder.join("state/batches"))?.count();
        let counts = ledger.counts();
        println!(
            "{minute:6}  {:9}  {:10}  {:7}  {waiting:7}  {:7}  {:7}  {:4}  {:.1}",
            most(|sample| sample.memory) / 1_000_000,
            most(|sample| sample.open_files as u64),
            most(|sample| sample.threads),
            counts.batches,
            counts.records,
            counts.bytes / 1_000_000,
            process::cpu(daemon.pid())?.as_secs_f64(),
        );
        let now = jiff::Timestamp::now() - Duration::from_secs(120);
        ledger
            .read_finished(&folder.join("out"), Some(&now.strftime("%Y%m%dT%H%M").to_string()))?;
        Command::new("kill").args(["-HUP", &daemon.pid().to_string()]).status()?;
    }
    Ok(samples)
}

/// Compares the last quarter with the second; the first is for warming up.
fn verdict(samples: &[Sample]) -> Result<(), Box<dyn Error>> {
    let quarter = samples.len() / 4;
    let median = |from: usize, of: Measure| {
        let mut values: Vec<_> = samples[from..from + quarter].iter().map(of).collect();
        values.sort_unstable();
        values.get(quarter / 2).copied().unwrap_or(0)
    };
    let late = samples.len() - quarter;
    let mut grown = Vec::new();
    let measures: [(&str, Measure, u64); 3] = [
        ("memory in bytes", |sample| sample.memory, 8_000_000),
        ("open files", |sample| sample.open_files as u64, 8),
        ("threads", |sample| sample.threads, 4),
    ];
    for (what, of, slack) in measures {
        let (before, after) = (median(quarter, of), median(late, of));
        println!("{what}: median {before} in the second quarter, {after} in the last");
        if after > before + before / 10 + slack {
            grown.push(what);
        }
    }
    if grown.is_empty() { Ok(()) } else { Err(format!("grown: {}", grown.join(", ")).into()) }
}
