//! How a sink's files come into being: in which directories, whose they are, and that nobody leads the
//! sink to a file or directory that it did not make.
//!
//! Whoever gets the files (`owner`, `group`, `mode`) may get directories as well, and can exchange what is
//! in them at any time. So paths are walked by descriptors (see [`Directory`]), and owner and mode are set
//! through the descriptor of what was made just now.

use std::{
    ffi::OsStr,
    fs::{File, Metadata, Permissions},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use spool::durable::{self, Directory, PrivateDirectory};

/// How often a file may come and go between two looks at it.
const TRIES: usize = 3;

/// Who gets what is made: ids, or nothing for those of the daemon.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Owner {
    pub(super) user: Option<u32>,
    pub(super) group: Option<u32>,
}

/// Where a sink's files are, and whose they become.
#[derive(Clone, Debug)]
pub(super) struct Place {
    mode: u32,
    owner: Owner,
    /// The directory behind which no link is followed; `None` if nothing is filled in.
    base: Option<PathBuf>,
}

/// A file that was opened.
pub(super) struct Found {
    pub(super) file: File,
    pub(super) metadata: Metadata,
    /// Whether it was made just now.
    pub(super) new: bool,
    /// The directory that it was opened in.
    pub(super) directory: Directory,
}

impl Place {
    pub(super) fn new(mode: u32, owner: Owner, base: Option<PathBuf>) -> Self {
        Self { mode, owner, base }
    }

    /// Opens the file at `path` to read and to append, or makes it, and the directories that are missing.
    pub(super) fn open(&self, path: &Path) -> io::Result<Found> {
        let make = |parent: &Directory, name: &OsStr| self.make_directory(parent, name);
        let directory = Directory::walk(durable::parent(path), self.base(path), Some(&make))?;
        let (file, new) = self.open_or_make(&directory, file_name(path)?)?;
        let metadata = file.metadata().map_err(durable::error_at("reading", path))?;
        if !metadata.is_file() {
            let error = io::Error::other("it is not a regular file");
            return Err(durable::error_at("opening", path)(error));
        }
        Ok(Found { file, metadata, new, directory })
    }

    /// The directory of the file at `path`, as it is.
    pub(super) fn directory(&self, path: &Path) -> io::Result<Directory> {
        Directory::walk(durable::parent(path), self.base(path), None)
    }

    /// Gives the file `live` of `directory` the free name `ended`, and begins an empty new file in its place,
    /// which is returned: an error within if none could be made. Then the next record makes it.
    ///
    /// A rename and then a new file is what every program that follows files expects. If both names are
    /// exchanged in one step, syslog-ng goes on reading the old file.
    pub(super) fn replace(
        &self,
        directory: &Directory,
        live: &OsStr,
        ended: &OsStr,
    ) -> io::Result<io::Result<Metadata>> {
        directory.rename_no_replace(directory, live, ended)?;
        // From here on the file has ended, whatever fails.
        let new = self.make_file(directory, live);
        Ok(new.and_then(|new| {
            new.metadata().map_err(durable::error_at("reading", &directory.path().join(live)))
        }))
    }

    /// A file from before the path was changed may be elsewhere: there, too, links are followed only if
    /// nobody else can have made them.
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
            self.give(&file, self.mode, &path)?;
            Ok(file)
        };
        if !self.gives_away() {
            return create(directory);
        }
        // It has its name when it is given away, and not before: nobody can tell afterwards who made an
        // empty file.
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
            self.give(&directory.handle()?, bits, &path).map(|()| directory)
        };
        let directory = if self.gives_away() || parent.is_shared()? {
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

    fn gives_away(&self) -> bool {
        self.owner != Owner::default()
    }

    /// Gives away what was made just now. The umask may have taken bits off its mode.
    fn give(&self, file: &File, mode: u32, path: &Path) -> io::Result<()> {
        let Owner { user, group } = self.owner;
        if user.is_some() || group.is_some() {
            fchown(file, user, group).map_err(|error| self.not_given(error, path))?;
        }
        let metadata = file.metadata().map_err(durable::error_at("reading", path))?;
        if metadata.mode() & 0o777 != mode {
            let mode = Permissions::from_mode(mode);
            file.set_permissions(mode).map_err(durable::error_at("setting the mode of", path))?;
        }
        Ok(())
    }

    fn not_given(&self, error: io::Error, path: &Path) -> io::Error {
        let Owner { user, group } = self.owner;
        let name = |id: Option<u32>| id.map(|id| id.to_string()).unwrap_or_default();
        let step = format!(
            "giving to {}:{} (`owner` takes CAP_CHOWN, `group` that the daemon's user is in it)",
            name(user),
            name(group)
        );
        durable::error_at(&step, path)(error)
    }
}

/// The name of a file in its directory.
pub(super) fn file_name(path: &Path) -> io::Result<&OsStr> {
    let none =
        || durable::error_at("opening", path)(io::Error::other("it is not the path of a file"));
    path.file_name().ok_or_else(none)
}

/// Directories that are made get the permission bits that the file has, and may be entered by whoever
/// may read it.
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

    /// A place that gives everything away, if this user can.
    fn giving(mode: u32, base: Option<&Path>) -> Option<Place> {
        if !geteuid().is_root() {
            eprintln!("skipped: only root may give files away");
            return None;
        }
        let owner = Owner { user: Some(READER), group: Some(READERS) };
        Some(Place::new(mode, owner, base.map(Path::to_owned)))
    }

    fn refused(place: &Place, path: &Path) -> String {
        place.open(path).err().expect("refused").to_string()
    }

    #[test]
    fn files_and_directories_have_the_mode_that_was_asked_for_whatever_the_mask() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(0o666, Owner::default(), None);
        let path = dir.path().join("a/b/c.ndjson");
        assert!(place.open(&path).unwrap().new);
        assert_eq!(bits(&path), 0o666);
        assert_eq!(bits(&dir.path().join("a/b")), 0o777);
        assert!(!place.open(&path).unwrap().new);
        // What somebody else set stays.
        fs::write(&path, "{}\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(place.open(&path).unwrap().metadata.len(), 3);
        assert_eq!(bits(&path), 0o600);
        assert_eq!(names(&dir.path().join("a/b")), ["c.ndjson"]);
    }

    #[test]
    fn only_what_the_sink_made_is_given_away() {
        let Some(place) = giving(0o660, None) else { return };
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("theirs")).unwrap();
        fs::write(path("theirs/empty"), "").unwrap();
        fs::write(path("theirs/full"), "{}\n").unwrap();
        let before = ["theirs", "theirs/empty", "theirs/full"].map(|name| bits(&path(name)));
        for name in ["a/b/c", "theirs/empty", "theirs/full", "theirs/new"] {
            place.open(&path(name)).unwrap();
        }
        let made = ["a", "a/b", "a/b/c", "theirs/new"];
        assert_eq!(made.map(|name| ids(&path(name))), [(READER, READERS); 4]);
        assert_eq!(made.map(|name| bits(&path(name))), [0o770, 0o770, 0o660, 0o660]);
        let found = ["theirs", "theirs/empty", "theirs/full"];
        assert_eq!(found.map(|name| ids(&path(name))), [(0, 0); 3]);
        assert_eq!(found.map(|name| bits(&path(name))), before);
        assert_eq!(names(&path("a/b")), ["c"], "nothing is left of how it was made");
        assert_eq!(names(dir.path()), ["a", "theirs"]);
        let only_group = Owner { user: None, group: Some(READERS) };
        Place::new(0o640, only_group, None).open(&path("g")).unwrap();
        assert_eq!(ids(&path("g")), (0, READERS));
    }

    #[test]
    fn a_file_that_was_exchanged_for_a_link_is_neither_given_away_nor_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, path) = (dir.path().join("victim"), dir.path().join("out.ndjson"));
        let places = [
            Some(Place::new(0o640, Owner::default(), None)),
            Some(Place::new(0o640, Owner::default(), Some(dir.path().to_owned()))),
            giving(0o640, None),
        ];
        for place in places.into_iter().flatten() {
            for text in ["", "{}\n"] {
                fs::write(&victim, text).unwrap();
                let before = (ids(&victim), bits(&victim));
                symlink(&victim, &path).unwrap();
                let error = refused(&place, &path);
                assert!(error.contains("out.ndjson: it is a symbolic link"), "{error}");
                assert_eq!((ids(&victim), bits(&victim)), before);
                assert_eq!(fs::read_to_string(&victim).unwrap(), text);
                fs::remove_file(&path).unwrap();
            }
        }
    }

    #[test]
    fn no_link_is_followed_behind_the_base() {
        let dir = tempfile::tempdir().unwrap();
        let (base, outside) = (dir.path().join("base"), dir.path().join("outside"));
        fs::create_dir_all(base.join("inside")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "theirs\n").unwrap();
        let place = Place::new(0o640, Owner::default(), Some(base.clone()));
        symlink(&outside, base.join("out")).unwrap();
        symlink(base.join("inside"), base.join("in")).unwrap();
        symlink(outside.join("file"), base.join("inside/link")).unwrap();
        symlink(dir.path().join("nowhere"), base.join("dangling")).unwrap();
        for name in
            ["out/file", "out/new", "out/deeper/file", "in/file", "inside/link", "dangling/file"]
        {
            let error = refused(&place, &base.join(name));
            assert!(error.contains("it is a symbolic link"), "{name}: {error}");
        }
        assert_eq!(names(&outside), ["file"], "nothing was made there");
        assert_eq!(names(&base.join("inside")), ["link"]);
        assert!(place.directory(&base.join("out/file")).is_err(), "nor is anything removed there");
    }

    #[test]
    fn links_that_the_operator_made_in_front_of_the_base_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (data, log) = (dir.path().join("data"), dir.path().join("log"));
        fs::create_dir_all(data.join("deep")).unwrap();
        symlink("data/../data/deep", &log).unwrap();
        for base in [Some(log.clone()), Some(log.join("below")), None] {
            let place = Place::new(0o640, Owner::default(), base);
            let found = place.open(&log.join("below/file")).unwrap();
            assert_eq!(found.directory.path(), log.join("below"));
            assert!(data.join("deep/below/file").exists());
        }
        symlink("round", dir.path().join("round")).unwrap();
        let place = Place::new(0o640, Owner::default(), None);
        let error = refused(&place, &dir.path().join("round/file"));
        assert!(error.contains("symbolic links"), "{error}");
    }

    #[test]
    fn links_that_another_user_may_have_made_in_front_of_the_base_are_refused() {
        let Some(place) = giving(0o640, None) else { return };
        let dir = tempfile::tempdir().unwrap();
        let (secret, given) = (dir.path().join("secret"), dir.path().join("given"));
        fs::create_dir(&secret).unwrap();
        // The sink made it, and gave it away with what was literal in its path.
        place.open(&given.join("out/file")).unwrap();
        fs::rename(given.join("out"), given.join("away")).unwrap();
        symlink(&secret, given.join("out")).unwrap();
        for owner in [READER, 0] {
            std::os::unix::fs::lchown(given.join("out"), Some(owner), None).unwrap();
            let error = refused(&place, &given.join("out/file"));
            assert!(error.contains("user 4711 can replace"), "{error}");
        }
        // In a directory of root's that a group may write to, root's own link is the operator's.
        chown(&given, Some(0), None).unwrap();
        fs::set_permissions(&given, Permissions::from_mode(0o775)).unwrap();
        place.open(&given.join("out/file")).unwrap();
        fs::set_permissions(&given, Permissions::from_mode(0o777)).unwrap();
        refused(&place, &given.join("out/file"));
        std::os::unix::fs::lchown(given.join("out"), Some(READER), None).unwrap();
        fs::set_permissions(&given, Permissions::from_mode(0o1777)).unwrap();
        refused(&place, &given.join("out/file"));
    }

    #[test]
    fn what_is_made_in_a_shared_directory_cannot_be_exchanged_before_it_is_given_away() {
        let Some(place) = giving(0o660, None) else { return };
        let dir = tempfile::tempdir().unwrap();
        chown(dir.path(), Some(READER), None).unwrap();
        let directory = Directory::walk(dir.path(), dir.path(), None).unwrap();
        assert!(directory.is_shared().unwrap());
        let private = PrivateDirectory::new(&directory).unwrap();
        assert_eq!(bits(private.directory.path()), 0o700);
        drop(private);
        place.open(&dir.path().join("a/file")).unwrap();
        assert_eq!(ids(&dir.path().join("a")), (READER, READERS));
        assert_eq!(names(dir.path()), ["a"]);
        assert_eq!(names(&dir.path().join("a")), ["file"]);
    }
}
