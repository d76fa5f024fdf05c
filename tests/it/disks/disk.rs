//! A small filesystem that tests can fill, make read-only and break.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::support::{Setup, require, skipped};

/// The type of filesystem.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Filesystem {
    /// In memory.
    Tmpfs,
    /// In a file, over a loop device: with a journal and delayed allocation.
    Ext4,
}

/// A filesystem that is mounted as long as this lives, in its own directory. It is unmounted even
/// while another process uses it.
pub(crate) struct Disk {
    dir: TempDir,
    filesystem: Filesystem,
}

impl Disk {
    /// All available types, of so many MiB and with room for a thousand files.
    pub(crate) fn all(mebibytes: u32) -> Vec<Self> {
        let all = [Filesystem::Tmpfs, Filesystem::Ext4];
        all.into_iter().filter_map(|filesystem| Self::new(filesystem, mebibytes)).collect()
    }

    /// Returns `None` and reports it where such a filesystem cannot be mounted. That is no failure
    /// even where all other programs are required: no package can add what a container forbids.
    pub(crate) fn new(filesystem: Filesystem, mebibytes: u32) -> Option<Self> {
        if !require::happens_to_have(&[&require::ROOT])
            || !require::has(&[&require::MOUNT])
            || filesystem == Filesystem::Ext4 && !require::has(&[&require::E2FSPROGS])
        {
            return None;
        }
        let disk = Self { dir: tempfile::tempdir().unwrap(), filesystem };
        fs::create_dir(disk.root()).unwrap();
        let made = match filesystem {
            Filesystem::Tmpfs => Ok(()),
            Filesystem::Ext4 => {
                let image = File::create(disk.image()).unwrap();
                image.set_len(u64::from(mebibytes) << 20).unwrap();
                // Reserves no blocks for root, the user of this test.
                run(Command::new("mkfs.ext4").args(["-q", "-F", "-m0", "-N1024"]).arg(disk.image()))
            }
        };
        if let Err(why) = made.and_then(|()| disk.mount(mebibytes)) {
            skipped(&format!("no small {filesystem:?} can be mounted here: {why}"));
            return None;
        }
        Some(disk)
    }

    fn mount(&self, mebibytes: u32) -> Result<(), String> {
        let mut mount = Command::new("mount");
        match self.filesystem {
            Filesystem::Tmpfs => {
                let options = format!("size={mebibytes}m,nr_inodes=1024");
                mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            }
            Filesystem::Ext4 => mount.args(["-o", "loop,errors=remount-ro"]).arg(self.image()),
        };
        run(mount.arg(self.root()))
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// A key of the configuration that names a path on this disk.
    pub(crate) fn key(&self, key: &str, name: &str) -> String {
        format!("{key} = '{}'\n", self.path(name).display())
    }

    /// Fills the free space, until the system itself reports that the disk is full.
    pub(crate) fn fill(&self) -> Filled {
        let filled = self.fill_except(0);
        let mut file = OpenOptions::new().append(true).open(&filled.0[0]).unwrap();
        for piece in [4096, 1] {
            let piece = vec![b'f'; piece];
            let full = loop {
                if let Err(error) = file.write_all(&piece) {
                    break error;
                }
            };
            assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
        }
        file.sync_all().unwrap();
        filled
    }

    /// Fills the free space except for so many bytes and less than 16 KiB more.
    pub(crate) fn fill_except(&self, left: u64) -> Filled {
        const PIECE: [u8; 16 << 10] = [b'f'; 16 << 10];

        let filled = Filled(vec![self.path("filler")]);
        let mut file = File::create(&filled.0[0]).unwrap();
        while self.free() >= left + PIECE.len() as u64 {
            match file.write_all(&PIECE) {
                // Some filesystems allocate a block only when it is synced.
                Ok(()) => file.sync_all().unwrap(),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                    break;
                }
            }
        }
        filled
    }

    /// Uses all free inodes: there is space, and no file can be created.
    pub(crate) fn take_all_inodes(&self) -> Filled {
        let mut filled = Filled(Vec::new());
        for number in 0.. {
            let path = self.path(&format!("filler-{number}"));
            match File::create(&path) {
                Ok(_) => filled.0.push(path),
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
        filled
    }

    pub(crate) fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(self.root()).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    /// The space that the daemon leaves free: see `crates/spool/src/room.rs`.
    pub(crate) fn reserve(&self) -> u64 {
        let disk = rustix::fs::statvfs(self.root()).unwrap();
        disk.f_blocks * disk.f_frsize / 20
    }

    /// Makes it read-only for every file that is opened from now on. Linux rejects `remount,ro`,
    /// also of a bind mount, while a file is open for writing, and the daemon has some. So this
    /// mounts the same filesystem over the first, and makes that mount read-only, where no file is
    /// open.
    pub(crate) fn read_only(&self) -> ReadOnly {
        let (root, aside) = (self.root(), self.dir.path().join("read-only"));
        fs::create_dir_all(&aside).unwrap();
        run(Command::new("mount").arg("--bind").args([&root, &aside])).unwrap();
        let aside = ReadOnly(aside);
        run(Command::new("mount").args(["-o", "remount,ro,bind"]).arg(&aside.0)).unwrap();
        run(Command::new("mount").arg("--bind").args([&aside.0, &root])).unwrap();
        ReadOnly(root)
    }

    /// Freezes it: a writing call does not return as long as the result lives. Returns `None` and
    /// reports it where that is not possible.
    pub(crate) fn freeze(&self) -> Option<Frozen> {
        if !require::has(&[&require::FSFREEZE]) {
            return None;
        }
        match run(Command::new("fsfreeze").arg("--freeze").arg(self.root())) {
            Ok(()) => Some(Frozen(self.root())),
            Err(why) => {
                skipped(&format!("a filesystem cannot be frozen: {why}"));
                None
            }
        }
    }

    /// Reports an error to the filesystem, so that it makes itself read-only for open files as well
    /// and loses unsynced data. Returns `false` and reports it where that is not possible.
    pub(crate) fn inject_error(&self) -> bool {
        let source = Command::new("findmnt").args(["-no", "SOURCE"]).arg(self.root()).output();
        let source = source.map(|output| String::from_utf8(output.stdout).unwrap());
        let device = source.unwrap_or_default().trim().replace("/dev/", "");
        let trigger = Path::new("/sys/fs/ext4").join(device).join("trigger_fs_error");
        match fs::write(&trigger, "1") {
            Ok(()) => true,
            Err(error) => {
                skipped(&format!("ext4 cannot be made to fail: {}: {error}", trigger.display()));
                false
            }
        }
    }

    /// Checks and repairs a filesystem that failed. It must not be in use.
    pub(crate) fn repair(&self) {
        run(Command::new("umount").arg(self.root())).unwrap();
        let checked = Command::new("e2fsck").args(["-f", "-p"]).arg(self.image()).output().unwrap();
        // 1: there were errors to repair.
        assert!(matches!(checked.status.code(), Some(0 | 1)), "{checked:?}");
        self.mount(0).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.root());
    }
}

/// Files that use up space, as long as this lives.
pub(crate) struct Filled(Vec<PathBuf>);

impl Drop for Filled {
    fn drop(&mut self) {
        for path in &self.0 {
            fs::remove_file(path).ok();
        }
    }
}

/// Keeps a disk read-only as long as this lives.
pub(crate) struct ReadOnly(PathBuf);

impl Drop for ReadOnly {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// Keeps a disk frozen as long as this lives.
pub(crate) struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        run(Command::new("fsfreeze").arg("--unfreeze").arg(&self.0)).ok();
    }
}

/// Lazily: files on it may be open.
fn unmount(path: &Path) {
    run(Command::new("umount").arg("--lazy").arg(path)).ok();
}

fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("{}: {error}", command.get_program().display())),
    }
}

/// A daemon's directory with the spool on this disk.
pub(crate) fn spool_on(disk: &Disk) -> Setup {
    let keys = disk.key("dir", "spool") + "dedup_window = \"0s\"";
    Setup::new().table("spool", &keys)
}
