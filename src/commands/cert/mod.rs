//! `logpushd cert`: asks for a certificate, and shows what one is worth.

mod csr;
mod report;
mod show;

use std::io::Write;

use crate::{cli::cert::CertCommand, fatal::Fatal, tls::TlsError};

/// Does what was asked for.
///
/// # Errors
/// A file cannot be read or written, a server does not answer, or the two do not fit.
pub fn run(command: &CertCommand, out: &mut dyn Write) -> Result<(), Fatal> {
    match command {
        CertCommand::Csr(csr) => csr::run(csr, out),
        CertCommand::Show(show) => show::run(show, out),
    }
}

/// A file that cannot be read is another matter than one that holds the wrong thing.
#[expect(clippy::needless_pass_by_value, reason = "it is for map_err")]
fn fatal(error: TlsError) -> Fatal {
    match error {
        TlsError::Read { .. } => Fatal::Io(error.to_string()),
        _ => Fatal::Config(error.to_string()),
    }
}
