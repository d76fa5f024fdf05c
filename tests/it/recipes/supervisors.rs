//! supervisord, runit and s6: a killed daemon is restarted, one with an invalid configuration is
//! not.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::blocks;
use crate::support::{Setup, finish, require, wait_for, wait_until};

/// A supervisor that runs the daemon of a directory. Ended, with the daemon, when dropped.
struct Supervisor {
    child: Child,
    log: PathBuf,
}

impl Supervisor {
    /// Starts it. runit and s6 pass the daemon's output on to theirs; supervisord writes the file `log`.
    fn start(command: &mut Command, setup: &Setup, output: &str) -> Self {
        let file = File::create(setup.path(output)).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: command.spawn().unwrap(), log: setup.path("log") }
    }

    /// How many lines of the daemon's log have this message.
    fn logged(&self, message: &str) -> usize {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.matches(message).count()
    }

    /// The process id of the daemon that it runs.
    fn daemon(setup: &Setup) -> Pid {
        let config = setup.config();
        wait_for("a daemon that runs", || {
            let pids = finish(Command::new("pgrep").arg("-f").arg(format!(
                "^{} run -c {}",
                env!("CARGO_BIN_EXE_logpushd"),
                config.display()
            )));
            pids.stdout.lines().next().and_then(|pid| Pid::from_raw(pid.parse().ok()?))
        })
    }

    /// Asserts that a killed daemon is restarted.
    fn restarts_after_kill(&self, setup: &Setup) {
        wait_until("the first daemon is ready", || self.logged("\"message\":\"ready\"") == 1);
        kill_process(Self::daemon(setup), Signal::KILL).unwrap();
        wait_until("the second daemon is ready", || self.logged("\"message\":\"ready\"") == 2);
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // All three stop their daemon on SIGTERM.
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            kill_process(pid, Signal::TERM).ok();
        }
        self.child.wait().ok();
    }
}

/// The page's text for this test: this build, this configuration, this user.
fn adapted(block: &str, setup: &Setup) -> String {
    block
        .replace("/usr/bin/logpushd", env!("CARGO_BIN_EXE_logpushd"))
        .replace("/etc/logpushd/logpushd.toml", setup.config().to_str().unwrap())
        .replace("/var/log/logpushd.log", setup.path("log").to_str().unwrap())
        .replace("chpst -u logpushd ", "")
        .replace("s6-setuidgid logpushd ", "")
        .replace("user=logpushd\n", "")
}

fn write_script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

/// A service directory with the page's scripts `run` and `finish`.
fn service(page: &str, setup: &Setup) -> PathBuf {
    let directory = setup.path("service");
    fs::create_dir(&directory).unwrap();
    let scripts = blocks(page, "sh");
    write_script(&directory.join("run"), &adapted(&scripts[0], setup));
    write_script(&directory.join("finish"), &adapted(&scripts[1], setup));
    directory
}

/// A configuration that the daemon accepts, and then one that it rejects with exit code 78.
fn good() -> Setup {
    let setup = Setup::new();
    setup.write_config();
    setup
}

fn broken() -> Setup {
    let setup = Setup::new();
    setup.write("logpushd.toml", "[server]\nadress = \"127.0.0.1:0\"\n");
    setup
}

/// A supervisord that stays in the foreground and keeps its files to this test.
const SUPERVISORD: &str = "\
[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile=DIRECTORY/pid
[unix_http_server]
file=DIRECTORY/socket
[supervisorctl]
serverurl=unix://DIRECTORY/socket
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
";

#[test]
fn supervisord_restarts_after_a_crash_and_not_after_a_configuration_error() {
    if !require::has(&[&require::SUPERVISOR, &require::PROCPS]) {
        return;
    }
    let start = |setup: &Setup| {
        let directory = setup.path("").display().to_string();
        let program = adapted(&blocks("supervisord.md", "ini")[0], setup);
        setup.write("supervisord.conf", SUPERVISORD.replace("DIRECTORY", &directory) + &program);
        let mut command = Command::new("supervisord");
        command.arg("-c").arg(setup.path("supervisord.conf"));
        Supervisor::start(&mut command, setup, "supervisor.log")
    };
    let setup = good();
    start(&setup).restarts_after_kill(&setup);

    let setup = broken();
    let supervisor = start(&setup);
    wait_until("supervisord has given up", || {
        let config = setup.path("supervisord.conf");
        let status = finish(Command::new("supervisorctl").arg("-c").arg(config).arg("status"));
        status.stdout.contains("EXITED")
    });
    assert_eq!(supervisor.logged("adress = "), 1, "it was started once");
}

#[test]
fn runit_restarts_after_a_crash_and_not_after_a_configuration_error() {
    if !require::has(&[&require::RUNIT, &require::PROCPS]) {
        return;
    }
    let setup = good();
    let directory = service("runit.md", &setup);
    Supervisor::start(Command::new("runsv").arg(&directory), &setup, "log")
        .restarts_after_kill(&setup);

    let setup = broken();
    let directory = service("runit.md", &setup);
    let supervisor = Supervisor::start(Command::new("runsv").arg(&directory), &setup, "log");
    // Before its first start the service is down as well.
    wait_until("a start", || supervisor.logged("adress = ") > 0);
    wait_until("runit has given up", || {
        // It is down before its first start, too.
        let status = finish(Command::new("sv").arg("status").arg(&directory)).stdout;
        status.starts_with("down:") && supervisor.logged("adress = ") > 0
    });
    assert_eq!(supervisor.logged("adress = "), 1, "it was started once");
}

#[test]
fn s6_restarts_after_a_crash_and_not_after_a_configuration_error() {
    if !require::has(&[&require::S6, &require::PROCPS]) {
        return;
    }
    let start = |setup: &Setup, directory: &Path| {
        fs::write(directory.join("timeout-kill"), &blocks("s6.md", "text")[0]).unwrap();
        Supervisor::start(Command::new("s6-supervise").arg(directory), setup, "log")
    };
    let setup = good();
    start(&setup, &service("s6.md", &setup)).restarts_after_kill(&setup);

    let setup = broken();
    let directory = service("s6.md", &setup);
    let supervisor = start(&setup, &directory);
    wait_until("s6 has given up", || {
        let status = finish(Command::new("s6-svstat").arg(&directory)).stdout;
        status.starts_with("down (exitcode 78)") && !status.contains("want up")
    });
    assert_eq!(supervisor.logged("adress = "), 1, "it was started once");
}
