//! Limits of the system, and missing system calls.

use std::{
    fs,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    process::{Child, Stdio},
    sync::Mutex,
    thread,
};

use crate::support::{Daemon, Http, Setup, Upload, logpushd, numbered, same_bytes, wait_until};

/// A daemon that a shell starts after `ulimit`.
fn limited(how: &str) -> Daemon {
    let mut setup = Setup::new();
    let program = logpushd();
    let program = program.get_program().to_str().unwrap();
    setup.write("limited", format!("#!/bin/sh\nulimit {how} && exec '{program}' \"$@\"\n"));
    let path = setup.path("limited");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    setup.service.program = Some(path);
    setup.start()
}

/// The soft and the hard limit of open files of a process.
fn open_files(daemon: &Daemon) -> (String, String) {
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut words = line.split_whitespace().map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

const TOO_FEW: &str = "the limit of open files is too low for limits.max_connections and the sinks; \
                       raise LimitNOFILE (systemd) or `ulimit -Hn`, or lower \
                       limits.max_connections";

#[test]
fn the_soft_limit_of_open_files_is_raised_to_the_hard_limit() {
    let daemon = limited("-Sn 200 && ulimit -Hn 3000");
    assert_eq!(open_files(&daemon), ("3000".to_owned(), "3000".to_owned()));
    assert!(daemon.logged(TOO_FEW).is_empty());
}

#[test]
fn a_hard_limit_that_is_too_low_is_logged() {
    let daemon = limited("-Sn 200 && ulimit -Hn 1000");
    assert_eq!(open_files(&daemon).0, "1000");
    let line = daemon.wait_log(TOO_FEW);
    assert_eq!(line["limit"], 1000, "{line}");
    assert_eq!(line["needed"], 1024 + 64 + 512 + 2 * 64 + 128, "{line}");
}

#[test]
fn a_directory_without_fsync_support_is_no_failure() {
    let setup = Setup::new().table("sink.archive.file", "path = \"out/{dataset}/%Y.ndjson\"");
    setup.faults("fail EINVAL syncdir *\n");
    let daemon = setup.start();
    let records = numbered(0, 10);
    daemon.send(Http::Two, Upload::of(&records).gzipped()).committed();
    let directory = daemon.path("out/http_requests");
    let file = || fs::read_dir(&directory).ok()?.next()?.ok();
    wait_until("the records", || {
        file().is_some_and(|file| fs::read(file.path()).unwrap() == records)
    });
    assert_eq!(daemon.ask("/readyz").0, 200);
    daemon.stop().exited_cleanly();
}

#[test]
fn an_exhausted_quota_is_not_ready() {
    let daemon = Setup::new().start();
    let mut all = numbered(0, 10);
    daemon.commit(&all);
    // A short file still fits.
    daemon.setup().faults("fail EDQUOT allocate /batches/\n");
    wait_until("a daemon that is not ready", || {
        let (status, text) = daemon.ask("/readyz");
        assert!(status == 200 || text.contains("quota"), "{text}");
        status == 503
    });
    daemon.setup().faults("");
    wait_until("a daemon that is ready again", || daemon.ask("/readyz").0 == 200);
    let records = numbered(1, 10);
    daemon.commit(&records);
    all.extend(records);
    daemon.wait_file("out/http_requests.ndjson", &all);
    let stopped = daemon.stop().exited_cleanly();
    same_bytes("the end", &stopped.file("out/http_requests.ndjson"), &all);
}

/// Stopped at the end of the test.
struct Starting(Child);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_slow_lock_is_logged_while_the_daemon_waits() {
    let setup = Setup::new();
    setup.write_config();
    setup.faults("hang lock /lock\n");
    let mut command = logpushd();
    command.args(["run", "-c"]).arg(setup.config()).env("LOGPUSHD_FAULTS", setup.path("faults"));
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut daemon = Starting(command.spawn().unwrap());
    let (log, mut stderr) = (Mutex::new(String::new()), daemon.0.stderr.take().unwrap());
    let has = |text: &str| log.lock().unwrap().contains(text);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut piece) {
                log.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..read]));
            }
        });
        // Whatever happens, the daemon ends before the reader is waited for.
        let _daemon = daemon;
        wait_until("a line about the lock", || has("still waiting for the lock"));
        setup.faults("");
        wait_until("a start with the lock", || has("\"ready\""));
    });
}

#[test]
fn a_name_that_is_too_long_for_the_disk_is_explained() {
    let daemon = Setup::new().start();
    daemon.setup().faults("fail ENAMETOOLONG open /out/dns_logs\n");
    let records = numbered(0, 10);
    daemon.send(Http::Two, Upload::of(&records).to("/logpush/dns_logs")).committed();
    let line = daemon.wait_log("the sink failed");
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("/out/dns_logs.ndjson: File name too long"), "{error}");
    assert!(error.contains("shorten the `path` of the sink"), "{error}");
    daemon.setup().faults("");
    daemon.wait_file("out/dns_logs.ndjson", &records);
    daemon.stop().exited_cleanly();
}
