//! `logpushd doctor`: the command line.

use std::path::PathBuf;

/// What to look at.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// The destination of a job, or a URL; @FILE reads it from a file, - from standard input, so that no
    /// other user of the machine sees its secret
    #[arg(value_name = "URL|@FILE|-")]
    pub destination: String,
    /// Trust the authorities of this file in place of the public ones
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Send no record
    #[arg(long)]
    pub no_batch: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
