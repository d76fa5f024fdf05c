//! A file sink that returns, after a run in which another sink had its files, claims no records of
//! that sink.

use std::fs;

use serde_json::Value;

use crate::support::{Exit, Setup, finish, logpushd, names_in, numbered, same_bytes, wait_until};

const FILE: &str = "out/all";
const HAS_FILE: &str = "path = \"out/all\"";

/// The changed sink while another sink has its file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Meanwhile {
    Gone,
    Elsewhere,
    OfAnotherKind,
}

impl Meanwhile {
    fn hand_over(self, setup: Setup) -> Setup {
        let setup = setup.without("sink.archive.file").table("sink.other.file", HAS_FILE);
        match self {
            Self::Gone => setup,
            Self::Elsewhere => setup.table("sink.archive.file", "path = \"out/elsewhere\""),
            Self::OfAnotherKind => setup.table("sink.archive.stdout", ""),
        }
    }

    fn give_back(self, setup: Setup) -> Setup {
        let setup = setup.without("sink.other.file");
        let setup = match self {
            Self::OfAnotherKind => setup.without("sink.archive.stdout"),
            Self::Gone | Self::Elsewhere => setup,
        };
        setup.table("sink.archive.file", HAS_FILE)
    }
}

/// The directory of a daemon whose sink has written these records, after a graceful stop.
fn written(records: &[u8]) -> Setup {
    let daemon = Setup::new().table("sink.archive.file", HAS_FILE).start();
    daemon.commit(records);
    daemon.stop().exited_cleanly().setup
}

/// Starts the daemon and asserts that the sink appends these records to the file that often, all of
/// them its own.
#[track_caller]
fn expect_appended(setup: Setup, records: &[u8], times: usize, what: &str) -> Setup {
    let before = fs::read(setup.path(FILE)).unwrap();
    let daemon = setup.start();
    daemon.commit(records);
    let stopped = daemon.stop().exited_cleanly();
    let want = [before, records.repeat(times)].concat();
    same_bytes(what, &stopped.file(FILE), &want);
    stopped.setup
}

#[test]
fn a_sink_that_takes_over_a_file_also_delivers_records_of_its_previous_sink() {
    let (first, second) = (numbered(1, 20), numbered(2, 20));
    for meanwhile in [Meanwhile::Gone, Meanwhile::Elsewhere, Meanwhile::OfAnotherKind] {
        for killed in [false, true] {
            let daemon = meanwhile.hand_over(written(&first)).start();
            if killed {
                // It stores no checkpoint in this run.
                daemon.setup().faults("fail EIO rename /cursors/archive\n");
            }
            daemon.commit(&second);
            daemon.wait_file(FILE, &[&first[..], &second].concat());
            let mut waits = 0;
            let stopped = if !killed {
                daemon.stop().exited_cleanly()
            } else if meanwhile == Meanwhile::Gone {
                // No batch is stored for a sink that does not exist.
                wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
                daemon.kill()
            } else {
                waits = 1;
                daemon.kill()
            };
            let setup = meanwhile.give_back(stopped.without_faults().setup);
            let what = format!("{meanwhile:?}, killed: {killed}");
            let setup = expect_appended(setup, &second, waits + 1, &what);
            // From now on it continues as usual.
            expect_appended(setup, &second, 1, &what);
        }
    }
}

fn checkpoint(setup: &Setup) -> Value {
    serde_json::from_slice(&fs::read(setup.path("spool/cursors/archive.json")).unwrap()).unwrap()
}

#[test]
fn a_kill_while_files_are_forgotten_leaves_the_old_checkpoint_or_the_new() {
    let (first, second) = (numbered(1, 20), numbered(2, 20));
    let mut setup = Meanwhile::Gone.hand_over(written(&first));
    assert_eq!(checkpoint(&setup)["files"].as_array().unwrap().len(), 1);
    for (fault, left) in [
        ("kill before open archive.new 1", 1),
        ("tear archive.new 1", 1),
        ("kill before sync archive.new 1", 1),
        ("kill before rename archive.json 1", 1),
        ("kill after rename archive.json 1", 0),
    ] {
        setup.faults(&format!("{fault}\n"));
        let Err(stopped) = setup.try_start() else { panic!("it outlived {fault}") };
        setup = stopped.killed().without_faults().setup;
        let checkpoint = checkpoint(&setup);
        assert_eq!(checkpoint["files"].as_array().unwrap().len(), left, "{fault}");
        assert_eq!(checkpoint["batch"], 1, "{fault}");
    }
    let setup = expect_appended(setup, &second, 1, "of the other one");
    let setup = Meanwhile::Gone.give_back(setup);
    let list = finish(logpushd().args(["spool", "list", "-c"]).arg(setup.write_config()));
    let backlog = "archive: backlog of 0 batches, checkpoint at batch 1\n";
    assert!(list.stdout.contains(backlog), "{}", list.stdout);
    expect_appended(setup, &second, 1, "of its own");
}

#[test]
fn a_checkpoint_that_cannot_forget_files_is_removed() {
    let (first, second) = (numbered(1, 20), numbered(2, 20));
    let setup = Meanwhile::Gone.hand_over(written(&first));
    setup.faults("fail ENOSPC write archive.new\nfail EIO remove archive.json\n");
    let Err(stopped) = setup.try_start() else { panic!("it knows that the file was its own") };
    assert_eq!(stopped.exit, Exit::Code(74), "{}", stopped.log);
    assert!(stopped.log.contains("spool.dir: removing "), "{}", stopped.log);

    stopped.setup.faults("fail ENOSPC write archive.new\n");
    let daemon = stopped.start();
    daemon.wait_log("removed a checkpoint that cannot be written");
    let setup = daemon.stop().exited_cleanly().without_faults().setup;
    let setup = expect_appended(setup, &second, 1, "of the other one");
    expect_appended(Meanwhile::Gone.give_back(setup), &second, 1, "of its own");
}
