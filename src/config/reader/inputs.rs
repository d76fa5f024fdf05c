//! Files that the daemon reads: beside the configuration, or among the service manager's credentials.

use std::path::PathBuf;

use toml::Spanned;

use super::Table;
use crate::config::{context::Context, diagnostic::Diagnostic};

/// What the name of a credential stands behind. A word rather than a folder to look in as well: a key
/// that is missing must not be found elsewhere by chance.
const CREDENTIAL: &str = "credential:";

impl Table<'_> {
    /// Takes the path of a file that is read: as [`Table::path`], or `credential:NAME` for one of
    /// those in `CREDENTIALS_DIRECTORY`, see systemd.exec(5).
    pub(in crate::config) fn input(
        &mut self,
        key: &'static str,
        cx: &mut Context,
    ) -> Option<Spanned<PathBuf>> {
        let full = self.full(key);
        let path = self.path(key, cx)?;
        let text = path.get_ref().strip_prefix(&cx.folder).ok().and_then(|path| path.to_str());
        let Some(name) = text.and_then(|text| text.strip_prefix(CREDENTIAL)) else {
            return Some(path);
        };
        let problem = if name.is_empty() || name.contains('/') {
            let message = format!("`{CREDENTIAL}{}` names no credential", name.escape_debug());
            Diagnostic::at(path.span(), message)
                .hint("write credential:NAME, where LoadCredential=NAME:PATH stands in the unit")
        } else if let Some(folder) = &cx.credentials {
            return Some(Spanned::new(path.span(), folder.join(name)));
        } else {
            let message =
                format!("`{full}` names a credential, and CREDENTIALS_DIRECTORY is not set");
            Diagnostic::at(path.span(), message).hint(format!(
                "systemd sets it for a unit with LoadCredential={name}:PATH; outside of the unit set it to \
                 /run/credentials/logpushd.service, which root can read while the unit runs"
            ))
        };
        cx.push(problem);
        None
    }
}
