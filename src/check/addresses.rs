//! Checks that the daemon can listen on all addresses at once.

use crate::{
    config::{Diagnostic, Document},
    listen::excludes,
};

const HINT: &str = "remove one of the two, or change its port";

/// Reports addresses in `server.address` and `admin.address` that exclude each other.
pub(super) fn errors(document: &Document) -> Vec<Diagnostic> {
    let (all, admin) = (&document.config.server.addresses, &document.config.admin);
    let mut errors = Vec::new();
    for (index, address) in all.iter().enumerate() {
        let earlier = all.iter().take(index).find(|other| excludes(**other, *address, all));
        if let Some(other) = earlier {
            let message = format!("the daemon cannot listen on both `{other}` and `{address}`");
            let key = format!("server.address.{index}");
            errors.push(document.error(&key, message).hint(HINT));
        }
    }
    if admin.asked_for
        && let Some(message) = conflict(document)
    {
        errors.push(document.error("admin.address", message).hint(HINT));
    }
    errors
}

/// Warns if `server.address` includes the default of `admin.address`. The daemon then runs without
/// an admin listener.
pub(super) fn default_admin(document: &Document) -> Option<Diagnostic> {
    let message = conflict(document).filter(|_| !document.config.admin.asked_for)?;
    let hint = "set admin.address; otherwise the daemon runs without its admin listener";
    Some(document.warning("server.address", message).hint(hint))
}

fn conflict(document: &Document) -> Option<String> {
    let (all, admin) = (&document.config.server.addresses, document.config.admin.address);
    let other = all.iter().find(|other| excludes(**other, admin, all))?;
    Some(format!("`admin.address` is `{admin}`, which `{other}` of `server.address` includes"))
}
