//! The shippers as processes, with the configuration of their pages.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{
    super::{blocks, located},
    Layout,
};
use crate::{
    support::{Setup, require, skip, skipped, wait_for},
    syslog::syslog_ng,
};

/// Where the pages send the records, and where the programs store their positions.
const DESTINATION: [&str; 2] = ["siem.example.com", "601"];
const STATE: [&str; 2] = ["/var/spool/rsyslog", "/var/lib/fluent-bit"];

pub(super) struct Program {
    page: &'static str,
    /// The language of the page's blocks, and the extension of the file.
    language: &'static str,
    command: fn() -> Option<Command>,
    /// The arguments after its program's name; `CONFIG` and `STATE` are replaced.
    arguments: &'static [&'static str],
}

pub(super) const RSYSLOG: Program = Program {
    page: "rsyslog.md",
    language: "text",
    command: rsyslogd,
    arguments: &["-n", "-i", "NONE", "-f", "CONFIG"],
};

pub(super) const SYSLOG_NG: Program = Program {
    page: "syslog-ng.md",
    language: "text",
    command: syslog_ng_or_skip,
    arguments: &[
        "-F",
        "--no-caps",
        "-f",
        "CONFIG",
        "-R",
        "STATE/persist",
        "-c",
        "STATE/control",
        "-p",
        "STATE/pid",
    ],
};

pub(super) const FLUENT_BIT: Program = Program {
    page: "fluent-bit.md",
    language: "yaml",
    command: fluent_bit,
    arguments: &["-c", "CONFIG"],
};

impl Program {
    /// How to start it, if it is installed.
    pub(super) fn command(&self) -> Option<Command> {
        (self.command)()
    }

    /// Writes the page's configuration for this layout and adds the arguments.
    pub(super) fn configure(
        &self,
        command: &mut Command,
        setup: &Setup,
        layout: Layout,
        port: u16,
    ) {
        let mut text = blocks(self.page, self.language).swap_remove(layout as usize);
        let state = setup.path("state").display().to_string();
        assert!(DESTINATION.iter().all(|part| text.contains(part)), "{text}");
        text = text.replace(DESTINATION[0], "127.0.0.1");
        text = text.replace(DESTINATION[1], &port.to_string());
        for place in STATE {
            text = text.replace(place, &state);
        }
        let name = format!("shipper.{}", self.language);
        setup.write(&name, located(&text, &setup.path("logs")));
        let config = setup.path(&name).display().to_string();
        let fill = |argument: &&str| argument.replace("CONFIG", &config).replace("STATE", &state);
        command.args(self.arguments.iter().map(fill));
    }
}

fn rsyslogd() -> Option<Command> {
    require::has(&[&require::RSYSLOGD]).then(|| Command::new(require::program("rsyslogd").unwrap()))
}

fn syslog_ng_or_skip() -> Option<Command> {
    let command = syslog_ng();
    if command.is_none() {
        skip("there is no syslog-ng: see LOGPUSHD_SYSLOG_NG in .ci/run");
    }
    command
}

/// The program of `LOGPUSHD_FLUENT_BIT` or of `PATH`. Never required: Debian does not have it.
fn fluent_bit() -> Option<Command> {
    let named = std::env::var_os("LOGPUSHD_FLUENT_BIT").map(PathBuf::from);
    let program = named.or_else(|| require::program("fluent-bit"));
    if program.is_none() {
        skipped("there is no fluent-bit in PATH, and LOGPUSHD_FLUENT_BIT names none");
    }
    program.map(Command::new)
}

/// A running shipper.
pub(super) struct Shipper {
    child: Child,
    log: PathBuf,
}

impl Shipper {
    pub(super) fn start(command: &mut Command, setup: &Setup) -> Self {
        let log = setup.path("shipper.log");
        let file = File::options().append(true).create(true).open(&log).unwrap();
        fs::set_permissions(&log, fs::Permissions::from_mode(0o600)).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: command.spawn().unwrap(), log }
    }

    /// Stops it as a service manager does.
    pub(super) fn stop(mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "it ended unexpectedly");
        self.signal(Signal::TERM);
        wait_for("the end of a shipper", || self.child.try_wait().unwrap());
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("the shipper's log:\n{log}");
        }
    }
}
