//! Directories by descriptor, for trees that other users may write to.
//!
//! A path that is looked up twice may lead to two different files if another user replaces a directory by
//! a symbolic link in between. Therefore a path is walked once, component by component, and every later
//! operation uses the descriptor of the last directory and a single name. No operation follows a link.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, Metadata},
    io,
    os::{
        fd::OwnedFd,
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::{
    fs::{self as calls, AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags},
    io::Errno,
    process::geteuid,
};

use super::{FileOperation, error_at, ignore_invalid, run_operation};

/// The maximum number of links in a path (40, as in the kernel) and of directories to create.
const MAX_REDIRECTS: usize = 40 + 40;

/// Opens a directory only to look up names, which needs no permission to read.
const SEARCH_FLAGS: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

/// The links of a path that are followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum LinkPolicy {
    /// Links that only root or the user of this process can have created.
    Trusted,
    /// No links.
    Never,
}

/// Creates a missing directory, with its parent and its name.
pub type MakeDirectory<'a> = &'a dyn Fn(&Directory, &OsStr) -> io::Result<Directory>;

impl Directory {
    /// Opens the directory at the absolute `path`.
    ///
    /// Links in `base`, a prefix of `path`, are followed if only root or the user of this process can have
    /// created them. Links after it are refused. Missing directories are created by `make`.
    ///
    /// # Errors
    /// A directory is missing and `make` is `None`, a link is refused, or a system call fails.
    pub fn walk(path: &Path, base: &Path, make: Option<MakeDirectory<'_>>) -> io::Result<Self> {
        let literal = if path.starts_with(base) { base } else { path }.components().count();
        let links = |place| if place < literal { LinkPolicy::Trusted } else { LinkPolicy::Never };
        let components = path.components().enumerate().skip(1);
        let mut todo: Vec<(OsString, LinkPolicy)> = components
            .map(|(place, component)| (component.as_os_str().to_owned(), links(place)))
            .collect();
        todo.reverse();
        let mut here = Self::root()?;
        let mut left = MAX_REDIRECTS;
        while let Some((name, links)) = todo.pop() {
            let errno = match calls::openat(&here.fd, &name, SEARCH_FLAGS, Mode::empty()) {
                Ok(fd) => {
                    here.enter(fd, &name);
                    continue;
                }
                Err(errno) => errno,
            };
            let failed = |errno: Errno| error_at("opening", &here.path.join(&name))(errno.into());
            left = left.checked_sub(1).ok_or_else(|| failed(Errno::LOOP))?;
            match (errno, make) {
                (Errno::NOENT, Some(make)) => match make(&here, &name) {
                    Ok(directory) => here = directory,
                    // Another process has created the directory: check it like any other.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        todo.push((name, links));
                    }
                    Err(error) => return Err(error),
                },
                (Errno::NOTDIR | Errno::LOOP, _) => {
                    let target = here.link(&name, links)?;
                    if target.is_absolute() {
                        here = Self::root()?;
                    }
                    let parts = target.components().filter(|part| part.as_os_str() != "/");
                    let parts =
                        parts.map(|part| (part.as_os_str().to_owned(), LinkPolicy::Trusted));
                    todo.extend(parts.collect::<Vec<_>>().into_iter().rev());
                }
                _ => return Err(failed(errno)),
            }
        }
        // Messages contain the path from the configuration, even if it leads over a link.
        Ok(Self { fd: here.fd, path: path.to_owned() })
    }

    fn root() -> io::Result<Self> {
        let fd = calls::openat(CWD, "/", SEARCH_FLAGS, Mode::empty())?;
        Ok(Self { fd, path: PathBuf::from("/") })
    }

    fn enter(&mut self, fd: OwnedFd, name: &OsStr) {
        self.fd = fd;
        if name == ".." {
            self.path.pop();
        } else {
            self.path.push(name);
        }
    }

    /// Returns the target of the link `name`, if the link may be followed.
    fn link(&self, name: &OsStr, links: LinkPolicy) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        let refused = |why: String| {
            error_at("opening", &path)(io::Error::new(io::ErrorKind::PermissionDenied, why))
        };
        // One descriptor for owner and target, so that both are of the same link.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = calls::openat(&self.fd, name, flags, Mode::empty())?;
        let stat = calls::fstat(&link)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Err(error_at("opening", &path)(Errno::NOTDIR.into()));
        }
        if links == LinkPolicy::Never {
            return Err(refused(
                "it is a symbolic link, which is refused after a placeholder; remove the link, or \
                 write its target in the sink's `path`"
                    .into(),
            ));
        }
        let parent = calls::fstat(&self.fd)?;
        let open_to_all = parent.st_mode & 0o1002 == 0o002;
        if !is_trusted(stat.st_uid) || !is_trusted(parent.st_uid) || open_to_all {
            return Err(refused(format!(
                "it is a symbolic link that user {} can replace; write its target in the sink's \
                 `path`, or make root the owner of the link and its directory",
                if is_trusted(stat.st_uid) { parent.st_uid } else { stat.st_uid }
            )));
        }
        let target = calls::readlinkat(&link, "", Vec::new()).map_err(io::Error::from);
        let target = target.map_err(error_at("reading link", &path))?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Returns the path that it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reports whether other users may replace its entries.
    pub fn is_shared(&self) -> io::Result<bool> {
        let stat = calls::fstat(&self.fd)?;
        let sticky = stat.st_mode & 0o1000 != 0;
        Ok(!is_trusted(stat.st_uid) || stat.st_mode & 0o022 != 0 && !sticky)
    }

    /// Opens the file `name`, and never follows a link.
    pub fn open(&self, name: &OsStr, flags: OFlags) -> io::Result<File> {
        self.open_with_mode(name, flags, 0)
    }

    /// Creates the file `name`, which must not exist, to read and to append. The umask applies to `mode`.
    pub fn create(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL;
        self.open_with_mode(name, flags, mode)
    }

    fn open_with_mode(&self, name: &OsStr, flags: OFlags, mode: u32) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        run_operation(FileOperation::Open, &self.path.join(name), || {
            match calls::openat(&self.fd, name, flags, Mode::from_raw_mode(mode)) {
                Ok(fd) => Ok(fd.into()),
                Err(Errno::LOOP) => Err(io::Error::other(
                    "it is a symbolic link, which is refused here; remove the link, or write its target \
                     in the sink's `path`",
                )),
                Err(errno) => Err(errno.into()),
            }
        })
    }

    /// Creates the directory `name`, which must not exist, and opens it. The umask applies to `mode`.
    ///
    /// A user who may write to this directory can replace it in between: see [`Self::is_shared`].
    pub fn make(&self, name: &OsStr, mode: u32) -> io::Result<Self> {
        let path = self.path.join(name);
        run_operation(FileOperation::MakeDir, &path, || {
            Ok(calls::mkdirat(&self.fd, name, Mode::from_raw_mode(mode))?)
        })?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = calls::openat(&self.fd, name, flags, Mode::empty());
        let fd = fd.map_err(|errno| error_at("opening", &path)(errno.into()))?;
        Ok(Self { fd, path })
    }

    /// Returns the descriptor as a file, to read or set owner and mode. Only for directories from
    /// [`Self::make`].
    pub fn handle(&self) -> io::Result<File> {
        Ok(self.fd.try_clone()?.into())
    }

    /// Sets the path of a directory that was renamed.
    #[must_use]
    pub fn named(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }

    /// Removes the directory `name` if it is empty.
    pub fn remove_directory(&self, name: &OsStr) {
        // A directory that remains does no harm.
        calls::unlinkat(&self.fd, name, AtFlags::REMOVEDIR).ok();
    }

    /// Returns the metadata of the entry `name`, which may be a link.
    pub fn metadata(&self, name: &OsStr) -> io::Result<Metadata> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let read = || File::from(calls::openat(&self.fd, name, flags, Mode::empty())?).metadata();
        read().map_err(error_at("reading", &self.path.join(name)))
    }

    /// Reports whether the entry `name` exists, or its existence cannot be determined.
    pub fn has(&self, name: &OsStr) -> bool {
        let stat = calls::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        !matches!(stat, Err(Errno::NOENT))
    }

    /// Lists the names of all entries.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let read = || -> io::Result<Vec<OsString>> {
            let mut names = Vec::new();
            for entry in Dir::read_from(self.reopen()?)? {
                let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
                if name != "." && name != ".." {
                    names.push(name);
                }
            }
            Ok(names)
        };
        read().map_err(error_at("reading", &self.path))
    }

    /// Renames an entry of this directory.
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        run_operation(FileOperation::Rename, &self.path.join(to), || {
            Ok(calls::renameat(&self.fd, from, &self.fd, to)?)
        })
    }

    /// Moves an entry from `of` to this directory. Fails if the new name exists.
    pub fn rename_no_replace(&self, of: &Self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let free = RenameFlags::NOREPLACE;
        run_operation(FileOperation::Rename, &self.path.join(to), || {
            match calls::renameat_with(&of.fd, from, &self.fd, to, free) {
                // Some filesystems do not support this atomically.
                Err(Errno::INVAL | Errno::NOSYS) if self.has(to) => {
                    Err(io::ErrorKind::AlreadyExists.into())
                }
                Err(Errno::INVAL | Errno::NOSYS) => {
                    Ok(calls::renameat(&of.fd, from, &self.fd, to)?)
                }
                outcome => Ok(outcome?),
            }
        })
    }

    /// Removes a file. Succeeds if the file does not exist.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        run_operation(FileOperation::Remove, &self.path.join(name), || {
            match calls::unlinkat(&self.fd, name, AtFlags::empty()) {
                Err(Errno::NOENT) => Ok(()),
                outcome => Ok(outcome?),
            }
        })
    }

    /// Makes changes of the directory (new names, renames) durable.
    pub fn sync(&self) -> io::Result<()> {
        ignore_invalid(run_operation(FileOperation::SyncDir, &self.path, || {
            File::from(self.reopen()?).sync_all()
        }))
    }

    /// Opens the directory for more than looking up names.
    fn reopen(&self) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        calls::openat(&self.fd, ".", flags, Mode::empty())
    }
}

/// A private directory within one that other users may write to, so that they cannot replace a file before
/// it gets its final name. Dropping the value removes the directory.
#[derive(Debug)]
pub struct PrivateDirectory<'a> {
    /// The private directory.
    pub directory: Directory,
    parent: &'a Directory,
    name: OsString,
}

impl<'a> PrivateDirectory<'a> {
    /// Creates the directory in `parent`.
    pub fn new(parent: &'a Directory) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut tries = 0;
        loop {
            tries += 1;
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = OsString::from(format!(".logpushd-{}-{number}", process::id()));
            match parent.make(&name, 0o700) {
                // Left by a killed process with the same ID.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < 100 => {}
                Err(error) => return Err(error),
                Ok(directory) => {
                    let private = Self { directory, parent, name };
                    let stat = calls::fstat(&private.directory.fd)?;
                    if stat.st_uid == geteuid().as_raw() && stat.st_mode & 0o777 == 0o700 {
                        return Ok(private);
                    }
                    let error = io::Error::new(
                        io::ErrorKind::PermissionDenied,
                        "another user replaced it by another directory",
                    );
                    return Err(error_at("creating directory", &private.directory.path)(error));
                }
            }
        }
    }
}

impl Drop for PrivateDirectory<'_> {
    fn drop(&mut self) {
        self.parent.remove_directory(&self.name);
    }
}

fn is_trusted(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}
