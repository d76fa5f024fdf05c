//! The options of `logpushd push`.

#![expect(clippy::doc_markdown, reason = "clap prints these comments, backticks included")]

use std::{path::PathBuf, time::Duration};

use clap::Args;

const AFTER: &str = "\
push retries connection failures and the statuses 408, 429 and 5xx. Any other status but 2xx stops it.
Ctrl-C stops it after the current batches. The summary lists the files that were not sent and how to
resume.";

/// The largest batch that Logpush sends.
const MAX_BATCH_BYTES: u64 = 1_000_000_000;

/// Options of `logpushd push`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(after_help = AFTER)]
pub struct Push {
    /// Destination URL; @FILE reads a file, - reads standard input
    ///
    /// As in the destination of a Logpush job, header_NAME=VALUE parameters become request headers. Other
    /// users of this machine can see the command line while the command runs. Reading the URL from a file
    /// or standard input keeps its secret from them.
    #[arg(value_name = "URL|@FILE|-")]
    pub url: String,
    /// Files or directories to send, - for standard input
    ///
    /// A file contains one record per line, and is plain or compressed with gzip or zstd. push sends all
    /// files in a directory and its subdirectories, in the order of their paths, except hidden files and
    /// symbolic links.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Add a header, such as "X-Logpush-Secret: SECRET"; can be given several times
    ///
    /// @FILE reads headers from a file and - from standard input, one per line, which hides secrets from
    /// other users of this machine.
    #[arg(long, value_name = "HEADER|@FILE|-")]
    pub header: Vec<String>,
    /// The former spelling of --header @FILE.
    #[arg(long, value_name = "FILE", hide = true)]
    pub header_file: Option<PathBuf>,
    /// Maximum uncompressed batch size; a larger record becomes a batch of its own
    #[arg(long, value_name = "SIZE", default_value = "16MB", value_parser = batch_bytes)]
    pub max_bytes: u64,
    /// Maximum number of records in a batch
    #[arg(long, value_name = "COUNT", default_value = "100000",
        value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub max_records: u64,
    /// Compression level, from 0 (none) to 9
    #[arg(long, value_name = "LEVEL", default_value = "6",
        value_parser = clap::value_parser!(u32).range(0..=9))]
    pub gzip: u32,
    /// Number of connections, each of which sends one file at a time; with several, files arrive in any order
    #[arg(long, value_name = "COUNT", default_value = "1",
        value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: u16,
    /// Give up after retrying a batch for this long
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub give_up_after: Duration,
    /// Send each file unchanged as one batch, such as a file with a JSON array
    #[arg(long)]
    pub whole: bool,
    /// Treat files as CSV with a header row, and repeat that row in each batch
    #[arg(long, conflicts_with = "whole")]
    pub csv_header: bool,
    /// Treat files as CSV without a header row, and split them after any row
    #[arg(long, conflicts_with_all = ["whole", "csv_header"])]
    pub no_csv_header: bool,
    /// Treat each line as a record, and split files after any line
    ///
    /// Without this option or one of those for CSV, push sends a file that does not begin with a JSON object
    /// only if the file fits into one batch.
    #[arg(long, conflicts_with_all = ["whole", "csv_header", "no_csv_header"])]
    pub lines: bool,
    /// Trust the certificate authorities in this PEM file instead of the public ones
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Read all files and print what would be sent, but send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the summary as one JSON object
    #[arg(long)]
    pub json: bool,
}

fn batch_bytes(text: &str) -> Result<u64, String> {
    match settings::parse_bytes(text).map_err(|what| format!("it {what}"))? {
        bytes @ 1..=MAX_BATCH_BYTES => Ok(bytes),
        _ => Err("write 1 byte to 1GB, the largest batch of Logpush".into()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    settings::parse_duration(text).map_err(|what| format!("it {what}"))
}
