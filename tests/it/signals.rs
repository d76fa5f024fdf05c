//! Signals from the outside: logrotate's, a profiler's, the kernel's.

use std::{fs, process::Command};

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use crate::support::{Daemon, Setup, numbered, same_bytes, wait_until};

const OUT: &str = "out/http_requests.ndjson";

/// Sends a signal by its number.
fn kill(daemon: &Daemon, number: i32) {
    let status =
        Command::new("sh").args(["-c", &format!("kill -{number} {}", daemon.pid())]).status();
    assert!(status.unwrap().success(), "signal {number}");
}

/// The files that the daemon has open.
fn open_files(daemon: &Daemon) -> Vec<String> {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    let target = |entry: fs::DirEntry| fs::read_link(entry.path()).ok();
    let targets = descriptors.filter_map(|entry| target(entry.unwrap()));
    targets.map(|path| path.display().to_string()).collect()
}

#[test]
fn sigusr1_closes_renamed_files_and_records_go_to_new_ones() {
    let daemon = Setup::new().start();
    let first = daemon.commit_numbered(0..3, 20);
    daemon.wait_file(OUT, &first);
    fs::rename(daemon.path(OUT), daemon.path("out/rotated")).unwrap();
    let is_open = || open_files(&daemon).iter().any(|path| path.ends_with("out/rotated"));
    assert!(is_open());
    daemon.signal(Signal::USR1);
    daemon.wait_log("reopening files");
    wait_until("a rotated file that is closed", || !is_open());
    let second = daemon.commit_numbered(3..6, 20);
    daemon.wait_file(OUT, &second);
    let stopped = daemon.stop().exited_cleanly();
    same_bytes("the rotated file", &stopped.file("out/rotated"), &first);
    assert!(!stopped.log.contains("reloaded"), "SIGUSR1 does not reload");
}

#[test]
fn unhandled_signals_do_not_stop_the_daemon() {
    // Signals that act: SIGHUP, SIGINT, SIGUSR1 and SIGTERM. Those that report a defect or ask for a core
    // dump end every process; SIGKILL and SIGSTOP cannot be handled. The C library keeps 32 and 33.
    const OTHERS: [i32; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 19, 31, 32, 33];
    // Ignored silently: by the standard library, or by default; or they stop a process that has a
    // terminal (SIGTSTP, SIGTTIN, SIGTTOU), which is what the operator who sends them wants.
    const SILENT: [i32; 5] = [13, 17, 18, 23, 28];
    const STOPS: [i32; 3] = [20, 21, 22];
    const NAMES: [(i32, &str); 9] = [
        (12, "SIGUSR2"),
        (14, "SIGALRM"),
        (16, "SIGSTKFLT"),
        (24, "SIGXCPU"),
        (25, "SIGXFSZ"),
        (26, "SIGVTALRM"),
        (27, "SIGPROF"),
        (29, "SIGIO"),
        (30, "SIGPWR"),
    ];
    let daemon = Setup::new().start();
    for number in (1..=64).filter(|number| !OTHERS.contains(number) && !STOPS.contains(number)) {
        kill(&daemon, number);
        if SILENT.contains(&number) {
            continue;
        }
        let name = NAMES.iter().find(|(named, _)| *named == number);
        let name =
            name.map_or_else(|| format!("realtime {number}"), |(_, name)| (*name).to_owned());
        wait_until(&name, || {
            daemon.logged("signal ignored").iter().any(|line| line["signal"] == name)
        });
    }
    let all = daemon.commit_numbered(0..2, 20);
    same_bytes("the end", &daemon.stop().exited_cleanly().file(OUT), &all);
}

#[test]
fn a_file_over_the_size_limit_of_the_process_fails_only_its_sink() {
    let setup = Setup::new().table("sink.large.file", "path = \"large/{dataset}\"");
    fs::create_dir(setup.path("large")).unwrap();
    fs::write(setup.path("large/http_requests"), vec![b'\n'; 1 << 20]).unwrap();
    let daemon = setup.start();
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap());
    let megabyte = Rlimit { current: Some(1 << 20), maximum: None };
    prlimit(pid, Resource::Fsize, megabyte).unwrap();
    let mut all = daemon.commit_numbered(0..3, 20);
    daemon.wait_count(r#"logpushd_sink_errors_total{sink="large"}"#, |errors| errors > 1);
    daemon.wait_file(OUT, &all);
    assert_eq!(daemon.ask("/readyz").0, 200);
    prlimit(pid, Resource::Fsize, Rlimit { current: None, maximum: None }).unwrap();
    let records = numbered(3, 20);
    daemon.commit(&records);
    all.extend(records);
    daemon.wait_file(OUT, &all);
    let large = [vec![b'\n'; 1 << 20], all].concat();
    daemon.wait_file("large/http_requests", &large);
    daemon.stop().exited_cleanly();
}
