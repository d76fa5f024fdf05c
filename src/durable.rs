//! The few file operations that a promise rests on, each ending with what makes it last.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

/// Makes what happened in the folder `dir` (new names, renames) survive a power cut.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes the folder and those above it that are missing, and makes them last.
pub fn create_dir(dir: &Path, mode: u32) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_dir(parent, mode)?;
    match fs::DirBuilder::new().mode(mode).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        outcome => outcome?,
    }
    sync_dir(parent)
}

/// Replaces the file at `path` by one with these bytes: after a crash it is the old or the new one.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Puts a second name to `from`, or a copy where the two folders are on different filesystems, and
/// makes it last. It is no error if `to` is there already.
pub fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let beside = to.with_extension("new");
            fs::copy(from, &beside)?;
            File::open(&beside)?.sync_all()?;
            fs::rename(&beside, to)?;
        }
        Err(error) => return Err(error),
    }
    sync_dir(to.parent().unwrap_or(Path::new(".")))
}

/// An I/O error with the step and the path it happened at, as people need to see it.
pub fn at(step: &str, path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let place = format!("{step} {}", path.display());
    move |error| io::Error::new(error.kind(), format!("{place}: {error}"))
}
