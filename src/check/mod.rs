//! Checks a valid configuration against the machine and against Cloudflare's requirements.
//! `logpushd validate` reports the results, and `logpushd run` logs them at startup.
//!
//! A check is a function from a [`Document`] to diagnostics that point into it. To add one, write
//! the function and list it in `at_start`, or in `certificate::of_validate` if the daemon logs the
//! same by itself. Checks only read: they create no file and open no connection.

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

/// Returns the errors that prevent a start: unusable certificate and key files, addresses that
/// exclude each other, and missing requirements of sinks.
pub fn errors(document: &Document) -> Vec<Diagnostic> {
    let mut errors = certificate::errors(document);
    errors.extend(addresses::errors(document));
    errors.extend(syslog::errors(document, &sink::check_acknowledgments()));
    errors
}

/// Returns all warnings.
pub fn warnings(document: &Document) -> Vec<Diagnostic> {
    let mut warnings = at_start(document);
    warnings.extend(certificate::of_validate(document));
    warnings.extend(addresses::default_admin(document));
    warnings
}

/// Returns the warnings that the daemon does not log elsewhere.
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

/// Returns the warnings of the reader, from the checks of each table.
fn of_reader(document: &Document) -> Vec<Diagnostic> {
    document.warnings().to_vec()
}

/// Logs the warnings, at startup and after a reload.
pub fn log_warnings(document: &Document) {
    let problems = document.problems(at_start(document));
    for warning in problems.diagnostics() {
        let place = problems.location(warning);
        let hint = warning.hint.as_deref().unwrap_or_default();
        warn!(place, hint, "configuration: {}", warning.message);
    }
}

/// Warns about files that the daemon's user cannot read or write.
pub fn of_service_user(document: &Document, user: &ServiceUser) -> Vec<Diagnostic> {
    permissions::of(user, document)
}

/// Describes the user for which permissions were checked. `user` is the daemon's user, if it is not
/// the user of this process.
pub fn tested_as(user: Option<&ServiceUser>) -> String {
    match (user, directories::user()) {
        (Some(ServiceUser::Named(ids)), by) => {
            format!("{by}, for the user {} by owners and modes", ids.name)
        }
        (Some(ServiceUser::Dynamic { .. }), by) => {
            format!("{by}, for the dynamic user of logpushd.service")
        }
        (None, by) if by == "root" => {
            "root, which can write anywhere: check the permissions of the daemon's user with --user"
                .to_owned()
        }
        (None, by) => by,
    }
}

/// Returns whether this process runs as root, so that permissions must be checked for another user.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(test)]
mod tests;
