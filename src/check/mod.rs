//! Checks of a valid configuration against the machine and against what Cloudflare accepts: what
//! `logpushd validate` reports beyond the configuration's own errors, and what `run` logs at its start.
//!
//! A check is a function from a [`Document`] to diagnostics that point into it. To add one, write the
//! function and name it in `at_start`, or in `certificate::of_validate` if the daemon already logs
//! the same by itself. Checks only read: no check makes a file or opens a connection.

mod addresses;
mod certificate;
mod datasets;
mod directories;
mod patterns;
mod permissions;
mod secrets;
mod service_user;
mod syslog;

use tracing::warn;

pub use self::service_user::ServiceUser;
use crate::{
    config::{Diagnostic, Document},
    sink,
};

/// What keeps the daemon from starting: certificate and key files that cannot be used, addresses that
/// exclude each other, and what sinks need to work at all.
pub fn errors(document: &Document) -> Vec<Diagnostic> {
    let mut errors = certificate::errors(document);
    errors.extend(addresses::errors(document));
    errors.extend(syslog::errors(document, &sink::check_acknowledgments()));
    errors
}

/// What the operator should know before the daemon runs.
pub fn warnings(document: &Document) -> Vec<Diagnostic> {
    let mut warnings = at_start(document);
    warnings.extend(certificate::of_validate(document));
    warnings.extend(addresses::default_admin(document));
    warnings
}

/// The warnings that the daemon does not log on another occasion.
fn at_start(document: &Document) -> Vec<Diagnostic> {
    let checks: [fn(&Document) -> Vec<Diagnostic>; 9] = [
        of_reader,
        certificate::acme_port,
        certificate::public_chain,
        datasets::unknown,
        directories::writable,
        patterns::files_for_directories,
        patterns::too_many_files,
        secrets::dubious,
        secrets::readable_by_others,
    ];
    checks.iter().flat_map(|check| check(document)).collect()
}

/// What the reader warns about: each table knows its keys.
fn of_reader(document: &Document) -> Vec<Diagnostic> {
    document.warnings().to_vec()
}

/// Logs the warnings at the start of the daemon and after a reload.
pub fn log_warnings(document: &Document) {
    let problems = document.problems(at_start(document));
    for warning in problems.diagnostics() {
        let place = problems.location(warning);
        let hint = warning.hint.as_deref().unwrap_or_default();
        warn!(place, hint, "configuration: {}", warning.message);
    }
}

/// What `user`, who runs the daemon, may not read or write.
pub fn of_service_user(document: &Document, user: &ServiceUser) -> Vec<Diagnostic> {
    permissions::of(user, document)
}

/// For which user the permissions were tested. `user` is who runs the daemon, if that is another.
pub fn tested_as(user: Option<&ServiceUser>) -> String {
    match (user, directories::user()) {
        (Some(ServiceUser::Named(ids)), by) => {
            format!("{by}, for the user {} by owners and modes", ids.name)
        }
        (Some(ServiceUser::Dynamic { .. }), by) => {
            format!("{by}, for the dynamic user of logpushd.service")
        }
        (None, by) if by == "root" => {
            "root, which may write anywhere: name the daemon's user with --user to test its permissions"
                .to_owned()
        }
        (None, by) => by,
    }
}

/// Whether permissions are to be tested for another user than this process: this one may all.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests;
