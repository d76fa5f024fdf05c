//! How a sink's files come into being: in which folders, whose they are, and that no path leads out
//! of the folder where the template begins to be filled in.

use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, fchown},
    path::{Path, PathBuf},
};

use rustix::{fs::OFlags, process::geteuid};

use crate::{config::Owner, durable};

/// How often a file may come and go between two looks at it.
const TRIES: usize = 3;

pub(super) struct Place {
    mode: u32,
    owner: Owner,
    /// The folder that files must lie in, whatever links there are; `None` if nothing is filled in.
    base: Option<PathBuf>,
    links: Links,
}

/// What becomes of a file that is a symbolic link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Links {
    Follow,
    Refuse,
}

/// A file that was opened.
pub(super) struct Found {
    pub(super) file: File,
    pub(super) metadata: Metadata,
    /// Whether it was made just now.
    pub(super) new: bool,
}

impl Place {
    pub(super) fn new(mode: u32, owner: Owner, base: Option<PathBuf>, links: Links) -> Self {
        Self { mode, owner, base, links }
    }

    /// Opens the file at `path` to read and to append, or makes it, and the folders that are missing.
    pub(super) fn open(&self, path: &Path) -> io::Result<Found> {
        if let Some(folder) = path.parent() {
            self.confine(folder).map_err(durable::at("opening", path))?;
            let mode = dir_mode(self.mode);
            durable::create_dir_for(folder, mode, &mut |made| self.give_folder(made))?;
        }
        let (file, new) = self.open_or_make(path)?;
        let metadata = file.metadata().map_err(durable::at("reading", path))?;
        if !metadata.is_file() {
            let error = io::Error::other("it is not a regular file");
            return Err(durable::at("opening", path)(error));
        }
        // A crash may have come between the making and the giving.
        let made = new || metadata.len() == 0 && metadata.uid() == geteuid().as_raw();
        if made {
            self.give(&file, metadata.mode(), path)?;
        }
        Ok(Found { file, metadata, new })
    }

    fn open_or_make(&self, path: &Path) -> io::Result<(File, bool)> {
        let mut there = OpenOptions::new();
        there.read(true).append(true);
        if self.links == Links::Refuse {
            there.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        }
        let mut make = there.clone();
        make.create_new(true).mode(self.mode);
        let mut tries = 0;
        loop {
            tries += 1;
            match durable::open(&there, path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => {}
                Err(_) if self.links == Links::Refuse && path.is_symlink() => {
                    let error = io::Error::other("it is a symbolic link: remove it");
                    return Err(durable::at("opening", path)(error));
                }
                outcome => return outcome.map(|file| (file, false)),
            }
            match durable::open(&make, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < TRIES => {}
                outcome => return outcome.map(|file| (file, true)),
            }
        }
    }

    /// Refuses a folder that a link leads out of the base. Only whoever may write there can put such
    /// a link between this look and the opening.
    fn confine(&self, folder: &Path) -> io::Result<()> {
        let Some(base) = &self.base else { return Ok(()) };
        let there = folder.ancestors().find(|folder| folder.symlink_metadata().is_ok());
        let Some(there) = there.filter(|there| *there != base && there.starts_with(base)) else {
            return Ok(());
        };
        if fs::canonicalize(there)?.starts_with(fs::canonicalize(base)?) {
            return Ok(());
        }
        let what = format!(
            "{} is a link that leads out of {}: remove it, or name what it leads to in the sink's path",
            there.display(),
            base.display()
        );
        Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
    }

    /// `mode` is what the file has: whoever started the daemon may mask bits that were asked for.
    fn give(&self, file: &File, mode: u32, path: &Path) -> io::Result<()> {
        let Owner { user, group } = self.owner;
        if user.is_some() || group.is_some() {
            fchown(file, user, group).map_err(|error| self.not_given(error, path))?;
        }
        if mode & 0o777 != self.mode {
            let mode = Permissions::from_mode(self.mode);
            file.set_permissions(mode).map_err(durable::at("setting the mode of", path))?;
        }
        Ok(())
    }

    fn give_folder(&self, folder: &Path) -> io::Result<()> {
        let Owner { user, group } = self.owner;
        if user.is_some() || group.is_some() {
            chown(folder, user, group).map_err(|error| self.not_given(error, folder))?;
        }
        let mode = Permissions::from_mode(dir_mode(self.mode));
        fs::set_permissions(folder, mode).map_err(durable::at("setting the mode of", folder))
    }

    fn not_given(&self, error: io::Error, path: &Path) -> io::Error {
        let Owner { user, group } = self.owner;
        let name = |id: Option<u32>| id.map(|id| id.to_string()).unwrap_or_default();
        let step = format!(
            "giving to {}:{} (`owner` takes CAP_CHOWN, `group` that the daemon's user is in it)",
            name(user),
            name(group)
        );
        durable::at(&step, path)(error)
    }
}

/// Folders that are made get the permission bits that the file has, and may be entered by whoever
/// may read it.
fn dir_mode(mode: u32) -> u32 {
    mode | (mode & 0o444) >> 2 | 0o700
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const NOBODY: u32 = 4711;

    fn bits(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn files_and_folders_have_the_mode_that_was_asked_for_whatever_the_mask() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(0o666, Owner::default(), None, Links::Follow);
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
    }

    #[test]
    fn what_is_made_is_given_away() {
        if !geteuid().is_root() {
            eprintln!("skipped: only root may give files away");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let owner = Owner { user: Some(NOBODY), group: Some(NOBODY + 1) };
        let place = Place::new(0o640, owner, None, Links::Follow);
        let ids = |name: &str| {
            let metadata = fs::metadata(dir.path().join(name)).unwrap();
            (metadata.uid(), metadata.gid())
        };
        place.open(&dir.path().join("a/b/c")).unwrap();
        let given = (NOBODY, NOBODY + 1);
        assert_eq!(["a", "a/b", "a/b/c"].map(ids), [given; 3]);
        // A crash came before it was given away.
        fs::write(dir.path().join("empty"), "").unwrap();
        fs::write(dir.path().join("full"), "{}\n").unwrap();
        for name in ["empty", "full"] {
            place.open(&dir.path().join(name)).unwrap();
        }
        assert_eq!(ids("empty"), given);
        assert_ne!(ids("full"), given);
        let only_group = Owner { user: None, group: Some(NOBODY) };
        Place::new(0o640, only_group, None, Links::Follow).open(&dir.path().join("g")).unwrap();
        assert_eq!(ids("g"), (0, NOBODY));
    }

    #[test]
    fn no_link_leads_out_of_the_base() {
        let dir = tempfile::tempdir().unwrap();
        let (base, outside) = (dir.path().join("base"), dir.path().join("outside"));
        fs::create_dir_all(base.join("inside")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "theirs\n").unwrap();
        let place = Place::new(0o640, Owner::default(), Some(base.clone()), Links::Refuse);
        symlink(&outside, base.join("out")).unwrap();
        symlink(base.join("inside"), base.join("in")).unwrap();
        symlink(outside.join("file"), base.join("inside/link")).unwrap();
        symlink(dir.path().join("nowhere"), base.join("dangling")).unwrap();
        place.open(&base.join("in/file")).unwrap();
        place.open(&base.join("in/deeper/file")).unwrap();
        for name in ["out/file", "out/deeper/file", "inside/link", "dangling/file"] {
            let error = place.open(&base.join(name)).err().unwrap().to_string();
            assert!(error.contains("opening"), "{name}: {error}");
        }
        let error = place.open(&base.join("out/new")).err().unwrap().to_string();
        assert!(error.contains("leads out of"), "{error}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "nothing was made there");
        // The base itself may be a link: that is the operator's own choice.
        symlink(&base, dir.path().join("alias")).unwrap();
        let alias = dir.path().join("alias");
        let place = Place::new(0o640, Owner::default(), Some(alias.clone()), Links::Refuse);
        place.open(&alias.join("inside/file")).unwrap();
        place.open(&alias.join("out/file")).err().unwrap();
        // And where nothing is filled in, the whole path is.
        Place::new(0o640, Owner::default(), None, Links::Follow)
            .open(&base.join("inside/link"))
            .unwrap();
    }
}
