//! A daemon of its own for each scenario, in a folder of its own.

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

/// What the sender proves itself with.
pub(crate) const SECRET: &str = "a-secret-for-loopback-only";

/// How long the daemon may take for anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running daemon. Dropping it ends it.
pub(crate) struct Daemon {
    child: Child,
    folder: PathBuf,
    pub(crate) address: SocketAddr,
}

/// The name of one of the datasets.
pub(crate) fn dataset(index: usize) -> String {
    format!("dataset_{index}")
}

impl Daemon {
    /// Starts it in `folder`, with the keys that every load test wants and `more`, in TOML. Of its
    /// log, lines with one of the `levels` are shown.
    pub(crate) fn start(
        folder: &Path,
        more: &str,
        levels: &'static [&str],
    ) -> Result<Self, Box<dyn Error>> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("secrets.txt"), SECRET)?;
        let config = folder.join("logpushd.toml");
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
        // The pipe must not fill up; what goes wrong must be seen.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if levels.iter().any(|level| line.contains(level)) {
                    eprintln!("{line}");
                }
            }
        });
        Ok(Self { child, folder: folder.to_owned(), address })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn cert_file(&self) -> PathBuf {
        self.folder.join("fullchain.pem")
    }

    /// The output of each dataset.
    pub(crate) fn outputs(&self, datasets: usize) -> Vec<PathBuf> {
        let file = |index| self.folder.join("out").join(format!("{}.ndjson", dataset(index)));
        (0..datasets).map(file).collect()
    }

    /// Waits until the outputs hold so many bytes.
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

    /// Waits until the spool is empty: everything is delivered for good.
    pub(crate) fn wait_for_empty_spool(&self) -> Result<(), Box<dyn Error>> {
        let mut folders = vec![self.folder.join("state")];
        wait(|| {
            folders.truncate(1);
            let mut at = 0;
            while let Some(folder) = folders.get(at) {
                at += 1;
                for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                    let path = entry.path();
                    if path.is_dir() {
                        folders.push(path);
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
        // It has failed only if it is no longer there.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn wait(mut until: impl FnMut() -> bool) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    while !until() {
        if begun.elapsed() > PATIENCE {
            return Err("the daemon does not deliver".into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
