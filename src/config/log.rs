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
        /// The daemon appends starts and stops, reloads with the changed keys, changes of
        /// secrets and certificates, replays, and failed authentications by network. The file
        /// has mode 0600, and is opened again at SIGHUP and SIGUSR1.
        pub audit_file: Option<Path> as "/var/log/logpushd/audit.ndjson"
            else "no audit log",
    }
}

words! {
    /// `log.level`
    pub enum LogLevel {
        /// What failed.
        Error = "error",
        /// What somebody should look at.
        Warn = "warn",
        /// Each batch.
        Info = "info",
        /// What helps to find a defect.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

words! {
    /// `log.format`
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// One object a line.
        Json = "json",
    }
}
