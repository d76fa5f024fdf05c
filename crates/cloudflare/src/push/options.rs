//! `logpushd push`: the command line: what is sent where, and how.

#![expect(clippy::doc_markdown, reason = "these comments are the help, where backticks would stay")]

use std::{path::PathBuf, time::Duration};

use clap::Args;

const AFTER: &str = "\
Answers of 429, 408 and 5xx, and connections that fail, are tried again; any other but 2xx ends it. Ctrl-C
ends it when the batches under way are answered. What is not done is said, and how to go on.
Exit codes: 0 all was taken, 64 wrong usage, 65 all was sent, but the server put records into quarantine, 69 refused, unreachable, given up or interrupted, 74 a file
cannot be read.";

/// The largest that Logpush sends.
const MAX_BATCH_BYTES: u64 = 1_000_000_000;

/// What to send.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(after_help = AFTER)]
pub struct Push {
    /// Where to, as a Logpush job has it: a URL whose header_NAME=VALUE parameters become headers; @FILE reads
    /// it from a file, - from standard input
    #[arg(value_name = "URL|@FILE|-")]
    pub url: String,
    /// Files of one record a line, plain, gzip or zstd; all files in a folder; - for standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// One more header, as in "X-Logpush-Secret: SECRET"; @FILE reads headers from a file, a line each, - from
    /// standard input; no other user of the machine sees those; can be given several times
    #[arg(long, value_name = "HEADER|@FILE|-")]
    pub header: Vec<String>,
    /// The former spelling of --header @FILE.
    #[arg(long, value_name = "FILE", hide = true)]
    pub header_file: Option<PathBuf>,
    /// The largest batch, inflated; only a record that is larger by itself makes a larger one
    #[arg(long, value_name = "SIZE", default_value = "16MB", value_parser = batch_bytes)]
    pub max_bytes: u64,
    /// The most records in a batch
    #[arg(long, value_name = "COUNT", default_value = "100000",
        value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub max_records: u64,
    /// How hard to compress, from 0 (not at all) to 9
    #[arg(long, value_name = "LEVEL", default_value = "6",
        value_parser = clap::value_parser!(u32).range(0..=9))]
    pub gzip: u32,
    /// How many connections: each sends one file at a time, so files no longer arrive in their order
    #[arg(long, value_name = "COUNT", default_value = "1",
        value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: u16,
    /// How long a batch is tried for
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub give_up_after: Duration,
    /// Send each file as it is, as one batch, such as an array of records
    #[arg(long)]
    pub whole: bool,
    /// The first row of each CSV file names its columns: repeat it at the head of each batch
    #[arg(long, conflicts_with = "whole")]
    pub csv_header: bool,
    /// The files are CSV, and no row names the columns: cut after any row
    #[arg(long, conflicts_with_all = ["whole", "csv_header"])]
    pub no_csv_header: bool,
    /// Each line is a record, whatever it contains: cut after any line. Without this option or one of those
    /// for CSV, a file that does not begin with a JSON object is sent only if it fits into one batch
    #[arg(long, conflicts_with_all = ["whole", "csv_header", "no_csv_header"])]
    pub lines: bool,
    /// Trust the authorities in this PEM file rather than the public ones
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Read everything, print what would be sent, and send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

fn batch_bytes(text: &str) -> Result<u64, String> {
    match settings::parse_bytes(text).map_err(|what| format!("it {what}"))? {
        bytes @ 1..=MAX_BATCH_BYTES => Ok(bytes),
        _ => Err("Logpush sends at most 1GB".into()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    settings::parse_duration(text).map_err(|what| format!("it {what}"))
}
