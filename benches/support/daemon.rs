//! Starts a daemon in a directory.

use std::{
    error::Error,
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The secret of the sender.
pub(crate) const SECRET: &str = "a-secret-for-loopback-only";

/// The time limit for each wait.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A running daemon. Dropping this value ends it.
pub(crate) struct Daemon {
    child: Child,
    directory: PathBuf,
    pub(crate) address: SocketAddr,
}

/// Returns the name of a dataset.
pub(crate) fn dataset(index: usize) -> String {
    format!("dataset_{index}")
}

impl Daemon {
    /// Starts a daemon in `directory`, with the keys that every load test needs and `more`, in
    /// TOML. Prints the log lines that contain one of the `levels`.
    pub(crate) fn start(
        directory: &Path,
        more: &str,
        levels: &'static [&str],
    ) -> Result<Self, Box<dyn Error>> {
        fs::create_dir_all(directory)?;
        fs::write(directory.join("secrets.txt"), SECRET)?;
        let config = directory.join("logpushd.toml");
        let common = r#"
            server.address = "127.0.0.1:0"
            server.tls.self_signed = true
            admin.address = "127.0.0.1:0"
            endpoint.bench = { path = "/logpush/{dataset}", secret_file = "secrets.txt" }
            spool.dir = "state"
        "#;
        fs::write(&config, format!("{common}\n{more}"))?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_logpushd"))
            .args(["run".as_ref(), "-c".as_ref(), config.as_os_str()])
            .stderr(Stdio::piped())
            .spawn()?;
        let log = child.stderr.take().ok_or("no log")?;
        let mut lines = BufReader::new(log).lines();
        let mut head = Vec::new();
        let address = loop {
            let Some(line) = lines.next() else {
                child.wait()?;
                return Err(format!("it did not start:\n{}", head.join("\n")).into());
            };
            let line = line?;
            if let Some((before, address)) = line.rsplit_once("address=")
                && before.trim_end().ends_with("listening")
            {
                break address.trim().parse()?;
            }
            head.push(line);
        };
        // Read the pipe so that it does not fill up, and print problems.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if levels.iter().any(|level| line.contains(level)) {
                    eprintln!("{line}");
                }
            }
        });
        Ok(Self { child, directory: directory.to_owned(), address })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn cert_file(&self) -> PathBuf {
        self.directory.join("fullchain.pem")
    }

    /// Returns the output file of each dataset.
    pub(crate) fn outputs(&self, datasets: usize) -> Vec<PathBuf> {
        let file = |index| self.directory.join("out").join(format!("{}.ndjson", dataset(index)));
        (0..datasets).map(file).collect()
    }

    /// Waits until the outputs contain `bytes` bytes.
    pub(crate) fn wait_for_outputs(
        &self,
        datasets: usize,
        bytes: u64,
    ) -> Result<(), Box<dyn Error>> {
        let outputs = self.outputs(datasets);
        wait(|| {
            let sizes = outputs.iter().map(|path| fs::metadata(path).map_or(0, |file| file.len()));
            sizes.sum::<u64>() >= bytes
        })
    }

    /// Waits until the spool is empty, so that everything is delivered durably.
    pub(crate) fn wait_for_empty_spool(&self) -> Result<(), Box<dyn Error>> {
        let mut directories = vec![self.directory.join("state")];
        wait(|| {
            directories.truncate(1);
            let mut at = 0;
            while let Some(directory) = directories.get(at) {
                at += 1;
                for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                    let path = entry.path();
                    if path.is_dir() {
                        directories.push(path);
                    } else if path.extension().is_some_and(|end| end == "gz") {
                        return false;
                    }
                }
            }
            true
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // This fails only if the daemon has ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Waits until a condition is met.
pub(crate) fn wait(mut until: impl FnMut() -> bool) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    while !until() {
        if begun.elapsed() > TIMEOUT {
            return Err("the daemon does not deliver".into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
