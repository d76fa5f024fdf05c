//! What each step costs in instructions, which no other program on the machine can change, held against
//! what it cost when `benches/instructions.txt` was written.
//!
//!     cargo bench --bench instructions               compares, and fails if a step costs 10 % more
//!     LOGPUSHD_BLESS=1 cargo bench --bench instructions    writes the file anew
//!
//! Needs `valgrind`, whose callgrind counts them. The figures are quotients: the instructions of a
//! step by those of inflating the same bytes alone, so that a compiler or a processor that makes all
//! of it cheaper changes little. Calls into the system count as one: what the kernel does is not seen.

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

use body::{LIMITS, PIECE_BYTES};
use corpus::{Corpus, Shape};
use logpushd::{
    decode::{Decoder, Edition, Encoding},
    spool::{Options, Spool},
};

const EXPECTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");

/// How much more than expected a step may cost, in percent.
const TOLERANCE: u64 = 10;

/// What is counted, and what it is a multiple of.
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
        println!("nothing is counted without --bench: run `cargo bench --bench instructions`");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let mut found = BTreeMap::new();
    for (step, inflate) in STEPS {
        let inflate = count(inflate, folder.path())?;
        found.insert(step.to_owned(), count(step, folder.path())? * 100 / inflate);
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
    let mut dearer = Vec::new();
    for line in fs::read_to_string(EXPECTED)?.lines().filter(|line| !line.starts_with('#')) {
        let (step, expected) = line.split_once(' ').ok_or("a line without a number")?;
        let expected: u64 = expected.parse()?;
        let percent = *found.get(step).ok_or_else(|| format!("there is no step `{step}`"))?;
        println!("{step:14} {percent:4} % of inflating, {expected} % expected");
        if percent * 100 > expected * (100 + TOLERANCE) {
            dearer.push(step.to_owned());
        }
    }
    if dearer.is_empty() {
        Ok(())
    } else {
        let dearer = dearer.join(", ");
        Err(format!(
            "{dearer}: more than {TOLERANCE} % dearer than benches/instructions.txt says; \
             if that is meant, write it anew with LOGPUSHD_BLESS=1"
        )
        .into())
    }
}

/// Counts the instructions of a step, in a process of its own.
fn count(step: &str, folder: &Path) -> Result<u64, Box<dyn Error>> {
    let out = folder.join(step);
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

/// One step on 5,000 records of 2.2 KB, or as many bytes of smaller ones.
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
    let folder = tempfile::tempdir().unwrap();
    let spool =
        Spool::open(folder.path(), Options { max_bytes: u64::MAX, dedup_window: Duration::ZERO })
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

/// All that is done to a body while it arrives, but for writing it.
#[inline(never)]
fn measured_decode(decoder: Decoder, wire: &[u8]) {
    black_box(body::decode(decoder, wire));
}

/// The same, written to a file of the spool and kept in memory for the sinks.
#[inline(never)]
fn measured_keep(spool: &Spool, wire: &[u8]) {
    let mut decoder = Decoder::new(LIMITS, Encoding::Gzip);
    let (mut staging, mut blocks) = (spool.stage(), spool.new_blocks());
    let mut take = |block| assert!(spool.cache_block(&mut blocks, block));
    for piece in wire.chunks(PIECE_BYTES) {
        staging.write(piece).unwrap();
        decoder.push(piece, &mut take).unwrap();
    }
    decoder.finish(&mut take).unwrap();
    staging.sync().unwrap();
    black_box((staging, blocks));
}
