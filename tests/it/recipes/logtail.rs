//! `logtail2` prints each record once, also those of files that were rotated between two runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{blocks, located, shell};
use crate::support::{Daemon, Exit, Finished, Setup, finish, gzip, names_in, repository, require};

/// A directory for `PATH` with a logtail2 that finds its programs in this directory.
fn logtail(setup: &Setup) -> Option<PathBuf> {
    if !require::has(&[&require::LOGTAIL]) {
        return None;
    }
    let source = fs::read_to_string(require::program("logtail2").unwrap()).unwrap();
    let installed = "/usr/share/logtail/detectrotate";
    assert!(source.contains(installed));
    let directory = setup.path("logtail");
    fs::create_dir(&directory).unwrap();
    let source = source.replace(installed, directory.to_str().unwrap());
    let program = directory.join("logtail2");
    fs::write(&program, source).unwrap();
    finish(Command::new("chmod").arg("+x").arg(&program));
    for name in names_in(Path::new(installed)) {
        fs::copy(Path::new(installed).join(&name), directory.join(&name)).unwrap();
    }
    Some(directory)
}

/// Runs a block of the page and returns the lines that it prints.
fn run(block: &str, directory: &Path, daemon: &Daemon) -> Vec<String> {
    let path = std::env::var("PATH").unwrap();
    let block = located(block, &daemon.path("logs"))
        .replace("/var/lib/logtail", directory.to_str().unwrap())
        .replace("/usr/share/logtail/detectrotate", directory.to_str().unwrap());
    let block = format!("export PATH={}:{path}\n{block}", directory.display());
    shell(&block, directory).lines().map(str::to_owned).collect()
}

/// Commits records that are all different and waits until they are in a file.
fn commit(daemon: &Daemon, numbers: std::ops::Range<usize>) -> Vec<String> {
    let records: Vec<_> =
        numbers.clone().map(|number| format!("{{\"RayID\":\"{number:060}\"}}")).collect();
    daemon.commit(format!("{}\n", records.join("\n")).as_bytes());
    let series = r#"logpushd_sink_delivered_records_total{sink="archive"}"#;
    daemon.wait_count(series, |delivered| delivered >= numbers.end as u64);
    records
}

#[test]
fn logtail2_prints_dated_files() {
    let setup =
        Setup::new().table("sink.archive.file", r#"path = "logs/{dataset}/%Y-%m-%d.ndjson""#);
    let Some(directory) = logtail(&setup) else { return };
    let daemon = setup.start();
    let block = &blocks("logtail.md", "sh")[0];
    for round in 0..3 {
        let records = commit(&daemon, round * 20..round * 20 + 20);
        assert_eq!(run(block, &directory, &daemon), records);
        assert_eq!(run(block, &directory, &daemon), [""; 0]);
    }
}

#[test]
fn logtail2_prints_rotated_files() {
    let setup = Setup::new().table(
        "sink.archive.file",
        "path = \"logs/{dataset}.ndjson\"\nrotate = { max_bytes = \"4KiB\" }",
    );
    let Some(directory) = logtail(&setup) else { return };
    let daemon = setup.start();
    let page = blocks("logtail.md", "sh");
    run(&page[1], &directory, &daemon);
    assert!(names_in(&directory).contains(&"40-logpushd.dtr".to_owned()));
    let logs = daemon.path("logs");
    let ended = || {
        let names = names_in(&logs).into_iter();
        names.filter(|name| name.starts_with("http_requests.ndjson.")).collect::<Vec<_>>()
    };

    // Nothing is rotated; one file is; several are, one of them compressed.
    let mut last = 0;
    let mut next = |count: usize| {
        let mut records = Vec::new();
        for _ in 0..count {
            records.extend(commit(&daemon, last..last + 20));
            last += 20;
        }
        records
    };
    for (commits, files) in [(1, 0), (3, 1), (12, 5)] {
        let mut records = next(commits);
        assert_eq!(ended().len(), files, "{:?}", names_in(&logs));
        if files == 5 {
            let path = logs.join(&ended()[3]);
            let packed = logs.join(format!("{}.gz", ended()[3]));
            fs::write(packed, gzip(&fs::read(&path).unwrap())).unwrap();
            fs::remove_file(path).unwrap();
        }
        let mut printed = run(&page[2], &directory, &daemon);
        printed.sort_unstable();
        records.sort_unstable();
        assert_eq!(printed, records);
        assert_eq!(run(&page[2], &directory, &daemon), [""; 0]);
    }
}

#[test]
fn a_position_in_a_compressed_file_is_reported() {
    let setup = Setup::new();
    let Some(directory) = logtail(&setup) else { return };
    fs::copy(repository("pkg/logtail/40-logpushd.dtr"), directory.join("40-logpushd.dtr")).unwrap();
    let live = setup.path("http_requests.ndjson");
    let run = || finish(Command::new(directory.join("logtail2")).arg("-f").arg(&live));
    fs::write(&live, "1\n").unwrap();
    assert_eq!(run().stdout, "1\n");
    let ended = setup.path("http_requests.ndjson.20261129T101112Z.gz");
    fs::rename(&live, setup.path("elsewhere")).unwrap();
    fs::write(ended, gzip(b"1\n2\n")).unwrap();
    fs::write(&live, "3\n").unwrap();
    let Finished { exit, stdout, stderr } = run();
    assert_eq!((exit, stdout.as_str()), (Exit::Code(0), "3\n"));
    assert!(stderr.contains("was compressed or removed before it was read"), "{stderr}");
}
