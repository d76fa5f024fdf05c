//! Paths: relative to the configuration file, or of a credential of the service manager.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use toml::Spanned;

use super::Value;
use crate::{context::Context, diagnostic::Diagnostic};

/// The prefix of the name of a credential. It is explicit, so that a missing key file is never replaced
/// by a credential of the same name.
const CREDENTIAL: &str = "credential:";

/// The prefix that systemd adds to the file names of a directory that is loaded as a whole, with
/// `LoadCredential=credentials:DIRECTORY` in the unit.
const FROM_DIRECTORY: &str = "credentials_";

impl Value<'_> {
    /// Reads a path. A relative path refers to the directory of the configuration file.
    pub fn path(&self, cx: &mut Context) -> Option<Spanned<PathBuf>> {
        let text = self.string(cx)?;
        if text.get_ref().is_empty() || text.get_ref().contains(char::is_control) {
            cx.push(self.problem(format!("`{}` is not a usable path", self.name())));
            return None;
        }
        let (dir, rest) = cx.base_of(text.get_ref());
        Some(Spanned::new(text.span(), dir.join(rest)))
    }

    /// Reads the path of an input file: as [`Value::path`], or `credential:NAME` for a file in
    /// `CREDENTIALS_DIRECTORY`. See systemd.exec(5).
    pub fn input(&self, cx: &mut Context) -> Option<Spanned<PathBuf>> {
        let path = self.path(cx)?;
        let text = path.get_ref().strip_prefix(cx.dir()).ok().and_then(|path| path.to_str());
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

    /// Reads the path of an input file and checks that the file is readable. `missing` is the hint if it
    /// does not exist.
    pub fn readable(&self, missing: &str, cx: &mut Context) -> Option<PathBuf> {
        let file = self.input(cx)?;
        cx.check_readable(&file, missing).then(|| file.into_inner())
    }

    fn credential(&self, name: &str, cx: &Context) -> Result<PathBuf, Diagnostic> {
        if name.is_empty() || name.contains('/') {
            let message =
                format!("`{CREDENTIAL}{}` is not the name of a credential", name.escape_debug());
            let hint = "write credential:NAME, with LoadCredential=NAME:PATH in the unit";
            return Err(self.problem(message).hint(hint));
        }
        cx.credentials().map(|dir| dir.join(name)).ok_or_else(|| {
            let message = format!(
                "`{}` names a credential, but CREDENTIALS_DIRECTORY is not set",
                self.name()
            );
            self.problem(message).hint(format!(
                "systemd sets it for a unit with LoadCredential={name}:PATH; outside of the unit, set it to \
                 /run/credentials/logpushd.service, which root can read while the unit runs"
            ))
        })
    }
}

/// Converts the path of a file in the credentials directory to its actual name there. If the unit loads
/// a whole directory, systemd adds a prefix to each file name.
fn loaded(file: PathBuf, cx: &Context) -> PathBuf {
    let Some(dir) = cx.credentials().filter(|dir| cx.reads_files() && file.parent() == Some(dir))
    else {
        return file;
    };
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else { return file };
    let prefixed = dir.join(format!("{FROM_DIRECTORY}{name}"));
    if !file.exists() && prefixed.exists() { prefixed } else { file }
}

impl Context {
    /// Checks that a file is readable, and reports it otherwise. `missing` is the hint if it does not exist.
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

    /// The hint for a file that cannot be read. `missing` is the hint if it does not exist and is not a
    /// credential.
    pub fn advice(&self, path: &Path, error: &io::Error, missing: &str) -> String {
        match (error.kind(), path.file_name()) {
            (io::ErrorKind::PermissionDenied, _) => {
                "make it readable for the user that runs logpushd".to_owned()
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
/// The file does not exist, is not a regular file, is empty, or cannot be read.
pub fn check_readable(path: &Path) -> io::Result<()> {
    open_regular(path)?.read_exact(&mut [0]).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            io::Error::new(io::ErrorKind::InvalidData, "the file is empty")
        }
        _ => error,
    })
}

/// Opens a regular file. Rejects other types, since opening a pipe would block until it has a writer.
///
/// # Errors
/// The file does not exist, is not a regular file, or cannot be opened.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    let fault = if kind.is_dir() {
        "is a directory, not a file"
    } else if kind.is_file() {
        return File::open(path);
    } else {
        "is not a regular file"
    };
    Err(io::Error::new(io::ErrorKind::InvalidData, fault))
}
