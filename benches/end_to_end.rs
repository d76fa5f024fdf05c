//! Measures the whole daemon under load on loopback, from TLS to the file, and compares it with
//! `gzip -dc`.
//!
//!     cargo bench --bench end_to_end                     every scenario
//!     cargo bench --bench end_to_end -- --quick large    a sixth of the batches, scenarios with "large"
//!     cargo bench --bench end_to_end -- --runs 3 large
//!     cargo bench --bench end_to_end -- --times 4 large  four times the batches: start and end count less
//!     cargo bench --bench end_to_end -- --syncs          counts fsync and fdatasync, with strace
//!
//! Batches are generated from a seed. For each scenario, a daemon starts in a new directory with a
//! self-signed certificate, a secret, a spool that syncs, and one file sink. A client in this
//! process sends every batch once over TLS. Then each output file is compared byte for byte with
//! the batches: their order is free, but each must be complete and occur once.
//!
//! The scenarios `http-…` send the batches of `large-h2` to an http sink instead. Its collector is
//! in this process, so it costs the daemon no CPU, and discards everything after counting the
//! bytes, which must be those of the batches.
//!
//! CPU is the user and system time of the daemon's process from `/proc/PID/stat`, from the first
//! byte sent until everything is delivered and the spool is empty. The same run measures
//! `gzip -dc *.gz > file` on the same bytes: on a shared machine, the quotient is more meaningful than
//! seconds. "wall" ends with the last 200, "delivered" with the last byte of output (checked every
//! 5 ms). Latency is the time of one POST from its first byte to its 200, while all connections are
//! busy. Memory is the daemon's peak (`VmHWM`). "written" is `write_bytes` of `/proc/PID/io`, which
//! counts the pages written to storage for spool and output. All files are in `TMPDIR`: on tmpfs a
//! sync is free, and with batches of a few records, creating and deleting files costs more than the
//! records. CPU time has a resolution of 10 ms, so values below a second are coarse.
//!
//! To measure another receiver in the same way, use `--keep DIR`, which stores the `.gz` files of
//! each scenario. Post each file once over the number of connections of the scenario, and wait
//! until the output is complete. Take utime and stime of all processes of the receiver before and
//! after, and divide by `gzip -dc` in the same minute. Check the output by the number of records,
//! since most receivers re-serialize them.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a program for a terminal")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may panic")]

#[expect(dead_code, reason = "each benchmark uses a part of it")]
mod support;

use std::{
    env,
    error::Error,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use support::{
    client::{Client, Protocol},
    collector::Collector,
    corpus::Shape,
    daemon::{self, Daemon},
    load::{Load, Plan},
    process::{self, Syncs},
};

const SEED: u64 = 42;

/// The sink of a scenario.
#[derive(Clone, Copy)]
enum Output {
    Files,
    /// With this `compression`.
    Collector(&'static str),
}

struct Scenario {
    name: &'static str,
    plan: Plan,
    connections: usize,
    protocol: Protocol,
    output: Output,
}

const fn plan(batches: usize, records: usize, shape: Shape, datasets: usize) -> Plan {
    Plan { batches, records, shape, datasets }
}

const fn scenario(
    name: &'static str,
    plan: Plan,
    connections: usize,
    protocol: Protocol,
) -> Scenario {
    Scenario { name, plan, connections, protocol, output: Output::Files }
}

const fn to_collector(name: &'static str, compression: &'static str) -> Scenario {
    let output = Output::Collector(compression);
    Scenario { output, ..scenario(name, LARGE, 4, Protocol::Http2) }
}

const LARGE: Plan = plan(24, 5000, Shape::Large, 1);
const TINY: Plan = plan(6000, 10, Shape::Large, 1);

const SCENARIOS: [Scenario; 10] = [
    scenario("large-h2", LARGE, 4, Protocol::Http2),
    to_collector("http-none-large-h2", "none"),
    to_collector("http-gzip-large-h2", "gzip"),
    to_collector("http-zstd-large-h2", "zstd"),
    scenario("large-h1", LARGE, 4, Protocol::Http1),
    scenario("small-h2", plan(40, 5000, Shape::Small, 1), 4, Protocol::Http2),
    scenario("tiny-h2", TINY, 64, Protocol::Http2),
    scenario("tiny-h1", TINY, 64, Protocol::Http1),
    scenario("huge-h2", plan(1, 120_000, Shape::Large, 1), 1, Protocol::Http2),
    scenario("ten-datasets-h2", plan(30, 4000, Shape::Large, 10), 4, Protocol::Http2),
];

struct Options {
    quick: bool,
    times: usize,
    runs: usize,
    filter: Option<String>,
    keep: Option<PathBuf>,
    syncs: bool,
}

impl Options {
    /// Parses the arguments. Returns `None` in a test run, where cargo does not pass `--bench`.
    fn parse() -> Option<Self> {
        let mut options =
            Self { quick: false, times: 1, runs: 1, filter: None, keep: None, syncs: false };
        let mut is_bench = false;
        let mut arguments = env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => is_bench = true,
                "--quick" => options.quick = true,
                "--syncs" => options.syncs = true,
                "--times" => options.times = arguments.next()?.parse().ok()?,
                "--runs" => options.runs = arguments.next()?.parse().ok()?,
                "--keep" => options.keep = Some(arguments.next()?.into()),
                other if other.starts_with('-') => eprintln!("{other} is ignored"),
                filter => options.filter = Some(filter.to_owned()),
            }
        }
        is_bench.then_some(options)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let Some(options) = Options::parse() else {
        println!("no load without --bench: run `cargo bench --bench end_to_end`");
        return Ok(());
    };
    let mut load: Option<Arc<Load>> = None;
    for scenario in &SCENARIOS {
        if options.filter.as_ref().is_some_and(|filter| !scenario.name.contains(filter.as_str())) {
            continue;
        }
        let mut plan = scenario.plan;
        plan.batches *= options.times;
        if options.quick {
            match plan.batches {
                1 => plan.records /= 6,
                batches => plan.batches = batches.div_ceil(6),
            }
            plan.datasets = plan.datasets.min(plan.batches);
        }
        // Scenarios that differ only in the protocol share their batches.
        let batches = match load.take().filter(|load| load.plan == plan) {
            Some(load) => load,
            None => Arc::new(Load::new(plan, SEED)?),
        };
        for _ in 0..options.runs {
            run(scenario, &batches, &options)?;
        }
        load = Some(batches);
    }
    Ok(())
}

fn run(scenario: &Scenario, load: &Arc<Load>, options: &Options) -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let keep = options.keep.as_deref().unwrap_or(directory.path());
    let gunzip = gunzip(load, &keep.join(scenario.name))?;

    let collector = Collector::start()?;
    let sink = match scenario.output {
        Output::Files => r#"sink.out.file.path = "out/{dataset}.ndjson""#.to_owned(),
        Output::Collector(compression) => format!(
            "sink.out.http = {{ url = \"http://{}/\", compression = \"{compression}\" }}",
            collector.address
        ),
    };
    let daemon = Daemon::start(&directory.path().join("daemon"), &sink, &[" WARN ", " ERROR "])?;
    let pid = daemon.pid();
    let client = Client::new(daemon.address, &daemon.cert_file(), scenario.protocol);
    let client = client.map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let syncs =
        options.syncs.then(|| Syncs::of(pid, directory.path().join("syncs"))).transpose()?;
    let (cpu, written) = (process::cpu(pid)?, process::written(pid));
    let begun = Instant::now();
    let sent = runtime.block_on(client.send(Arc::clone(load), scenario.connections));
    let mut latencies = sent.map_err(|error| error.to_string())?;
    let wall = begun.elapsed();
    match scenario.output {
        Output::Files => daemon.wait_for_outputs(load.plan.datasets, load.raw_bytes())?,
        Output::Collector(_) => daemon::wait(|| collector.bytes() >= load.raw_bytes())?,
    }
    let delivered = begun.elapsed();
    daemon.wait_for_empty_spool()?;
    let cpu = process::cpu(pid)?.saturating_sub(cpu);
    let written = process::written(pid) - written;
    let memory = process::peak_memory(pid)?;
    match scenario.output {
        Output::Files => load.verify(&daemon.outputs(load.plan.datasets))?,
        Output::Collector(_) if collector.bytes() == load.raw_bytes() => {}
        Output::Collector(_) => return Err("the collector got other bytes".into()),
    }
    if let Some(syncs) = syncs {
        let (syncs, batches) = (syncs.count()?, load.plan.batches);
        println!(
            "{}: {syncs} syncs for {batches} batches, {:.2} each",
            scenario.name,
            f64::from(syncs) / f64::from(u32::try_from(batches)?),
        );
        return Ok(());
    }
    drop(daemon);

    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() - 1) * share / 100].as_secs_f64() * 1e3;
    let acks = per_second(latencies.len(), wall);
    let records = per_second(load.records(), delivered);
    println!(
        "{}: {} batches of {} records, {} connections, raw {}, gzip {}",
        scenario.name,
        load.plan.batches,
        load.plan.records,
        scenario.connections,
        megabytes(load.raw_bytes()),
        megabytes(load.wire_bytes() as u64),
    );
    println!(
        "  logpushd  cpu {:.2} s  wall {:.2} s  delivered {:.2} s  {records:.0} records/s  {acks:.0} acks/s",
        cpu.as_secs_f64(),
        wall.as_secs_f64(),
        delivered.as_secs_f64(),
    );
    println!(
        "            200 after p50 {:.1} ms  p99 {:.1} ms  max {:.1} ms  peak memory {}  written {}",
        at(50),
        at(99),
        at(100),
        megabytes(memory),
        megabytes(written),
    );
    println!(
        "  gzip -dc  cpu {:.2} s  wall {:.2} s",
        gunzip.cpu.as_secs_f64(),
        gunzip.wall.as_secs_f64(),
    );
    println!(
        "  cpu {:.2} times that of gzip -dc; every record was delivered\n",
        cpu.as_secs_f64() / gunzip.cpu.as_secs_f64().max(0.01),
    );
    Ok(())
}

struct Cost {
    cpu: Duration,
    wall: Duration,
}

/// Measures `gzip -dc *.gz > file`.
fn gunzip(load: &Load, directory: &Path) -> Result<Cost, Box<dyn Error>> {
    fs::create_dir_all(directory)?;
    let mut files = Vec::new();
    for (index, batch) in load.batches.iter().enumerate() {
        let file = directory.join(format!("{index:05}.gz"));
        fs::write(&file, &batch.wire)?;
        files.push(file);
    }
    let output = tempfile::NamedTempFile::new_in(directory)?;
    let (cpu, begun) = (process::children_cpu()?, Instant::now());
    let status = Command::new("gzip")
        .arg("-dc")
        .args(files)
        .stdout(File::create(output.path())?)
        .status()?;
    let cost = Cost { cpu: process::children_cpu()?.saturating_sub(cpu), wall: begun.elapsed() };
    if !status.success() || fs::metadata(output.path())?.len() != load.raw_bytes() {
        return Err("gzip -dc failed".into());
    }
    Ok(cost)
}

fn per_second(count: usize, time: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / time.as_secs_f64()
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
}
