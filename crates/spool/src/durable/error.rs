//! What went wrong with a file: at which step, and where.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// An operation on a file or a directory that failed. It travels within an [`io::Error`] of the same
/// kind, so that callers need no other type of result; [`FileError::of`] finds it there.
#[derive(Clone, Debug)]
pub struct FileError {
    /// What was done, as in "writing".
    pub step: String,
    /// The file or directory that it was done to.
    pub path: PathBuf,
    /// Why it failed, without the step and the path. It may carry a file error in turn.
    pub source: Arc<io::Error>,
}

impl FileError {
    /// The file error that `error` carries, if it carries one.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.step, self.path.display(), self.source)
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

/// Adds the step and the path to an error.
pub fn at(step: &str, path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |source| {
        let error =
            FileError { step: step.to_owned(), path: path.to_owned(), source: Arc::new(source) };
        error.into()
    }
}

/// What the system said, without the step, the path and the number of the error: for whoever must not
/// see the inside, and to tell whether two failures have the same cause.
pub fn cause(error: &io::Error) -> String {
    let mut error = error;
    while let Some(file) = FileError::of(error) {
        error = &file.source;
    }
    let text = error.to_string();
    let number = error.raw_os_error().map(|code| format!(" (os error {code})"));
    number.and_then(|number| text.strip_suffix(&number)).map_or(text.clone(), str::to_owned)
}

/// The same error once more: for another caller that waits for the same operation.
pub(crate) fn share(error: &io::Error) -> io::Error {
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
        let full = || at("writing", path)(Errno::NOSPC.into());
        let shown = "writing /a: b (os error 5)/c: No space left on device (os error 28)";
        assert_eq!(full().to_string(), shown);
        assert_eq!(full().kind(), io::ErrorKind::StorageFull);
        assert_eq!(cause(&full()), "No space left on device");
        assert_eq!(cause(&at("compressing", Path::new("/d"))(full())), "No space left on device");
        assert_eq!(cause(&share(&full())), "No space left on device");
        let error = full();
        let parts = FileError::of(&error).map(|file| (file.step.as_str(), &*file.path));
        assert_eq!(parts, Some(("writing", path)));
        let why = "it is a link: remove it";
        assert_eq!(cause(&at("opening", path)(io::Error::other(why))), why);
        assert_eq!(cause(&io::Error::other(why)), why);
    }
}
