//! Errors of file operations, with the operation and the path.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A failed operation on a file or directory.
///
/// It is wrapped in an [`io::Error`] of the same kind, so that callers need no other error type;
/// [`FileError::of`] unwraps it.
#[derive(Clone, Debug)]
pub struct FileError {
    /// The operation, such as "writing".
    pub operation: String,
    /// The file or directory.
    pub path: PathBuf,
    /// The error without operation and path. It may wrap another file error.
    pub source: Arc<io::Error>,
}

impl FileError {
    /// Returns the file error that `error` wraps, if any.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.operation, self.path.display(), self.source)
    }
}

impl Error for FileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        Self::new(error.source.kind(), error)
    }
}

/// Adds the operation and the path to an error.
pub fn error_at(operation: &str, path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |source| {
        let error = FileError {
            operation: operation.to_owned(),
            path: path.to_owned(),
            source: Arc::new(source),
        };
        error.into()
    }
}

/// Returns the message of the system, without operation, path and error number: for readers who must not
/// see paths, and to compare the causes of two failures.
pub fn cause(error: &io::Error) -> String {
    let mut error = error;
    while let Some(file) = FileError::of(error) {
        error = &file.source;
    }
    let text = error.to_string();
    let number = error.raw_os_error().map(|code| format!(" (os error {code})"));
    number.and_then(|number| text.strip_suffix(&number)).map_or(text.clone(), str::to_owned)
}

/// Clones an error, for another thread that waits for the same operation.
pub(crate) fn clone_error(error: &io::Error) -> io::Error {
    match FileError::of(error) {
        Some(file) => file.clone().into(),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn the_cause_is_without_steps_paths_and_numbers() {
        let path = Path::new("/a: b (os error 5)/c");
        let full = || error_at("writing", path)(Errno::NOSPC.into());
        let shown = "writing /a: b (os error 5)/c: No space left on device (os error 28)";
        assert_eq!(full().to_string(), shown);
        assert_eq!(full().kind(), io::ErrorKind::StorageFull);
        assert_eq!(cause(&full()), "No space left on device");
        assert_eq!(
            cause(&error_at("compressing", Path::new("/d"))(full())),
            "No space left on device"
        );
        assert_eq!(cause(&clone_error(&full())), "No space left on device");
        let error = full();
        let parts = FileError::of(&error).map(|file| (file.operation.as_str(), &*file.path));
        assert_eq!(parts, Some(("writing", path)));
        let why = "it is a link: remove it";
        assert_eq!(cause(&error_at("opening", path)(io::Error::other(why))), why);
        assert_eq!(cause(&io::Error::other(why)), why);
    }
}
