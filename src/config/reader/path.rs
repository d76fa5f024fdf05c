//! Paths: beside the configuration, or of a file among the service manager's credentials.

use std::path::PathBuf;

use toml::Spanned;

use super::Value;
use crate::config::{context::Context, diagnostic::Diagnostic};

/// What the name of a credential stands behind. A word rather than a folder to look in as well: a key
/// that is missing must not be found elsewhere by chance.
const CREDENTIAL: &str = "credential:";

/// What systemd puts before the name of each file of a directory that is loaded as a whole, by
/// `LoadCredential=credentials:DIRECTORY` in the unit.
const FROM_DIRECTORY: &str = "credentials_";

impl Value<'_> {
    /// A path; a relative one begins at the folder of the file.
    pub(super) fn path(&self, cx: &mut Context) -> Option<Spanned<PathBuf>> {
        let text = self.string(cx)?;
        if text.get_ref().is_empty() || text.get_ref().contains(char::is_control) {
            cx.push(self.problem(format!("`{}` is not a usable path", self.name())));
            return None;
        }
        let (folder, rest) = cx.begin(text.get_ref());
        Some(Spanned::new(text.span(), folder.join(rest)))
    }

    /// The path of a file that is read: as [`Value::path`], or `credential:NAME` for one of those in
    /// `CREDENTIALS_DIRECTORY`, see systemd.exec(5).
    pub(super) fn input(&self, cx: &mut Context) -> Option<Spanned<PathBuf>> {
        let path = self.path(cx)?;
        let text = path.get_ref().strip_prefix(&cx.folder).ok().and_then(|path| path.to_str());
        let Some(credential) = text.and_then(|text| text.strip_prefix(CREDENTIAL)) else {
            let span = path.span();
            return Some(Spanned::new(span, loaded(path.into_inner(), cx)));
        };
        match self.credential(credential, cx) {
            Ok(file) => Some(Spanned::new(path.span(), loaded(file, cx))),
            Err(problem) => {
                cx.push(problem);
                None
            }
        }
    }

    fn credential(&self, name: &str, cx: &Context) -> Result<PathBuf, Diagnostic> {
        if name.is_empty() || name.contains('/') {
            let message = format!("`{CREDENTIAL}{}` names no credential", name.escape_debug());
            let hint = "write credential:NAME, where LoadCredential=NAME:PATH stands in the unit";
            return Err(self.problem(message).hint(hint));
        }
        cx.credentials.as_ref().map(|folder| folder.join(name)).ok_or_else(|| {
            let message = format!(
                "`{}` names a credential, and CREDENTIALS_DIRECTORY is not set",
                self.name()
            );
            self.problem(message).hint(format!(
                "systemd sets it for a unit with LoadCredential={name}:PATH; outside of the unit set it to \
                 /run/credentials/logpushd.service, which root can read while the unit runs"
            ))
        })
    }
}

/// The file under the name that it has among the credentials. The unit mounts these over the directory
/// that they come from, where each file that it does not list has another name.
fn loaded(file: PathBuf, cx: &Context) -> PathBuf {
    let Some(folder) = cx
        .credentials
        .as_deref()
        .filter(|folder| cx.reads_files() && file.parent() == Some(folder))
    else {
        return file;
    };
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else { return file };
    let beside = folder.join(format!("{FROM_DIRECTORY}{name}"));
    if !file.exists() && beside.exists() { beside } else { file }
}
