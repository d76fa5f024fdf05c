//! `[log]`: the daemon's own log.

use settings::{settings, types::Path, words};

settings! {
    /// The daemon's own log, on standard error.
    pub struct Log in "log" {
        /// The lowest level to log.
        ///
        /// `"info"` logs one line per batch; `"warn"` logs only what needs attention. The log
        /// never contains headers, queries, bodies or secrets.
        pub level: LogLevel = "info",
        /// `"json"` writes one object per line, for log collectors.
        pub format: LogFormat = "text",
        /// A file for security events, as lines of JSON. See docs/audit.md.
        ///
        /// The daemon logs starts and stops, reloads with the changed keys, changes of secrets
        /// and certificates, replays, and failed authentications by network. The file has mode
        /// 0600. SIGHUP and SIGUSR1 reopen it.
        pub audit_file: Option<Path> as "/var/log/logpushd/audit.ndjson"
            else "no audit log",
    }
}

words! {
    /// `log.level`
    pub enum LogLevel {
        /// Failures.
        Error = "error",
        /// Events that need attention.
        Warn = "warn",
        /// One line per batch.
        Info = "info",
        /// Details for debugging.
        Debug = "debug",
        /// All details.
        Trace = "trace",
    }
}

words! {
    /// `log.format`
    pub enum LogFormat {
        /// Lines of text.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
}
