//! Fault injection, only in debug builds: lets tests show the effect of a crash at any operation.
//!
//! `LOGPUSHD_FAULTS` names a file with one fault per line. It is read again when it changes, so that
//! faults can come and go while the daemon runs:
//!
//! - `kill before|after OPERATION PATH COUNT`: sends SIGKILL at the COUNT-th OPERATION on a file whose path
//!   contains PATH (`*`: any);
//! - `tear PATH COUNT`: at the COUNT-th write to such a file, writes half of the bytes, then sends SIGKILL;
//! - `exchange OPERATION PATH TARGET`: after the first OPERATION on such a file, renames the file to
//!   `NAME.away` and creates a symbolic link to TARGET with its name, as another user may do;
//! - `fail ERROR OPERATION PATH`: the operation always fails. ERROR is one of those in [`before`];
//! - `hang OPERATION PATH`: the operation does not return while the line is in the file.

use std::{
    collections::HashMap,
    env, fs,
    io::{self, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use rustix::{
    io::Errno,
    process::{Signal, getpid, kill_process},
};

use super::FileOperation;

static FAULTS: LazyLock<Option<Mutex<Faults>>> = LazyLock::new(|| {
    let file = env::var_os("LOGPUSHD_FAULTS")?;
    Some(Mutex::new(Faults { file: file.into(), ..Faults::default() }))
});

/// The interval at which a hanging operation checks whether it has to continue.
const HANG_PAUSE: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Faults {
    file: PathBuf,
    changed: Option<SystemTime>,
    lines: Vec<String>,
    /// The number of matches of each line.
    met: HashMap<String, u32>,
}

impl Faults {
    fn lines(&mut self) -> Vec<String> {
        let changed = fs::metadata(&self.file).and_then(|file| file.modified()).ok();
        if changed != self.changed {
            self.changed = changed;
            let text = fs::read_to_string(&self.file).unwrap_or_default();
            self.lines = text.lines().map(str::to_owned).collect();
        }
        self.lines.clone()
    }

    /// Counts a match. Returns whether it is the one to act on.
    fn count(&mut self, line: &str, count: &str) -> bool {
        let met = self.met.entry(line.to_owned()).or_default();
        *met += 1;
        count.parse() == Ok(*met)
    }
}

pub(super) fn before(operation: FileOperation, path: &Path) -> io::Result<()> {
    kill_if("before", operation, path);
    let Some(faults) = &*FAULTS else { return Ok(()) };
    let lines = || faults.lock().unwrap_or_else(PoisonError::into_inner).lines();
    while lines().iter().any(|line| hangs(line, operation, path)) {
        thread::sleep(HANG_PAUSE);
    }
    let lines = lines();
    for line in lines {
        let words: Vec<_> = line.split_whitespace().collect();
        if let ["fail", error, name, part] = words[..]
            && is(operation, name, path, part)
        {
            let errno = match error {
                "ENOSPC" => Errno::NOSPC,
                "EROFS" => Errno::ROFS,
                "EDQUOT" => Errno::DQUOT,
                "EINVAL" => Errno::INVAL,
                "ENAMETOOLONG" => Errno::NAMETOOLONG,
                "EMFILE" => Errno::MFILE,
                "EMLINK" => Errno::MLINK,
                "ENOSYS" => Errno::NOSYS,
                "ENOTSUP" => Errno::OPNOTSUPP,
                "EPERM" => Errno::PERM,
                "EXDEV" => Errno::XDEV,
                _ => Errno::IO,
            };
            return Err(super::error_at(operation.description(), path)(errno.into()));
        }
    }
    Ok(())
}

fn hangs(line: &str, operation: FileOperation, path: &Path) -> bool {
    let words: Vec<_> = line.split_whitespace().collect();
    matches!(words[..], ["hang", name, part] if is(operation, name, path, part))
}

pub(super) fn after(operation: FileOperation, path: &Path) {
    kill_if("after", operation, path);
    exchange(operation, path);
}

fn exchange(operation: FileOperation, path: &Path) {
    let Some(faults) = &*FAULTS else { return };
    let mut faults = faults.lock().unwrap_or_else(PoisonError::into_inner);
    for line in faults.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let ["exchange", name, part, target] = words[..]
            && is(operation, name, path, part)
            && faults.count(&line, "1")
        {
            let mut away = path.as_os_str().to_owned();
            away.push(".away");
            // If this fails, the test finds no link.
            fs::rename(path, &away).and_then(|()| symlink(target, path)).ok();
        }
    }
}

/// Returns the bytes to write.
pub(super) fn tear<'a>(path: &Path, mut file: &fs::File, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
    let Some(faults) = &*FAULTS else { return Ok(bytes) };
    let mut faults = faults.lock().unwrap_or_else(PoisonError::into_inner);
    for line in faults.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let ["tear", part, count] = words[..]
            && is(FileOperation::Write, "write", path, part)
            && faults.count(&line, count)
        {
            file.write_all(bytes.get(..bytes.len() / 2).unwrap_or_default())?;
            kill();
        }
    }
    Ok(bytes)
}

fn kill_if(when: &str, operation: FileOperation, path: &Path) {
    let Some(faults) = &*FAULTS else { return };
    let mut faults = faults.lock().unwrap_or_else(PoisonError::into_inner);
    for line in faults.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let ["kill", moment, name, part, count] = words[..]
            && moment == when
            && is(operation, name, path, part)
            && faults.count(&line, count)
        {
            kill();
        }
    }
}

fn is(operation: FileOperation, name: &str, path: &Path, part: &str) -> bool {
    format!("{operation:?}").eq_ignore_ascii_case(name)
        && (part == "*" || path.to_string_lossy().contains(part))
}

fn kill() -> ! {
    // If this fails, the test finds the process alive.
    kill_process(getpid(), Signal::KILL).ok();
    loop {
        thread::park();
    }
}
