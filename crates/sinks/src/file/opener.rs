//! Opens and creates a sink's files and their directories, with the configured owner and mode.
//!
//! The user who owns the files (`owner`, `group`, `mode`) also owns directories that the sink
//! creates, and can replace their entries at any time, for example with a symbolic link to another
//! file. So the sink walks paths by descriptors (see [`Directory`]), and sets owner and mode
//! through the descriptor of the file or directory that it has just created.

use std::{
    ffi::OsStr,
    fs::{File, Metadata, Permissions},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use spool::durable::{self, Directory, PrivateDirectory};

/// How often to retry when the file appears or disappears between two system calls.
const TRIES: usize = 3;

/// The owner of new files and directories, as IDs; `None` for that of the daemon.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Owner {
    pub(super) user: Option<u32>,
    pub(super) group: Option<u32>,
}

/// Opens and creates the files of one sink.
#[derive(Clone, Debug)]
pub(super) struct FileOpener {
    mode: u32,
    owner: Owner,
    /// The directory below which no link is followed; `None` if the path has no placeholders.
    base: Option<PathBuf>,
}

/// A file that [`FileOpener::open`] has opened.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) metadata: Metadata,
    /// Whether it was created by this call.
    pub(super) new: bool,
    /// Its directory.
    pub(super) directory: Directory,
}

impl FileOpener {
    pub(super) fn new(mode: u32, owner: Owner, base: Option<PathBuf>) -> Self {
        Self { mode, owner, base }
    }

    /// Opens the file at `path` for reading and appending. Creates it and its directories if
    /// needed.
    pub(super) fn open(&self, path: &Path) -> io::Result<Opened> {
        let make = |parent: &Directory, name: &OsStr| self.make_directory(parent, name);
        let directory = Directory::walk(durable::parent(path), self.base(path), Some(&make))?;
        let (file, new) = self.open_or_make(&directory, file_name(path)?)?;
        let metadata = file.metadata().map_err(durable::error_at("reading", path))?;
        if !metadata.is_file() {
            let error = io::Error::other("it is not a regular file");
            return Err(durable::error_at("opening", path)(error));
        }
        Ok(Opened { file, metadata, new, directory })
    }

    /// Opens the directory of the file at `path`. Creates nothing.
    pub(super) fn directory(&self, path: &Path) -> io::Result<Directory> {
        Directory::walk(durable::parent(path), self.base(path), None)
    }

    /// Renames the file `live` of `directory` to the free name `finished`, and creates an empty
    /// file `live`. Returns the metadata of the new file. If only the creation fails, returns that
    /// error within `Ok`; the next record then creates the file.
    ///
    /// Every program that follows files expects a rename and then a new file. If both names are
    /// exchanged in one step, syslog-ng continues to read the old file.
    pub(super) fn replace(
        &self,
        directory: &Directory,
        live: &OsStr,
        finished: &OsStr,
    ) -> io::Result<io::Result<Metadata>> {
        directory.rename_no_replace(directory, live, finished)?;
        // From here on the file is finished, whatever fails.
        let new = self.make_file(directory, live);
        Ok(new.and_then(|new| {
            new.metadata().map_err(durable::error_at("reading", &directory.path().join(live)))
        }))
    }

    /// The directory below which no link is followed. A file from before a change of the path may
    /// be in another directory: there, too, links are followed only if no other user can have
    /// created them.
    fn base<'a>(&'a self, path: &'a Path) -> &'a Path {
        self.base.as_deref().unwrap_or(path)
    }

    fn open_or_make(&self, directory: &Directory, name: &OsStr) -> io::Result<(File, bool)> {
        let mut tries = 0;
        loop {
            tries += 1;
            match directory.open(name, OFlags::RDWR | OFlags::APPEND) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => {}
                outcome => return outcome.map(|file| (file, false)),
            }
            match self.make_file(directory, name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < TRIES => {}
                outcome => return outcome.map(|file| (file, true)),
            }
        }
    }

    fn make_file(&self, directory: &Directory, name: &OsStr) -> io::Result<File> {
        let path = directory.path().join(name);
        let create = |directory: &Directory| {
            let file = directory.create(name, self.mode)?;
            self.set_attributes(&file, self.mode, &path)?;
            Ok(file)
        };
        if !self.sets_owner() {
            return create(directory);
        }
        // The file gets its name only after its owner is set: later, no one could know who created
        // an empty file.
        let private = PrivateDirectory::new(directory)?;
        let file = create(&private.directory);
        let named = file.and_then(|file| {
            directory.rename_no_replace(&private.directory, name, name).map(|()| file)
        });
        if named.is_err() {
            private.directory.remove(name).ok();
        }
        named
    }

    fn make_directory(&self, parent: &Directory, name: &OsStr) -> io::Result<Directory> {
        let bits = dir_mode(self.mode);
        let path = parent.path().join(name);
        let create = |parent: &Directory| {
            let directory = parent.make(name, bits)?;
            self.set_attributes(&directory.handle()?, bits, &path).map(|()| directory)
        };
        let directory = if self.sets_owner() || parent.is_shared()? {
            let private = PrivateDirectory::new(parent)?;
            let named = create(&private.directory).and_then(|directory| {
                parent.rename_no_replace(&private.directory, name, name)?;
                Ok(directory.named(path.clone()))
            });
            if named.is_err() {
                private.directory.remove_directory(name);
            }
            named?
        } else {
            create(parent)?
        };
        parent.sync()?;
        Ok(directory)
    }

    fn sets_owner(&self) -> bool {
        self.owner != Owner::default()
    }

    /// Sets owner and mode of a new file or directory. The umask may have removed bits from its
    /// mode.
    fn set_attributes(&self, file: &File, mode: u32, path: &Path) -> io::Result<()> {
        let Owner { user, group } = self.owner;
        if user.is_some() || group.is_some() {
            fchown(file, user, group).map_err(|error| self.explain_owner(&error, path))?;
        }
        let metadata = file.metadata().map_err(durable::error_at("reading", path))?;
        if metadata.mode() & 0o777 != mode {
            let mode = Permissions::from_mode(mode);
            file.set_permissions(mode).map_err(durable::error_at("setting the mode of", path))?;
        }
        Ok(())
    }

    fn explain_owner(&self, error: &io::Error, path: &Path) -> io::Error {
        let Owner { user, group } = self.owner;
        let name = |id: Option<u32>| id.map(|id| id.to_string()).unwrap_or_default();
        let step = format!("changing the owner to {}:{} of", name(user), name(group));
        let text = format!(
            "{error}; `owner` needs CAP_CHOWN, and the daemon's user must be a member of `group`"
        );
        durable::error_at(&step, path)(io::Error::new(error.kind(), text))
    }
}

/// The name of a file in its directory.
pub(super) fn file_name(path: &Path) -> io::Result<&OsStr> {
    let none = || durable::error_at("opening", path)(io::Error::other("the path has no file name"));
    path.file_name().ok_or_else(none)
}

/// The mode of new directories: that of the files, and users who may read a file may enter.
fn dir_mode(mode: u32) -> u32 {
    mode | (mode & 0o444) >> 2 | 0o700
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{chown, symlink},
    };

    use rustix::process::geteuid;

    use super::*;

    const READER: u32 = 4711;
    const READERS: u32 = 4712;

    fn bits(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn ids(path: &Path) -> (u32, u32) {
        let metadata = fs::symlink_metadata(path).unwrap();
        (metadata.uid(), metadata.gid())
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Changes the owner of all it creates; `None` if the test does not run as root.
    fn owner_setting(mode: u32, base: Option<&Path>) -> Option<FileOpener> {
        if !geteuid().is_root() {
            eprintln!("skipped: only root may change the owner of a file");
            return None;
        }
        let owner = Owner { user: Some(READER), group: Some(READERS) };
        Some(FileOpener::new(mode, owner, base.map(Path::to_owned)))
    }

    fn refused(opener: &FileOpener, path: &Path) -> String {
        opener.open(path).err().expect("refused").to_string()
    }

    #[test]
    fn files_and_directories_have_the_configured_mode_whatever_the_umask() {
        let dir = tempfile::tempdir().unwrap();
        let opener = FileOpener::new(0o666, Owner::default(), None);
        let path = dir.path().join("a/b/c.ndjson");
        assert!(opener.open(&path).unwrap().new);
        assert_eq!(bits(&path), 0o666);
        assert_eq!(bits(&dir.path().join("a/b")), 0o777);
        assert!(!opener.open(&path).unwrap().new);
        // A mode that another program has set stays.
        fs::write(&path, "{}\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(opener.open(&path).unwrap().metadata.len(), 3);
        assert_eq!(bits(&path), 0o600);
        assert_eq!(names(&dir.path().join("a/b")), ["c.ndjson"]);
    }

    #[test]
    fn only_files_that_the_sink_creates_change_their_owner() {
        let Some(opener) = owner_setting(0o660, None) else { return };
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("theirs")).unwrap();
        fs::write(path("theirs/empty"), "").unwrap();
        fs::write(path("theirs/full"), "{}\n").unwrap();
        let before = ["theirs", "theirs/empty", "theirs/full"].map(|name| bits(&path(name)));
        for name in ["a/b/c", "theirs/empty", "theirs/full", "theirs/new"] {
            opener.open(&path(name)).unwrap();
        }
        let made = ["a", "a/b", "a/b/c", "theirs/new"];
        assert_eq!(made.map(|name| ids(&path(name))), [(READER, READERS); 4]);
        assert_eq!(made.map(|name| bits(&path(name))), [0o770, 0o770, 0o660, 0o660]);
        let found = ["theirs", "theirs/empty", "theirs/full"];
        assert_eq!(found.map(|name| ids(&path(name))), [(0, 0); 3]);
        assert_eq!(found.map(|name| bits(&path(name))), before);
        assert_eq!(names(&path("a/b")), ["c"], "no temporary directory is left");
        assert_eq!(names(dir.path()), ["a", "theirs"]);
        let only_group = Owner { user: None, group: Some(READERS) };
        FileOpener::new(0o640, only_group, None).open(&path("g")).unwrap();
        assert_eq!(ids(&path("g")), (0, READERS));
    }

    #[test]
    fn a_file_that_was_replaced_by_a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, path) = (dir.path().join("victim"), dir.path().join("out.ndjson"));
        let openers = [
            Some(FileOpener::new(0o640, Owner::default(), None)),
            Some(FileOpener::new(0o640, Owner::default(), Some(dir.path().to_owned()))),
            owner_setting(0o640, None),
        ];
        for opener in openers.into_iter().flatten() {
            for text in ["", "{}\n"] {
                fs::write(&victim, text).unwrap();
                let before = (ids(&victim), bits(&victim));
                symlink(&victim, &path).unwrap();
                let error = refused(&opener, &path);
                assert!(error.contains("out.ndjson: it is a symbolic link"), "{error}");
                assert_eq!((ids(&victim), bits(&victim)), before);
                assert_eq!(fs::read_to_string(&victim).unwrap(), text);
                fs::remove_file(&path).unwrap();
            }
        }
    }

    #[test]
    fn no_link_is_followed_below_the_base() {
        let dir = tempfile::tempdir().unwrap();
        let (base, outside) = (dir.path().join("base"), dir.path().join("outside"));
        fs::create_dir_all(base.join("inside")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "theirs\n").unwrap();
        let opener = FileOpener::new(0o640, Owner::default(), Some(base.clone()));
        symlink(&outside, base.join("out")).unwrap();
        symlink(base.join("inside"), base.join("in")).unwrap();
        symlink(outside.join("file"), base.join("inside/link")).unwrap();
        symlink(dir.path().join("nowhere"), base.join("dangling")).unwrap();
        for name in
            ["out/file", "out/new", "out/deeper/file", "in/file", "inside/link", "dangling/file"]
        {
            let error = refused(&opener, &base.join(name));
            assert!(error.contains("it is a symbolic link"), "{name}: {error}");
        }
        assert_eq!(names(&outside), ["file"], "nothing was created there");
        assert_eq!(names(&base.join("inside")), ["link"]);
        assert!(opener.directory(&base.join("out/file")).is_err(), "nor is anything removed there");
    }

    #[test]
    fn links_of_the_operator_above_the_base_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (data, log) = (dir.path().join("data"), dir.path().join("log"));
        fs::create_dir_all(data.join("deep")).unwrap();
        symlink("data/../data/deep", &log).unwrap();
        for base in [Some(log.clone()), Some(log.join("below")), None] {
            let opener = FileOpener::new(0o640, Owner::default(), base);
            let found = opener.open(&log.join("below/file")).unwrap();
            assert_eq!(found.directory.path(), log.join("below"));
            assert!(data.join("deep/below/file").exists());
        }
        symlink("round", dir.path().join("round")).unwrap();
        let opener = FileOpener::new(0o640, Owner::default(), None);
        let error = refused(&opener, &dir.path().join("round/file"));
        assert!(error.contains("symbolic links"), "{error}");
    }

    #[test]
    fn links_of_another_user_above_the_base_are_refused() {
        let Some(opener) = owner_setting(0o640, None) else { return };
        let dir = tempfile::tempdir().unwrap();
        let (secret, given) = (dir.path().join("secret"), dir.path().join("given"));
        fs::create_dir(&secret).unwrap();
        // The sink created it, and changed its owner.
        opener.open(&given.join("out/file")).unwrap();
        fs::rename(given.join("out"), given.join("away")).unwrap();
        symlink(&secret, given.join("out")).unwrap();
        for owner in [READER, 0] {
            std::os::unix::fs::lchown(given.join("out"), Some(owner), None).unwrap();
            let error = refused(&opener, &given.join("out/file"));
            assert!(error.contains("user 4711 can replace"), "{error}");
        }
        // In a directory of root that a group may write to, a link of root is the operator's.
        chown(&given, Some(0), None).unwrap();
        fs::set_permissions(&given, Permissions::from_mode(0o775)).unwrap();
        opener.open(&given.join("out/file")).unwrap();
        fs::set_permissions(&given, Permissions::from_mode(0o777)).unwrap();
        refused(&opener, &given.join("out/file"));
        std::os::unix::fs::lchown(given.join("out"), Some(READER), None).unwrap();
        fs::set_permissions(&given, Permissions::from_mode(0o1777)).unwrap();
        refused(&opener, &given.join("out/file"));
    }

    #[test]
    fn a_new_directory_in_a_shared_one_cannot_be_replaced_before_its_owner_is_set() {
        let Some(opener) = owner_setting(0o660, None) else { return };
        let dir = tempfile::tempdir().unwrap();
        chown(dir.path(), Some(READER), None).unwrap();
        let directory = Directory::walk(dir.path(), dir.path(), None).unwrap();
        assert!(directory.is_shared().unwrap());
        let private = PrivateDirectory::new(&directory).unwrap();
        assert_eq!(bits(private.directory.path()), 0o700);
        drop(private);
        opener.open(&dir.path().join("a/file")).unwrap();
        assert_eq!(ids(&dir.path().join("a")), (READER, READERS));
        assert_eq!(names(dir.path()), ["a"]);
        assert_eq!(names(&dir.path().join("a")), ["file"]);
    }
}
