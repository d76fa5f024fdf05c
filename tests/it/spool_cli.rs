//! `logpushd spool list` and `logpushd spool verify`: the backlog, the sinks that need it, and its
//! integrity.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::{
    Exit, Finished, Http, Setup, Upload, finish, logpushd, names_in, wait_for, wait_until,
};

fn spool(what: &str, setup: &Setup) -> Finished {
    finish(logpushd().args(["spool", what, "-c"]).arg(setup.config()))
}

/// A second sink that cannot write.
fn setup() -> Setup {
    let setup = Setup::new().table("sink.broken.file", r#"path = "broken/{dataset}.ndjson""#);
    setup.write("broken", "in the way");
    setup
}

/// The rows of the list: sequence, endpoint, dataset, records, rejected, sinks that need it.
fn rows(list: &Finished) -> Vec<Vec<String>> {
    let rows = list.stdout.lines().skip(1).take_while(|line| !line.is_empty());
    let fields = |row: &str| -> Vec<String> {
        let fields: Vec<_> = row.split_whitespace().map(str::to_owned).collect();
        [0, 2, 3, 4, 5, 7].map(|place| fields[place].clone()).to_vec()
    };
    rows.map(fields).collect()
}

const WAITING: [[&str; 6]; 2] = [
    ["1", "main", "dns_logs", "2", "1", "broken"],
    ["2", "main", "http_requests", "1", "0", "broken"],
];

#[test]
fn the_backlog_is_listed_with_and_without_a_running_daemon() {
    let daemon = setup().start();
    let bad = Upload::of("{\"a\":1}\nnonsense\n{\"a\":2}\n").to("/logpush/dns_logs");
    assert_eq!(daemon.send(Http::Two, bad.gzipped()).ok(), ("committed".to_owned(), 2, 1));
    daemon.commit(b"{\"a\":3}\n");
    let list = wait_for("checkpoints of the working sinks", || {
        let list = spool("list", daemon.setup());
        let both = list.stdout.matches(", checkpoint at batch 2").count() == 2;
        both.then_some(list)
    });
    assert_eq!(list.exit, Exit::Code(0), "{}", list.stderr);
    assert_eq!(rows(&list), WAITING, "{}", list.stdout);
    for line in [
        "2 batches, 3 records, 1 rejected, ",
        "archive: backlog of 0 batches, checkpoint at batch 2",
        "broken: backlog of 2 batches, no checkpoint yet",
        "quarantine: backlog of 0 batches, checkpoint at batch 2",
    ] {
        let is_there = list.stdout.lines().any(|it| it.starts_with(line));
        assert!(is_there, "{line:?} is not in\n{}", list.stdout);
    }
    let json = |what: &str| -> Value {
        let mut command = logpushd();
        command.args(["spool", what, "--json", "-c"]).arg(daemon.setup().config());
        serde_json::from_str(&finish(&mut command).stdout).unwrap()
    };
    let listed = json("list");
    assert_eq!(listed["records"], 3, "{listed:#}");
    assert_eq!(listed["batches"][0]["waits_for"], json!(["broken"]), "{listed:#}");
    assert_eq!(listed["sinks"][1], json!({"name": "broken", "behind": 2, "checkpoint": null}));
    let checked = json("verify");
    assert_eq!((&checked["whole"], &checked["problems"]), (&json!(2), &json!([])), "{checked:#}");
    let verified = spool("verify", daemon.setup());
    assert_eq!(verified.exit, Exit::Code(0), "{}", verified.stderr);
    assert!(verified.stdout.starts_with("2 files intact ("), "{}", verified.stdout);
    assert!(verified.stdout.contains("), 0 damaged, 0 unfinished"), "{}", verified.stdout);

    let stopped = daemon.stop().exited_cleanly();
    assert_eq!(spool("list", &stopped.setup).stdout, list.stdout);
    assert_eq!(spool("verify", &stopped.setup).stdout, verified.stdout);

    fs::remove_file(stopped.setup.path("broken")).unwrap();
    let daemon = stopped.start();
    wait_until("an empty spool", || names_in(&daemon.path("spool/batches")).is_empty());
    let list = spool("list", daemon.setup());
    assert_eq!((list.exit, rows(&list).len()), (Exit::Code(0), 0));
    assert!(list.stdout.contains("broken: backlog of 0 batches, checkpoint at batch 2"));
    daemon.stop().exited_cleanly();
}

#[test]
fn a_damaged_file_is_reported_and_fails_the_command() {
    let daemon = setup().start();
    let names = |directory: &Path| names_in(&directory.join("spool/batches"));
    for number in 0..4 {
        daemon.commit(format!("{{\"a\":{number}}}\n").repeat(50).as_bytes());
    }
    let stopped = daemon.kill();
    let setup = &stopped.setup;
    let batches = names(setup.directory());
    let damage = |place: usize, damage: &dyn Fn(&mut Vec<u8>)| {
        let path = setup.path("spool/batches").join(&batches[place]);
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(path, bytes).unwrap();
    };
    damage(1, &|bytes| bytes.truncate(bytes.len() - 5));
    damage(2, &|bytes| bytes[20] ^= 0xff);
    setup.write("spool/batches/notes.txt", "x");
    setup.write("spool/batches/.unfinished-9", "{");

    let verified = spool("verify", setup);
    assert_eq!(verified.exit, Exit::Code(74), "{}", verified.stdout);
    for (name, what) in [
        (&*batches[1], ": damaged: "),
        (&*batches[2], ": damaged: "),
        ("notes.txt", ": its name is not that of a batch: the daemon moves it to set-aside"),
        (".unfinished-9", ": unfinished: "),
    ] {
        let line = verified.stdout.lines().find(|line| line.starts_with(name));
        assert!(line.is_some_and(|line| line.contains(what)), "{name}\n{}", verified.stdout);
    }
    for whole in [&batches[0], &batches[3]] {
        assert!(!verified.stdout.contains(whole), "{}", verified.stdout);
    }
    assert!(verified.stdout.contains("2 files intact ("), "{}", verified.stdout);
    assert!(verified.stdout.contains("), 3 damaged, 1 unfinished"), "{}", verified.stdout);
    assert!(verified.stderr.starts_with("logpushd: 3 files in "), "{}", verified.stderr);
    // Both commands only read.
    assert_eq!(names(setup.directory()).len(), 6);
    assert_eq!(spool("list", setup).exit, Exit::Code(0));
}

#[test]
fn a_missing_spool_is_reported() {
    let setup = setup();
    setup.write_config();
    for what in ["list", "verify"] {
        let finished = spool(what, &setup);
        assert_eq!(finished.exit, Exit::Code(74));
        assert!(finished.stderr.contains("check spool.dir; no daemon has run with it yet"));
        assert!(!setup.path("spool").exists(), "the command only reads");
    }
    setup.write("logpushd.toml", "[server]\naddres = 1\n");
    assert_eq!(spool("list", &setup).exit, Exit::Code(78));
}
