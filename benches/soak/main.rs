//! Runs the daemon for an hour under mixed load, and checks that it does not grow and that every
//! record is delivered once.
//!
//!     cargo bench --bench soak                       an hour
//!     cargo bench --bench soak -- --minutes 5
//!
//! Senders over HTTP/1.1 and HTTP/2 post batches of 1 to 5,000 records of 0.5 to 2.2 KB to ten
//! datasets, and sometimes batches of 40,000 records. Some batches are sent twice, as after a
//! timeout, and some contain invalid records. There are also damaged bodies, wrong secrets,
//! destination checks, connections that end in the middle of a body, and a reload every minute. The
//! file sink starts a new file every minute for each dataset. Finished files are renamed, compared
//! with the ledger of acknowledged batches, and removed, so an hour needs little disk space.
//!
//! Prints a line per minute with the daemon's memory (`VmRSS`), open files, threads, and batches in
//! the spool. Fails if a record is lost, duplicated or out of order, or if one of these figures has
//! grown from the median of the second quarter to the median of the last.

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

/// The interval between samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);

/// The resources of the daemon at a time.
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
    let directory = tempfile::tempdir()?;
    let daemon = Daemon::start(directory.path(), CONFIG, &[" ERROR "])?;
    let idle = sample(daemon.pid())?;
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

    let watched = watch(&daemon, directory.path(), &ledger, minutes);
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        let ended = sender.join().map_err(|_| "a sender failed")?;
        ended.map_err(|error| error.to_string())?;
    }
    let samples = watched?;
    daemon.wait_for_empty_spool()?;
    ledger.read_finished(&directory.path().join("out"), None)?;
    let rest = sample(daemon.pid())?;
    println!("{}", ledger.settle()?);
    println!(
        "open files: {} before, {} after the last sender; threads: {} and {}",
        idle.open_files, rest.open_files, idle.threads, rest.threads,
    );
    verdict(&samples)
}

/// Parses the arguments. Returns `None` in a test run, where cargo does not pass `--bench`.
fn minutes() -> Option<u32> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let position = arguments.iter().position(|argument| argument == "--minutes");
    let minutes = position.map(|at| arguments[at + 1].parse().unwrap());
    arguments.iter().any(|argument| argument == "--bench").then_some(minutes.unwrap_or(60))
}

fn sample(pid: u32) -> Result<Sample, Box<dyn Error>> {
    Ok(Sample {
        memory: process::memory(pid)?,
        open_files: process::open_files(pid)?,
        threads: process::threads(pid)?,
    })
}

/// Takes samples until the time is over. Reads the finished files and reloads the daemon every
/// minute.
fn watch(
    daemon: &Daemon,
    directory: &Path,
    ledger: &Ledger,
    minutes: u32,
) -> Result<Vec<Sample>, Box<dyn Error>> {
    let begun = Instant::now();
    let mut samples = Vec::new();
    println!("minute  memory MB  open files  threads  waiting  batches  records  MB  cpu s");
    for minute in 1..=minutes {
        let first = samples.len();
        while begun.elapsed() < Duration::from_secs(u64::from(minute) * 60) {
            std::thread::sleep(SAMPLE_INTERVAL);
            samples.push(sample(daemon.pid())?);
        }
        let most = |of: Measure| samples[first..].iter().map(of).max().unwrap_or(0);
        let waiting = fs::read_dir(directory.join("state/batches"))?.count();
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
        ledger.read_finished(
            &directory.join("out"),
            Some(&now.strftime("%Y%m%dT%H%M").to_string()),
        )?;
        Command::new("kill").args(["-HUP", &daemon.pid().to_string()]).status()?;
    }
    Ok(samples)
}

/// Compares the last quarter with the second. The first is for warming up.
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
