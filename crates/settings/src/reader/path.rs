//! Paths: beside the configuration, or of a file among the service manager's credentials.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use toml::Spanned;

use super::Value;
use crate::{context::Context, diagnostic::Diagnostic};

/// What the name of a credential stands behind. A word rather than a folder to look in as well: a key
/// that is missing must not be found elsewhere by chance.
const CREDENTIAL: &str = "credential:";

/// What systemd puts before the name of each file of a directory that is loaded as a whole, by
/// `LoadCredential=credentials:DIRECTORY` in the unit.
const FROM_DIRECTORY: &str = "credentials_";

impl Value<'_> {
    /// A path; a relative one begins at the folder of the file.
    pub fn path(&self, cx: &mut Context) -> Option<Spanned<PathBuf>> {
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
    pub fn input(&self, cx: &mut Context) -> Option<Spanned<PathBuf>> {
        let path = self.path(cx)?;
        let text = path.get_ref().strip_prefix(cx.folder()).ok().and_then(|path| path.to_str());
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

    /// The path of a file that is read, which must be readable: `missing` is what to do if it is not there.
    pub fn readable(&self, missing: &str, cx: &mut Context) -> Option<PathBuf> {
        let file = self.input(cx)?;
        cx.check_readable(&file, missing).then(|| file.into_inner())
    }

    fn credential(&self, name: &str, cx: &Context) -> Result<PathBuf, Diagnostic> {
        if name.is_empty() || name.contains('/') {
            let message = format!("`{CREDENTIAL}{}` names no credential", name.escape_debug());
            let hint = "write credential:NAME, where LoadCredential=NAME:PATH stands in the unit";
            return Err(self.problem(message).hint(hint));
        }
        cx.credentials().map(|folder| folder.join(name)).ok_or_else(|| {
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
    let Some(folder) =
        cx.credentials().filter(|folder| cx.reads_files() && file.parent() == Some(folder))
    else {
        return file;
    };
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else { return file };
    let beside = folder.join(format!("{FROM_DIRECTORY}{name}"));
    if !file.exists() && beside.exists() { beside } else { file }
}

impl Context {
    /// Reports a file that cannot be read; `missing` is what to do if it is not there.
    pub fn check_readable(&mut self, file: &Spanned<PathBuf>, missing: &str) -> bool {
        let path = file.get_ref();
        let error = if self.reads_files() { check_readable(path).err() } else { None };
        if let Some(error) = &error {
            let message = format!("cannot read `{}`: {error}", path.display());
            let hint = self.advice(path, error, missing);
            self.push(Diagnostic::at(file.span(), message).hint(hint));
        }
        error.is_none()
    }

    /// What to do about a file that cannot be read. `missing` is for one that is not there, unless it is one
    /// of the credentials.
    pub fn advice(&self, path: &Path, error: &io::Error, missing: &str) -> String {
        match (error.kind(), path.file_name()) {
            (io::ErrorKind::PermissionDenied, _) => {
                "let the user that runs logpushd read it".to_owned()
            }
            (io::ErrorKind::NotFound, Some(name)) if self.credentials() == path.parent() => {
                format!(
                    "restart the service if the file is new; if it is a symbolic link, which systemd does \
                     not follow here, add LoadCredential={}:{} to the unit, or copy the file",
                    name.display(),
                    path.display()
                )
            }
            _ => missing.to_owned(),
        }
    }
}

/// Checks that a file can be opened and read, and is not empty. Does not interpret its content.
///
/// # Errors
/// It is not there, is not a regular file, is empty, or cannot be read.
pub fn check_readable(path: &Path) -> io::Result<()> {
    open_regular(path)?.read_exact(&mut [0]).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            io::Error::new(io::ErrorKind::InvalidData, "the file is empty")
        }
        _ => error,
    })
}

/// Opens a regular file, and nothing else: opening a pipe would wait for its writer.
///
/// # Errors
/// It is not there, is not a regular file, or cannot be opened.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    let fault = if kind.is_dir() {
        "is a folder, not a file"
    } else if kind.is_file() {
        return File::open(path);
    } else {
        "is not a regular file"
    };
    Err(io::Error::new(io::ErrorKind::InvalidData, fault))
}
