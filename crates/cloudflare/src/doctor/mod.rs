//! `logpushd doctor`: tests a destination the way Cloudflare does, step by step, and explains failures.
//!
//! The first failed step ends the test, except that all checks of a certificate run. The headers and
//! the path of the destination are sent only to a server with a valid certificate, unless the
//! destination turns verification off.

mod certificate;
mod cloudflare_messages;
mod network;
mod options;
mod report;
mod requests;
mod status;

use std::{io::Write, sync::Arc};

use command::fatal::Fatal;
use http_client::HostPort;
use jiff::Timestamp;
use tokio::runtime::Builder;

pub use self::options::Doctor;
use self::{
    report::{DoctorStep, Finding, Report, StepOutcome},
    requests::ProbeClient,
};
use crate::{
    argument,
    destination::{
        Destination, DestinationProblem, DestinationProblems, Parsed, ProblemSeverity, Verification,
    },
};

/// Tests the destination and writes a report.
///
/// # Errors
/// A step fails, or the destination is invalid.
pub fn run(options: &Doctor, out: &mut dyn Write) -> Result<(), Fatal> {
    let text = argument::read(&options.destination)?;
    let mut report = Report::default();
    let destination = parse_destination(&text, &mut report);
    if let Some(destination) = &destination {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let result = runtime.block_on(run_steps(destination, options, &mut report));
        // Do not wait for a resolver that has not answered yet.
        runtime.shutdown_background();
        result?;
    }
    if options.json {
        report.write_json(out)?;
    } else {
        report.write_text(out)?;
    }
    match report.failure() {
        None => Ok(()),
        Some(_) if destination.is_none() => {
            Err(Fatal::Usage("the destination is invalid".to_owned()))
        }
        Some(failure) => {
            Err(Fatal::Unavailable(format!("{}: {}", failure.step.text(), failure.message)))
        }
    }
}

/// Parses the destination and reports its problems.
fn parse_destination(text: &str, report: &mut Report) -> Option<Destination> {
    let (destination, problems) = match Destination::parse(text) {
        Ok(Parsed { destination, warnings }) => (Some(destination), warnings),
        Err(DestinationProblems(problems)) => (None, problems),
    };
    if let Some(destination) = &destination {
        let names: Vec<_> = destination.headers.iter().map(|(name, _)| name.as_str()).collect();
        let headers = if names.is_empty() { "no headers".to_owned() } else { names.join(", ") };
        report
            .add(Finding::pass(DoctorStep::Destination, format!("{destination}, with {headers}")));
    }
    for problem in problems {
        let DestinationProblem { severity, column, message, advice, cloudflare } = problem;
        let message = match column {
            Some(column) => format!("character {column}: {message}"),
            None => message,
        };
        let finding = match severity {
            ProblemSeverity::Error => Finding::fail(DoctorStep::Destination, message, advice),
            ProblemSeverity::Warning => Finding::warn(DoctorStep::Destination, message, advice),
        };
        report.add(match cloudflare {
            Some(text) => finding.cloudflare(text),
            None => finding,
        });
    }
    destination
}

/// Runs all steps after the first one, until one fails.
async fn run_steps(
    destination: &Destination,
    options: &Doctor,
    report: &mut Report,
) -> Result<(), Fatal> {
    let ca_file = options.ca.as_deref();
    let trust = tls::public_trust(ca_file).map_err(|error| Fatal::Io(error.to_string()))?;
    let (observing, watcher) =
        tls::observing(trust).map_err(|error| Fatal::Bug(error.to_string()))?;
    // A host name may end with a dot, a name in a certificate does not.
    let host = destination.server.host.strip_suffix('.').unwrap_or(&destination.server.host);
    let server = HostPort { host: host.to_owned(), port: destination.server.port };

    let Some(addresses) = network::resolve(&server, report).await else { return Ok(()) };
    let Some(stream) = network::connect(&addresses, report).await else { return Ok(()) };
    let handshake = network::handshake(&server, stream, Arc::new(observing.clone()), report).await;
    let (Some(speaks_h2), Some(observed)) = (handshake, watcher.take()) else { return Ok(()) };

    let findings = certificate::findings(&observed, &server.host, ca_file, Timestamp::now());
    let is_good = findings.iter().all(|finding| finding.outcome != StepOutcome::Fail);
    let skips_verification = destination.verification == Verification::Skipped;
    for mut finding in findings {
        if skips_verification && finding.outcome == StepOutcome::Fail {
            finding.outcome = StepOutcome::Warn;
            finding.cloudflare = None;
        }
        report.add(finding);
    }
    if !is_good && !skips_verification {
        return Ok(());
    }
    // Requests use new connections, for which rustls verifies the certificate.
    let tls = if skips_verification {
        observing
    } else {
        tls::public(ca_file).map_err(|error| Fatal::Io(error.to_string()))?
    };
    let destination = Destination { server, ..destination.clone() };
    let mut probe = ProbeClient::new(&destination, tls, speaks_h2)?;
    let Some(()) = probe.check(report).await else { return Ok(()) };
    probe.secret(report).await;
    if !options.no_batch {
        probe.batch(Timestamp::now(), report).await;
    }
    Ok(())
}
