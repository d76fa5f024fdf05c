//! A directory with a configuration, for one daemon or several that follow each other.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tempfile::TempDir;

use super::{
    daemon::{Daemon, Stopped},
    process::{FAULTS, Output, Service},
};

/// The secret of the endpoint `main` in `X-Logpush-Secret`, unless a test sets another.
pub(crate) const SECRET: &str = "a-secret-of-the-tests";

/// A daemon's directory. By default: any free port, a self-signed certificate, an endpoint `main`
/// at `/logpush/{dataset}` with a secret, a file sink `archive` at `out/{dataset}.ndjson`, and no
/// deduplication, since tests send the same bytes repeatedly.
pub(crate) struct Setup {
    dir: TempDir,
    tables: BTreeMap<String, String>,
    pub(super) output: Output,
    pub(crate) service: Box<Service>,
}

impl Setup {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let setup =
            Self { dir, tables: BTreeMap::new(), output: Output::Read, service: Box::default() };
        setup.write("secrets.txt", SECRET);
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(setup.path("secrets.txt"), private).unwrap();
        setup
            .table("server", r#"address = "127.0.0.1:0""#)
            .table("server.tls", "self_signed = true")
            .table("endpoint.main", "path = \"/logpush/{dataset}\"\nsecret_file = \"secrets.txt\"")
            .table("sink.archive.file", r#"path = "out/{dataset}.ndjson""#)
            .table("spool", "dir = \"spool\"\ndedup_window = \"0s\"")
            .table("quarantine", r#"dir = "quarantine""#)
            .table("admin", r#"address = "127.0.0.1:0""#)
            .table("log", r#"format = "json""#)
    }

    /// Sets a table and replaces its previous content.
    pub(crate) fn table(mut self, name: &str, keys: &str) -> Self {
        self.set(name, keys);
        self
    }

    pub(crate) fn set(&mut self, name: &str, keys: &str) {
        self.tables.insert(name.to_owned(), keys.to_owned());
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.tables.remove(name).expect("the table exists");
        self
    }

    pub(crate) fn with_output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// Writes the configuration.
    pub(crate) fn write_config(&self) -> PathBuf {
        self.write_config_with(&[])
    }

    /// Writes the configuration with some tables changed or removed.
    pub(crate) fn write_config_with(&self, changes: &[(&str, Option<&str>)]) -> PathBuf {
        let mut tables: BTreeMap<&str, &str> =
            self.tables.iter().map(|(name, keys)| (name.as_str(), keys.as_str())).collect();
        for (name, keys) in changes {
            match keys {
                Some(keys) => tables.insert(name, keys),
                None => tables.remove(name),
            };
        }
        let mut text = String::new();
        for (name, keys) in tables {
            writeln!(text, "[{name}]\n{keys}\n").unwrap();
        }
        self.write("logpushd.toml", text);
        self.config()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("logpushd.toml")
    }

    pub(crate) fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// Sets the injected faults from now on, one per line: see `crates/spool/src/durable/fault.rs`.
    pub(crate) fn faults(&self, lines: &str) {
        // The daemon compares the coarse modification time: each is later than the previous.
        let path = self.path(FAULTS);
        let before = fs::metadata(&path).and_then(|file| file.modified());
        let later = before.unwrap_or(SystemTime::UNIX_EPOCH) + Duration::from_secs(1);
        let beside = self.path("faults.new");
        fs::write(&beside, lines).unwrap();
        let file = fs::File::options().write(true).open(&beside).unwrap();
        file.set_modified(later).unwrap();
        fs::rename(&beside, &path).unwrap();
    }

    /// Starts the daemon and waits until it is ready, or has ended.
    #[track_caller]
    pub(crate) fn try_start(self) -> Result<Daemon, Stopped> {
        self.write_config();
        Daemon::try_start(self)
    }

    /// Starts the daemon and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(self) -> Daemon {
        self.write_config();
        Daemon::start(self)
    }

    /// Starts the daemon with the configuration file as it is.
    #[track_caller]
    pub(crate) fn start_as_written(self) -> Daemon {
        Daemon::start(self)
    }
}
