//! Counts the instructions of each step, which do not depend on the load of the machine, and
//! compares them with `benches/instructions.txt`.
//!
//!     cargo bench --bench instructions               compares, and fails if a step costs 10 % more
//!     LOGPUSHD_BLESS=1 cargo bench --bench instructions    writes the file
//!
//! Needs `valgrind`, whose callgrind counts instructions. The figures are quotients: the
//! instructions of a step divided by those of inflating the same bytes, so that another compiler or
//! processor changes little. A system call counts as one instruction: the work of the kernel is not
//! counted.

#![expect(clippy::print_stdout, reason = "this is a program for a terminal")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may panic")]

#[path = "support/body.rs"]
mod body;
#[path = "support/corpus.rs"]
mod corpus;

use std::{
    collections::BTreeMap, env, error::Error, fmt::Write as _, fs, hint::black_box, path::Path,
    process::Command, time::Duration,
};

use body::{CHUNK_BYTES, LIMITS};
use corpus::{Corpus, Shape};
use logpushd::{
    decode::{Decoder, Edition, Encoding},
    spool::{Options, Spool},
};

const EXPECTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");

/// How much more than expected a step may cost, in percent.
const TOLERANCE: u64 = 10;

/// The steps, and the step that each is divided by.
const STEPS: [(&str, &str); 5] = [
    ("accept", "inflate"),
    ("accept_small", "inflate_small"),
    ("accept_array", "inflate"),
    ("keep", "inflate"),
    ("read_again", "inflate"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let [flag, step] = arguments.as_slice()
        && flag == "--step"
    {
        run(step);
        return Ok(());
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("no count without --bench: run `cargo bench --bench instructions`");
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let mut found = BTreeMap::new();
    for (step, inflate) in STEPS {
        let inflate = count(inflate, directory.path())?;
        found.insert(step.to_owned(), count(step, directory.path())? * 100 / inflate);
    }
    let mut text = String::from("# percent of the instructions of inflating the same bytes\n");
    for (step, percent) in &found {
        writeln!(text, "{step} {percent}")?;
    }
    if env::var_os("LOGPUSHD_BLESS").is_some() {
        fs::write(EXPECTED, &text)?;
        println!("{text}written to {EXPECTED}");
        return Ok(());
    }
    compare(&found)
}

fn compare(found: &BTreeMap<String, u64>) -> Result<(), Box<dyn Error>> {
    let mut slower = Vec::new();
    for line in fs::read_to_string(EXPECTED)?.lines().filter(|line| !line.starts_with('#')) {
        let (step, expected) = line.split_once(' ').ok_or("a line without a number")?;
        let expected: u64 = expected.parse()?;
        let percent = *found.get(step).ok_or_else(|| format!("there is no step `{step}`"))?;
        println!("{step:14} {percent:4} % of inflating, {expected} % expected");
        if percent * 100 > expected * (100 + TOLERANCE) {
            slower.push(step.to_owned());
        }
    }
    if slower.is_empty() {
        Ok(())
    } else {
        let slower = slower.join(", ");
        Err(format!(
            "{slower}: more than {TOLERANCE} % over benches/instructions.txt; if that is intended, update \
             the file with LOGPUSHD_BLESS=1"
        )
        .into())
    }
}

/// Counts the instructions of a step in a new process.
fn count(step: &str, directory: &Path) -> Result<u64, Box<dyn Error>> {
    let out = directory.join(step);
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*measured*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe()?)
        .args(["--step", step])
        .output()
        .map_err(|error| format!("valgrind cannot be run: {error}; install it"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let text = fs::read_to_string(&out)?;
    let totals = text.lines().find_map(|line| line.strip_prefix("totals: "));
    Ok(totals.ok_or("callgrind wrote no totals")?.trim().parse()?)
}

/// Runs a step on 5,000 records of 2.2 KB, or as many bytes of smaller records.
fn run(step: &str) {
    let (shape, records) = match step {
        "accept_small" | "inflate_small" => (Shape::Small, 20_000),
        _ => (Shape::Large, 5000),
    };
    let mut lines = Corpus::new(42, shape).lines(records).unwrap();
    if step == "accept_array" {
        lines = body::array(&lines).into_bytes();
    }
    let wire = corpus::gzip(&lines).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::open(
        directory.path(),
        Options { max_bytes: u64::MAX, dedup_window: Duration::ZERO },
    )
    .unwrap();
    match step {
        "inflate" | "inflate_small" => measured_inflate(&wire),
        "read_again" => {
            measured_decode(Decoder::for_replay(1 << 20, Encoding::Gzip, 0, Edition::First), &wire);
        }
        "keep" => measured_keep(&spool, &wire),
        _ => measured_decode(Decoder::new(LIMITS, Encoding::Gzip), &wire),
    }
}

#[inline(never)]
fn measured_inflate(wire: &[u8]) {
    black_box(body::inflate(wire));
}

/// Decodes a body as while it arrives, without writing it.
#[inline(never)]
fn measured_decode(decoder: Decoder, wire: &[u8]) {
    black_box(body::decode(decoder, wire));
}

/// Decodes a body, writes it to a file of the spool, and keeps it in memory for the sinks.
#[inline(never)]
fn measured_keep(spool: &Spool, wire: &[u8]) {
    let mut decoder = Decoder::new(LIMITS, Encoding::Gzip);
    let (mut staging, mut blocks) = (spool.stage(), spool.new_blocks());
    let mut take = |block| assert!(spool.cache_block(&mut blocks, block));
    for chunk in wire.chunks(CHUNK_BYTES) {
        staging.write(chunk).unwrap();
        decoder.push(chunk, &mut take).unwrap();
    }
    decoder.finish(&mut take).unwrap();
    staging.sync().unwrap();
    black_box((staging, blocks));
}
