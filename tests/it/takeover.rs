//! Another user of the machine gets only those files of the daemon that are meant for it.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
};

use rustix::process::geteuid;

use crate::support::{Http, Setup, Upload, numbered, same_bytes, wait_until};

const READER: u32 = 4711;
const ERRORS: &str = r#"logpushd_sink_errors_total{sink="archive"}"#;

fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can give files away");
    }
    is_root
}

/// Owner, group and permissions of a file, not of a link's target.
fn rights(path: &Path) -> (u32, u32, u32) {
    let metadata = fs::symlink_metadata(path).unwrap();
    (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
}

#[test]
fn a_directory_replaced_by_a_link_exposes_no_file_of_the_daemon() {
    if !is_root() {
        return;
    }
    for (step, place) in [("makedir", "/http_requests"), ("rename", "out/http_requests")] {
        let keys = "path = \"out/{dataset}/%Y.ndjson\"\nowner = \"4711\"\ngroup = \"4711\"\nmode = \"0660\"";
        let setup = Setup::new().table("sink.archive.file", keys);
        let victim = setup.path("victim");
        fs::create_dir(&victim).unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o700)).unwrap();
        setup.faults(&format!("exchange {step} {place} {}\n", victim.display()));
        let daemon = setup.start();
        let (first, second) = (numbered(0, 10), numbered(1, 10));
        daemon.commit(&first);
        let directory = daemon.path("out/http_requests");
        wait_until("the exchange", || directory.symlink_metadata().is_ok());
        daemon.commit(&second);
        if step == "rename" {
            // Logged with the next batch, which stays in the spool.
            daemon.wait_count(ERRORS, |errors| errors > 0);
            let error = daemon.wait_log("the sink failed")["error"].to_string();
            assert!(error.contains("out/http_requests: it is a symbolic link"), "{error}");
            fs::remove_file(&directory).unwrap();
            fs::rename(daemon.path("out/http_requests.away"), &directory).unwrap();
        }
        let all = [first, second].concat();
        let of_the_year = || {
            let files = fs::read_dir(&directory).into_iter().flatten().flatten();
            files.flat_map(|file| fs::read(file.path()).unwrap()).collect::<Vec<_>>()
        };
        wait_until("all records", || of_the_year().len() >= all.len());
        same_bytes(step, &of_the_year(), &all);
        assert_eq!(rights(&victim), (0, 0, 0o700), "{step}");
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0, "{step}");
        assert_eq!(rights(&directory), (READER, READER, 0o770), "{step}");
        daemon.stop().exited_cleanly();
    }
}

#[test]
fn a_file_replaced_by_a_link_is_not_written_and_its_batches_stay_in_the_spool() {
    for (owner, text) in
        [("", ""), ("", "{}\n"), ("owner = \"4711\"", ""), ("owner = \"4711\"", "{}\n")]
    {
        if !owner.is_empty() && !is_root() {
            return;
        }
        let keys = format!("path = \"out/all.ndjson\"\n{owner}");
        let daemon = Setup::new().table("sink.archive.file", &keys).start();
        let mut all = numbered(0, 10);
        daemon.commit(&all);
        daemon.wait_file("out/all.ndjson", &all);
        let (file, victim) = (daemon.path("out/all.ndjson"), daemon.path("victim"));
        fs::write(&victim, text).unwrap();
        let before = rights(&victim);
        fs::rename(&file, daemon.path("out/kept")).unwrap();
        symlink(&victim, &file).unwrap();
        let more = numbered(1, 10);
        daemon.send(Http::Two, Upload::of(&more).gzipped()).committed();
        daemon.wait_count(ERRORS, |errors| errors > 0);
        let error = daemon.wait_log("the sink failed")["error"].to_string();
        assert!(error.contains("out/all.ndjson: it is a symbolic link"), "{error}");
        assert_eq!(rights(&victim), before);
        assert_eq!(fs::read_to_string(&victim).unwrap(), text);
        fs::remove_file(&file).unwrap();
        daemon.wait_file("out/all.ndjson", &more);
        all.extend(&more);
        let stopped = daemon.stop().exited_cleanly();
        let kept = [stopped.file("out/kept"), stopped.file("out/all.ndjson")].concat();
        same_bytes("both files", &kept, &all);
    }
}

#[test]
fn other_users_can_neither_read_nor_lock_the_spool() {
    let daemon = Setup::new().start();
    daemon.commit(&numbered(0, 10));
    wait_until("a checkpoint", || daemon.path("spool/cursors/archive.json").exists());
    let bits = |name: &str| fs::metadata(daemon.path(name)).unwrap().mode() & 0o7777;
    for directory in ["", "/batches", "/cursors", "/dedup", "/set-aside"] {
        assert_eq!(bits(&format!("spool{directory}")), 0o700, "{directory}");
    }
    assert_eq!(bits("spool/lock"), 0o600);
    assert_eq!(bits("spool/cursors/archive.json"), 0o600);
    // As an earlier version created it.
    let lock = daemon.path("spool/lock");
    let stopped = daemon.stop().exited_cleanly();
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).unwrap();
    let daemon = stopped.start();
    assert_eq!(fs::metadata(&lock).unwrap().mode() & 0o7777, 0o600);
    daemon.stop().exited_cleanly();
}
