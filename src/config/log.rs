//! `[log]`: the daemon's own log.

use settings::{settings, types::Path, words};

settings! {
    /// The daemon's own log, on standard error.
    pub struct Log in "log" {
        /// The least that is logged. `"info"` has a line for each batch; `"warn"`
        /// only what somebody should look at. Nothing of it holds a header, a query, a
        /// body or a secret.
        pub level: LogLevel = "info",
        /// `"json"` is one object a line, for a log collector.
        pub format: LogFormat = "text",
        /// A file to which the daemon appends events of security as lines of JSON:
        /// starts and stops, reloads with the changed keys, changes of secrets and
        /// certificates, replays, and failed authentications by network. Mode 0600;
        /// opened again at SIGHUP and SIGUSR1. See docs/audit.md.
        pub audit_file: Option<Path> as "/var/log/logpushd/audit.ndjson"
            else "there is no audit log",
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
