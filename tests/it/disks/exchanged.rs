//! A disk that is replaced by a copy of it under the same path.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{Setup, numbered, same_bytes, wait_until};

/// A filesystem in memory, mounted for as long as the value lives.
struct Mounted(PathBuf);

impl Mounted {
    fn new(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        mount(&["-t", "tmpfs", "none"], at).then(|| Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    let mounted = Command::new("mount").args(arguments).arg(at).status();
    let mounted = mounted.is_ok_and(|status| status.success());
    if !mounted {
        eprintln!("skipped: nothing can be mounted here");
    }
    mounted
}

#[test]
fn records_go_to_the_disk_currently_mounted_at_the_path() {
    let setup = Setup::new().table("sink.archive.file", "path = \"disk/all.ndjson\"");
    let (disk, copy) = (setup.path("disk"), setup.path("copy"));
    let Some(_disk) = Mounted::new(&disk) else { return };
    let Some(_copy) = Mounted::new(&copy) else { return };
    let daemon = setup.start();
    let mut all = numbered(0, 10);
    daemon.commit(&all);
    daemon.wait_file("disk/all.ndjson", &all);
    wait_until("a checkpoint", || daemon.path("spool/cursors/archive.json").exists());
    let detached = fs::File::open(disk.join("all.ndjson")).unwrap();
    fs::copy(disk.join("all.ndjson"), copy.join("all.ndjson")).unwrap();
    if !mount(&["--bind", copy.to_str().unwrap()], &disk) {
        return;
    }
    let _over = Mounted(disk.clone());
    let (before, now) =
        (detached.metadata().unwrap(), fs::metadata(disk.join("all.ndjson")).unwrap());
    assert_ne!(before.dev(), now.dev());
    assert_eq!(before.ino(), now.ino(), "the copy looks like the file itself");
    let more = numbered(1, 10);
    daemon.commit(&more);
    all.extend(more);
    daemon.wait_file("disk/all.ndjson", &all);
    let stopped = daemon.stop().exited_cleanly();
    same_bytes("on the copy", &stopped.file("disk/all.ndjson"), &all);
    assert_eq!(
        detached.metadata().unwrap().len(),
        before.len(),
        "no more records on the other disk"
    );
}
