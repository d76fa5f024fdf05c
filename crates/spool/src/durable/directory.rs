//! Directories by descriptor, for trees that other users may write to.
//!
//! A path that is looked up twice may lead to two different places if someone else may exchange a
//! directory for a symbolic link in between. So a path is walked once, component by component, and
//! every later operation names one entry of the directory that was reached. No operation follows a link.

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

use super::{Step, at, step, unless_invalid};

/// How many links a path may have, which is the kernel's own limit, and directories to be made.
const MAX_DETOURS: usize = 40 + 40;

/// Opens a directory to look up names in it, and nothing else: that takes no permission to read.
const TO_SEARCH: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

/// Which links of a path are followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Links {
    /// Those that only root or this process's user can have made.
    Trusted,
    /// None.
    Never,
}

/// Makes a directory that is missing: its parent, and the name that it is to have.
pub type MakeDirectory<'a> = &'a dyn Fn(&Directory, &OsStr) -> io::Result<Directory>;

impl Directory {
    /// Walks to the directory `path`, which is absolute. Links in `base`, a prefix of it, are followed
    /// if only root or this process's user can have made them; links behind it are refused. Missing
    /// directories are made by `make`.
    ///
    /// # Errors
    /// A directory is missing and there is no `make`, a link is refused, or the system refuses.
    pub fn walk(path: &Path, base: &Path, make: Option<MakeDirectory<'_>>) -> io::Result<Self> {
        let literal = if path.starts_with(base) { base } else { path }.components().count();
        let links = |place| if place < literal { Links::Trusted } else { Links::Never };
        let components = path.components().enumerate().skip(1);
        let mut todo: Vec<(OsString, Links)> = components
            .map(|(place, component)| (component.as_os_str().to_owned(), links(place)))
            .collect();
        todo.reverse();
        let mut here = Self::root()?;
        let mut left = MAX_DETOURS;
        while let Some((name, links)) = todo.pop() {
            let errno = match calls::openat(&here.fd, &name, TO_SEARCH, Mode::empty()) {
                Ok(fd) => {
                    here.enter(fd, &name);
                    continue;
                }
                Err(errno) => errno,
            };
            let failed = |errno: Errno| at("opening", &here.path.join(&name))(errno.into());
            left = left.checked_sub(1).ok_or_else(|| failed(Errno::LOOP))?;
            match (errno, make) {
                (Errno::NOENT, Some(make)) => match make(&here, &name) {
                    Ok(directory) => here = directory,
                    // Someone else was faster: it is looked at like any other.
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
                    let parts = parts.map(|part| (part.as_os_str().to_owned(), Links::Trusted));
                    todo.extend(parts.collect::<Vec<_>>().into_iter().rev());
                }
                _ => return Err(failed(errno)),
            }
        }
        // Files are called what the configuration calls them, also behind a link.
        Ok(Self { fd: here.fd, path: path.to_owned() })
    }

    fn root() -> io::Result<Self> {
        let fd = calls::openat(CWD, "/", TO_SEARCH, Mode::empty())?;
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

    /// What the link `name` leads to, if it may be followed.
    fn link(&self, name: &OsStr, links: Links) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        let refused = |why: String| {
            at("opening", &path)(io::Error::new(io::ErrorKind::PermissionDenied, why))
        };
        // One descriptor for its owner and its target, so that both are of the same link.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = calls::openat(&self.fd, name, flags, Mode::empty())?;
        let stat = calls::fstat(&link)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Err(at("opening", &path)(Errno::NOTDIR.into()));
        }
        if links == Links::Never {
            return Err(refused(
                "it is a symbolic link, and none is followed behind a placeholder; remove it, or \
                 name what it leads to in the sink's `path`"
                    .into(),
            ));
        }
        let parent = calls::fstat(&self.fd)?;
        let open_to_all = parent.st_mode & 0o1002 == 0o002;
        if !is_trusted(stat.st_uid) || !is_trusted(parent.st_uid) || open_to_all {
            return Err(refused(format!(
                "it is a symbolic link that user {} may exchange; name what it leads to in the \
                 sink's `path`, or let root own the link and its directory",
                if is_trusted(stat.st_uid) { parent.st_uid } else { stat.st_uid }
            )));
        }
        let target = calls::readlinkat(&link, "", Vec::new()).map_err(io::Error::from);
        let target = target.map_err(at("reading link", &path))?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether other users may exchange its entries.
    pub fn is_shared(&self) -> io::Result<bool> {
        let stat = calls::fstat(&self.fd)?;
        let sticky = stat.st_mode & 0o1000 != 0;
        Ok(!is_trusted(stat.st_uid) || stat.st_mode & 0o022 != 0 && !sticky)
    }

    /// Opens the file `name`, never through a link.
    pub fn open(&self, name: &OsStr, flags: OFlags) -> io::Result<File> {
        self.open_with_mode(name, flags, 0)
    }

    /// Makes the file `name`, which must not be there, to read and to append. The umask applies to
    /// `mode`.
    pub fn create(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL;
        self.open_with_mode(name, flags, mode)
    }

    fn open_with_mode(&self, name: &OsStr, flags: OFlags, mode: u32) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        step(Step::Open, &self.path.join(name), || {
            match calls::openat(&self.fd, name, flags, Mode::from_raw_mode(mode)) {
                Ok(fd) => Ok(fd.into()),
                Err(Errno::LOOP) => Err(io::Error::other(
                    "it is a symbolic link, which is never followed here; remove it, or name what it \
                     leads to in the sink's `path`",
                )),
                Err(errno) => Err(errno.into()),
            }
        })
    }

    /// Makes the directory `name`, which must not be there, and opens it. Someone who may write here
    /// can exchange it in between: see [`Self::is_shared`]. The umask applies to `mode`.
    pub fn make(&self, name: &OsStr, mode: u32) -> io::Result<Self> {
        let path = self.path.join(name);
        step(Step::MakeDir, &path, || {
            Ok(calls::mkdirat(&self.fd, name, Mode::from_raw_mode(mode))?)
        })?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = calls::openat(&self.fd, name, flags, Mode::empty());
        let fd = fd.map_err(|errno| at("opening", &path)(errno.into()))?;
        Ok(Self { fd, path })
    }

    /// Its descriptor as a file, to ask for or to set owner and mode. Only of one from [`Self::make`].
    pub fn handle(&self) -> io::Result<File> {
        Ok(self.fd.try_clone()?.into())
    }

    /// The same directory, after it was renamed.
    #[must_use]
    pub fn named(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }

    /// Removes the directory `name` if it is empty.
    pub fn remove_directory(&self, name: &OsStr) {
        // One that stays is in nobody's way.
        calls::unlinkat(&self.fd, name, AtFlags::REMOVEDIR).ok();
    }

    /// What the entry `name` is, which may be a link.
    pub fn metadata(&self, name: &OsStr) -> io::Result<Metadata> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let read = || File::from(calls::openat(&self.fd, name, flags, Mode::empty())?).metadata();
        read().map_err(at("reading", &self.path.join(name)))
    }

    /// Whether there is an entry `name`, or it cannot be found out.
    pub fn has(&self, name: &OsStr) -> bool {
        let stat = calls::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        !matches!(stat, Err(Errno::NOENT))
    }

    /// The names of all entries.
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
        read().map_err(at("reading", &self.path))
    }

    /// Gives an entry its final name, here.
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        step(Step::Rename, &self.path.join(to), || {
            Ok(calls::renameat(&self.fd, from, &self.fd, to)?)
        })
    }

    /// Gives an entry of `of` a name here, unless something has that name.
    pub fn rename_to_free(&self, of: &Self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let free = RenameFlags::NOREPLACE;
        step(Step::Rename, &self.path.join(to), || {
            match calls::renameat_with(&of.fd, from, &self.fd, to, free) {
                // Some filesystems cannot do it at once.
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

    /// Removes a file. It is no error if it is gone.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        step(Step::Remove, &self.path.join(name), || {
            match calls::unlinkat(&self.fd, name, AtFlags::empty()) {
                Err(Errno::NOENT) => Ok(()),
                outcome => Ok(outcome?),
            }
        })
    }

    /// Makes what happened here (new names, renames) survive a power cut.
    pub fn sync(&self) -> io::Result<()> {
        unless_invalid(step(Step::SyncDir, &self.path, || File::from(self.reopen()?).sync_all()))
    }

    /// A descriptor for more than looking up names.
    fn reopen(&self) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        calls::openat(&self.fd, ".", flags, Mode::empty())
    }
}

/// A directory that nobody else may enter, in one that others may write to: what is made here is not
/// exchanged for something else before it is ready for its place. It is removed with the value.
#[derive(Debug)]
pub struct Private<'a> {
    /// The directory.
    pub directory: Directory,
    parent: &'a Directory,
    name: OsString,
}

impl<'a> Private<'a> {
    /// Makes it in `parent`.
    pub fn new(parent: &'a Directory) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut tries = 0;
        loop {
            tries += 1;
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = OsString::from(format!(".logpushd-{}-{number}", process::id()));
            match parent.make(&name, 0o700) {
                // A process with this number was killed here.
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
                        "someone exchanged it for another directory",
                    );
                    return Err(at("making directory", &private.directory.path)(error));
                }
            }
        }
    }
}

impl Drop for Private<'_> {
    fn drop(&mut self) {
        self.parent.remove_directory(&self.name);
    }
}

fn is_trusted(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}
