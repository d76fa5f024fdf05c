//! The shipped units for systemd: systemd accepts them, and they sandbox the daemon as
//! docs/systemd.md states.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

use crate::support::{Exit, Finished, finish, names_in, repository, require};

/// The highest exposure level that systemd may report, in tenths.
const MOST_EXPOSURE: &str = "13";

/// The daemon's deadline for shutdown: `src/daemon`.
const STOP_SECONDS: u64 = 25;

/// Runs systemd-analyze in a directory; skips the test if it is not installed.
fn analyze(arguments: &[&str], directory: &Path) -> Option<Finished> {
    let program = "systemd-analyze";
    if !require::has(&[&require::SYSTEMD]) {
        return None;
    }
    Some(finish(Command::new(program).args(arguments).current_dir(directory)))
}

/// The units, with the shipped example drop-ins, in a directory. They run the program under test,
/// since systemd checks that it exists.
fn units(drop_ins: &[&str]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in ["logpushd.service", "logpushd.socket"] {
        let text = unit(name).replace("/usr/bin/logpushd", env!("CARGO_BIN_EXE_logpushd"));
        fs::write(directory.path().join(name), text).unwrap();
    }
    let beside = directory.path().join("logpushd.service.d");
    fs::create_dir(&beside).unwrap();
    for name in drop_ins {
        fs::write(beside.join(name), unit(&format!("examples/{name}"))).unwrap();
    }
    directory
}

fn unit(name: &str) -> String {
    fs::read_to_string(repository("pkg/systemd").join(name)).unwrap()
}

/// All values of a key.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    let value = |line: &'a str| line.strip_prefix(key)?.strip_prefix('=');
    unit.lines().filter_map(value).collect()
}

#[track_caller]
fn verify(directory: &TempDir) {
    let arguments = ["verify", "--man=no", "./logpushd.service", "./logpushd.socket"];
    let Some(finished) = analyze(&arguments, directory.path()) else { return };
    // Its findings about the units of this machine do not matter.
    let ours: Vec<_> = finished.stderr.lines().filter(|line| line.contains("logpushd")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
    assert_eq!(finished.exit, Exit::Code(0), "{finished:?}");
}

#[test]
fn systemd_accepts_the_units() {
    verify(&units(&[]));
}

#[test]
fn systemd_accepts_the_drop_ins() {
    let names = names_in(&repository("pkg/systemd/examples"));
    assert!(!names.is_empty());
    for name in &names {
        verify(&units(&[name]));
    }
}

#[test]
fn the_service_is_sandboxed_as_documented() {
    let directory = units(&[]);
    let arguments =
        ["security", "--offline=true", "--threshold", MOST_EXPOSURE, "./logpushd.service"];
    let Some(finished) = analyze(&arguments, directory.path()) else { return };
    assert_eq!(finished.exit, Exit::Code(0), "{finished:?}");
    assert!(finished.stdout.contains("Overall exposure level for logpushd.service"));
}

#[test]
fn systemd_waits_for_shutdown_and_does_not_restart_after_configuration_errors() {
    let service = unit("logpushd.service");
    let patience = values(&service, "TimeoutStopSec")[0].strip_suffix('s').unwrap();
    assert!(patience.parse::<u64>().unwrap() > STOP_SECONDS);
    assert_eq!(values(&service, "RestartPreventExitStatus"), ["64 78"]);
    // Its failure would be repeated, whatever the status.
    assert!(values(&service, "ExecStartPre").is_empty());
}

#[test]
fn the_service_has_limits_and_all_credentials() {
    let service = unit("logpushd.service");
    for (key, value) in [
        ("MemoryMax", "1G"),
        ("TasksMax", "1024"),
        ("LimitCORE", "0"),
        ("StateDirectoryMode", "0700"),
    ] {
        assert_eq!(values(&service, key), [value], "{key}");
    }
    let directory = "credentials:/etc/logpushd/credentials";
    assert!(values(&service, "LoadCredential").contains(&directory));
}

#[test]
fn the_socket_unit_has_the_address_of_the_configuration() {
    let config = fs::read_to_string(repository("config/logpushd.toml")).unwrap();
    let (_, server) = config.split_once("\n[server]\n").unwrap();
    let address = server.lines().find_map(|line| line.strip_prefix("# address = ")).unwrap();
    let socket = unit("logpushd.socket");
    assert_eq!(values(&socket, "ListenStream"), [address.trim_matches('"')]);
}
