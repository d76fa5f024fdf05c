//! What the kernel says of a process: CPU, memory, bytes written.

use std::{fs, io, time::Duration};

/// `USER_HZ`, which Linux shows to programs on every machine that we build for.
const TICK: Duration = Duration::from_millis(10);

/// CPU of a process, user and system, all threads, those that ended too.
pub(crate) fn cpu(pid: u32) -> io::Result<Duration> {
    Ok(ticks(&format!("/proc/{pid}/stat"), 13..15)? * TICK)
}

/// CPU of all children of this process that have been waited for.
pub(crate) fn children_cpu() -> io::Result<Duration> {
    Ok(ticks("/proc/self/stat", 15..17)? * TICK)
}

fn ticks(path: &str, fields: std::ops::Range<usize>) -> io::Result<u32> {
    let stat = fs::read_to_string(path)?;
    // The second field is a name in parentheses that may hold blanks.
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    Ok(rest.split(' ').skip(fields.start - 2).take(fields.len()).flat_map(str::parse::<u32>).sum())
}

/// The most memory that it ever held, in bytes.
pub(crate) fn peak_memory(pid: u32) -> io::Result<u64> {
    Ok(number(&format!("/proc/{pid}/status"), "VmHWM:")? * 1024)
}

/// The memory that it holds now, in bytes.
pub(crate) fn memory(pid: u32) -> io::Result<u64> {
    Ok(number(&format!("/proc/{pid}/status"), "VmRSS:")? * 1024)
}

/// How many threads it has.
pub(crate) fn threads(pid: u32) -> io::Result<u64> {
    number(&format!("/proc/{pid}/status"), "Threads:")
}

/// How many files, sockets and the like it has open.
pub(crate) fn open_files(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// What it caused to be written to storage. 0 where that may not be read.
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
