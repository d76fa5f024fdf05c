//! `logpushd doctor`: does to a destination what Cloudflare does to it, step by step, and names what
//! fails in Cloudflare's words and in ours.
//!
//! A step that fails ends it, except that all is said about a certificate. The destination's headers
//! and path go to no server whose certificate is not good, unless the destination says so.

mod certificate;
mod network;
mod options;
mod report;
mod status;
mod upload;
mod words;

use std::{io::Write, sync::Arc};

use command::fatal::Fatal;
use http_client::HostPort;
use jiff::Timestamp;
use tokio::runtime::Builder;

pub use self::options::Doctor;
use self::{
    report::{Finding, Outcome, Report, Step},
    upload::Uploader,
};
use crate::{
    argument,
    destination::{Destination, Parsed, Problem, Problems, Severity, Verification},
};

/// Looks at the destination, and writes what was found.
///
/// # Errors
/// Also if a step fails, or the destination cannot be read.
pub fn run(options: &Doctor, out: &mut dyn Write) -> Result<(), Fatal> {
    let text = argument::text(&options.destination)?;
    let mut report = Report::default();
    let destination = read(&text, &mut report);
    if let Some(destination) = &destination {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let examined = runtime.block_on(examine(destination, options, &mut report));
        // A resolver that has no answer yet is not waited for.
        runtime.shutdown_background();
        examined?;
    }
    if options.json {
        report.write_json(out)?;
    } else {
        report.write_text(out)?;
    }
    match report.failure() {
        None => Ok(()),
        Some(_) if destination.is_none() => {
            Err(Fatal::Usage("the destination cannot be read".to_owned()))
        }
        Some(failure) => {
            Err(Fatal::Unavailable(format!("{}: {}", failure.step.text(), failure.ours)))
        }
    }
}

/// What stands in the text.
fn read(text: &str, report: &mut Report) -> Option<Destination> {
    let (destination, problems) = match Destination::parse(text) {
        Ok(Parsed { destination, warnings }) => (Some(destination), warnings),
        Err(Problems(problems)) => (None, problems),
    };
    if let Some(destination) = &destination {
        let names: Vec<_> = destination.headers.iter().map(|(name, _)| name.as_str()).collect();
        let headers = if names.is_empty() { "no header".to_owned() } else { names.join(", ") };
        report.add(Finding::pass(Step::Destination, format!("{destination}, with {headers}")));
    }
    for problem in problems {
        let Problem { severity, column, what, advice, cloudflare } = problem;
        let ours = match column {
            Some(column) => format!("character {column}: {what}"),
            None => what,
        };
        let finding = match severity {
            Severity::Error => Finding::fail(Step::Destination, ours, advice),
            Severity::Warning => Finding::warn(Step::Destination, ours, advice),
        };
        report.add(match cloudflare {
            Some(words) => finding.cloudflare(words),
            None => finding,
        });
    }
    destination
}

/// All steps but the first, up to the one that fails.
async fn examine(
    destination: &Destination,
    options: &Doctor,
    report: &mut Report,
) -> Result<(), Fatal> {
    let ca_file = options.ca.as_deref();
    let trust = tls::public_trust(ca_file).map_err(|error| Fatal::Io(error.to_string()))?;
    let (observing, watcher) =
        tls::observing(trust).map_err(|error| Fatal::Bug(error.to_string()))?;
    // A name may end with a dot; a certificate's does not.
    let host = destination.server.host.strip_suffix('.').unwrap_or(&destination.server.host);
    let server = HostPort { host: host.to_owned(), port: destination.server.port };

    let Some(addresses) = network::resolve(&server, report).await else { return Ok(()) };
    let Some(stream) = network::connect(&addresses, report).await else { return Ok(()) };
    let shaken = network::handshake(&server, stream, Arc::new(observing.clone()), report).await;
    let (Some(speaks_h2), Some(observed)) = (shaken, watcher.take()) else { return Ok(()) };

    let findings = certificate::findings(&observed, &server.host, ca_file, Timestamp::now());
    let is_good = findings.iter().all(|finding| finding.outcome != Outcome::Fail);
    let is_overlooked = destination.verification == Verification::Skipped;
    for mut finding in findings {
        if is_overlooked && finding.outcome == Outcome::Fail {
            finding.outcome = Outcome::Warn;
            finding.cloudflare = None;
        }
        report.add(finding);
    }
    if !is_good && !is_overlooked {
        return Ok(());
    }
    // What is sent goes over connections of their own, whose certificate rustls has verified.
    let tls = if is_overlooked {
        observing
    } else {
        tls::public(ca_file).map_err(|error| Fatal::Io(error.to_string()))?
    };
    let destination = Destination { server, ..destination.clone() };
    let mut uploader = Uploader::new(&destination, tls, speaks_h2)?;
    let Some(()) = uploader.check(report).await else { return Ok(()) };
    uploader.secret(report).await;
    if !options.no_batch {
        uploader.batch(Timestamp::now(), report).await;
    }
    Ok(())
}
