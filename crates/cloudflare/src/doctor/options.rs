//! The options of `logpushd doctor`.

use std::path::PathBuf;

/// Options of `logpushd doctor`.
#[derive(Debug, clap::Args)]
pub struct Doctor {
    /// Destination of a job, or URL; @FILE reads a file, - reads standard input
    ///
    /// Other users of this machine can see the command line while the command runs. Reading the
    /// destination from a file or standard input keeps its secret from them.
    #[arg(value_name = "URL|@FILE|-")]
    pub destination: String,
    /// Trust the certificate authorities in this PEM file instead of the public ones
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Skip the last step, which sends a test record
    #[arg(long)]
    pub no_batch: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
}
