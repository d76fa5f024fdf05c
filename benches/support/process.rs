//! Reads the resource usage of a process from the kernel: CPU, memory, bytes written.

use std::{
    fs, io,
    path::PathBuf,
    process::{Child, Command},
    thread,
    time::Duration,
};

/// The tick of `USER_HZ`, the same on all supported architectures.
const TICK: Duration = Duration::from_millis(10);

/// Returns the CPU time of a process, user and system, including threads that have ended.
pub(crate) fn cpu(pid: u32) -> io::Result<Duration> {
    Ok(ticks(&format!("/proc/{pid}/stat"), 13..15)? * TICK)
}

/// Returns the CPU time of all children of this process that have been waited for.
pub(crate) fn children_cpu() -> io::Result<Duration> {
    Ok(ticks("/proc/self/stat", 15..17)? * TICK)
}

fn ticks(path: &str, fields: std::ops::Range<usize>) -> io::Result<u32> {
    let stat = fs::read_to_string(path)?;
    // The second field is a name in parentheses that may contain spaces.
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    Ok(rest.split(' ').skip(fields.start - 2).take(fields.len()).flat_map(str::parse::<u32>).sum())
}

/// Returns the peak resident memory in bytes.
pub(crate) fn peak_memory(pid: u32) -> io::Result<u64> {
    Ok(number(&format!("/proc/{pid}/status"), "VmHWM:")? * 1024)
}

/// Returns the resident memory in bytes.
pub(crate) fn memory(pid: u32) -> io::Result<u64> {
    Ok(number(&format!("/proc/{pid}/status"), "VmRSS:")? * 1024)
}

/// Returns the number of threads.
pub(crate) fn threads(pid: u32) -> io::Result<u64> {
    number(&format!("/proc/{pid}/status"), "Threads:")
}

/// Returns the number of open file descriptors.
pub(crate) fn open_files(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Returns the bytes written to storage, or 0 if that cannot be read.
pub(crate) fn written(pid: u32) -> u64 {
    number(&format!("/proc/{pid}/io"), "write_bytes:").unwrap_or(0)
}

fn number(path: &str, key: &str) -> io::Result<u64> {
    let text = fs::read_to_string(path)?;
    let value = text.lines().find_map(|line| line.strip_prefix(key));
    let value =
        value.and_then(|value| value.split_whitespace().next()).and_then(|n| n.parse().ok());
    value.ok_or_else(|| io::Error::other(format!("no {key} in {path}")))
}

/// Counts the syncs of a process with `strace`, which distorts all other measurements meanwhile.
pub(crate) struct Syncs {
    strace: Child,
    summary: PathBuf,
}

impl Syncs {
    /// Starts counting. `summary` is an output file for strace.
    pub(crate) fn of(pid: u32, summary: PathBuf) -> io::Result<Self> {
        let mut strace = Command::new("strace")
            .args(["-f", "-q", "-c", "-e", "trace=fsync,fdatasync", "-o"])
            .arg(&summary)
            .args(["-p", &pid.to_string()])
            .spawn()?;
        while number(&format!("/proc/{pid}/status"), "TracerPid:")? == 0 {
            if let Some(status) = strace.try_wait()? {
                return Err(io::Error::other(format!("strace ended with {status}")));
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { strace, summary })
    }

    /// Stops counting, and returns the number of syncs.
    pub(crate) fn count(mut self) -> io::Result<u32> {
        Command::new("kill").args(["-INT", &self.strace.id().to_string()]).status()?;
        self.strace.wait()?;
        let text = fs::read_to_string(&self.summary)?;
        let rows = text.lines().filter(|line| line.ends_with("sync"));
        Ok(rows.filter_map(|row| row.split_whitespace().nth(3)?.parse::<u32>().ok()).sum())
    }
}
