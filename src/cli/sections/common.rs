//! Exit statuses, signals, environment variables and files that several commands share.

use super::{Described, Example};

/// The sections of one command, without those that all commands share.
pub(super) struct CommandSections {
    /// The full name, such as `logpushd spool list`.
    pub(super) command: &'static str,
    pub(super) examples: &'static [Example],
    pub(super) files: &'static [Described],
    pub(super) exit_statuses: &'static [Described<u8>],
    pub(super) environment: &'static [Described],
    /// Full names of related commands.
    pub(super) see_also: &'static [&'static str],
}

/// Nothing in any section.
pub(super) const EMPTY: CommandSections = CommandSections {
    command: "",
    examples: &[],
    files: &[],
    exit_statuses: &[],
    environment: &[],
    see_also: &[],
};

pub(super) const fn example(purpose: &'static str, line: &'static str) -> Example {
    Example { purpose, line }
}

/// Exit statuses of all commands, after sysexits.h. 78 is only for those that read the
/// configuration.
pub(super) const EXIT_STATUSES: &[Described<u8>] = &[
    (0, "Success."),
    (64, "The command line is invalid."),
    (70, "A bug in logpushd."),
    (74, "A file or directory cannot be read or written."),
    (78, "The configuration is invalid."),
];

/// Signals of the daemon.
pub const SIGNALS: &[Described] = &[
    (
        "SIGTERM, SIGINT",
        "Shuts down gracefully: finishes uploads, delivers what the sinks accept within 25 seconds, and exits. \
         A second signal exits immediately.",
    ),
    (
        "SIGHUP",
        "Reloads the configuration, certificates and secrets. No request fails. Unchanged sinks lose and repeat \
         no record. An invalid configuration changes nothing.",
    ),
    (
        "SIGUSR1",
        "Closes and reopens the files of all sinks and the audit log, for log rotation by another \
         program.",
    ),
    (
        "SIGQUIT",
        "Ends the process immediately, with a core dump for a bug report. The next start continues from the \
         spool.",
    ),
];

/// The environment variable of all commands that read the configuration.
pub(super) const CONFIG_VARIABLE: Described =
    ("LOGPUSHD_CONFIG", "The configuration file, if -c is not given.");

/// The environment variables of what sends requests to other systems.
pub(super) const PROXY: Described = (
    "HTTPS_PROXY, HTTP_PROXY, NO_PROXY",
    "The proxies for https:// and http:// targets, as http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, \
     and the hosts to reach directly.",
);

/// Environment variables of the daemon.
pub(super) const ENVIRONMENT: &[Described] = &[
    CONFIG_VARIABLE,
    (
        "CREDENTIALS_DIRECTORY",
        "The directory of \"credential:NAME\" in the configuration. systemd sets it for \
         LoadCredential=.",
    ),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC, LISTEN_FDS",
        "Readiness, watchdog and socket activation of systemd.",
    ),
    PROXY,
];

pub(super) const CONFIG: Described =
    ("/etc/logpushd/logpushd.toml", "The configuration. See logpushd.toml(5).");
pub(super) const SPOOL: Described = (
    "/var/lib/logpushd",
    "The state directory, \"spool.dir\": batches, checkpoints of the sinks, and the deduplication \
     log.",
);
pub(super) const QUARANTINE: Described =
    ("/var/lib/logpushd/quarantine", "Rejected records and unreadable bodies, \"quarantine.dir\".");
