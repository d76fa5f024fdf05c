//! `logpushd cert`: creates certificate requests and shows certificates.

mod csr;
mod report;
mod show;

use std::io::Write;

use crate::{cli::cert::CertCommand, fatal::Fatal, tls::TlsError};

/// Runs a subcommand of `logpushd cert`.
///
/// # Errors A file cannot be read or written, a server does not answer, or key and certificate do
///   not belong together.
pub fn run(command: &CertCommand, out: &mut dyn Write) -> Result<(), Fatal> {
    match command {
        CertCommand::Csr(csr) => csr::run(csr, out),
        CertCommand::Show(show) => show::run(show, out),
    }
}

/// Distinguishes a file that cannot be read from one with invalid contents.
#[expect(clippy::needless_pass_by_value, reason = "it is for map_err")]
fn fatal(error: TlsError) -> Fatal {
    match error {
        TlsError::Read { .. } => Fatal::Io(error.to_string()),
        _ => Fatal::Config(error.to_string()),
    }
}
