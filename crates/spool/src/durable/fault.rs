//! Faults on demand, in debug builds alone: how the tests show what a crash at any place costs.
//!
//! `LOGPUSHD_FAULTS` names a file. It holds one fault a line, and is read again when it changes, so
//! that a fault can come and go while the daemon runs:
//!
//! - `kill before|after STEP PATH COUNT`: SIGKILL at the COUNT-th time that STEP comes to a file whose
//!   path holds PATH (`*`: any);
//! - `tear PATH COUNT`: at the COUNT-th write to such a file, half of it is written, then SIGKILL;
//! - `exchange STEP PATH TARGET`: the first time that STEP was done to such a file, the file gets the
//!   name `NAME.away`, and a symbolic link to TARGET takes its place, as another user may do it;
//! - `fail ERROR STEP PATH`: the step fails, every time. ERROR is one of those in [`before`];
//! - `hang STEP PATH`: the step does not return for as long as the line is in the file.

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

use super::Step;

static FAULTS: LazyLock<Option<Mutex<Faults>>> = LazyLock::new(|| {
    let file = env::var_os("LOGPUSHD_FAULTS")?;
    Some(Mutex::new(Faults { file: file.into(), ..Faults::default() }))
});

/// How often a step that hangs looks whether it still does.
const HANG_PAUSE: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Faults {
    file: PathBuf,
    changed: Option<SystemTime>,
    lines: Vec<String>,
    /// How often a line was met.
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

    /// Whether it is this time.
    fn count(&mut self, line: &str, count: &str) -> bool {
        let met = self.met.entry(line.to_owned()).or_default();
        *met += 1;
        count.parse() == Ok(*met)
    }
}

pub(super) fn before(step: Step, path: &Path) -> io::Result<()> {
    kill_if("before", step, path);
    let Some(faults) = &*FAULTS else { return Ok(()) };
    let lines = || faults.lock().unwrap_or_else(PoisonError::into_inner).lines();
    while lines().iter().any(|line| hangs(line, step, path)) {
        thread::sleep(HANG_PAUSE);
    }
    let lines = lines();
    for line in lines {
        let words: Vec<_> = line.split_whitespace().collect();
        if let ["fail", error, name, part] = words[..]
            && is(step, name, path, part)
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
            return Err(super::at(step.gerund(), path)(errno.into()));
        }
    }
    Ok(())
}

fn hangs(line: &str, step: Step, path: &Path) -> bool {
    let words: Vec<_> = line.split_whitespace().collect();
    matches!(words[..], ["hang", name, part] if is(step, name, path, part))
}

pub(super) fn after(step: Step, path: &Path) {
    kill_if("after", step, path);
    exchange(step, path);
}

fn exchange(step: Step, path: &Path) {
    let Some(faults) = &*FAULTS else { return };
    let mut faults = faults.lock().unwrap_or_else(PoisonError::into_inner);
    for line in faults.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let ["exchange", name, part, target] = words[..]
            && is(step, name, path, part)
            && faults.count(&line, "1")
        {
            let mut away = path.as_os_str().to_owned();
            away.push(".away");
            // If it did not work, the test finds no link.
            fs::rename(path, &away).and_then(|()| symlink(target, path)).ok();
        }
    }
}

/// Gives back the bytes to write.
pub(super) fn tear<'a>(path: &Path, mut file: &fs::File, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
    let Some(faults) = &*FAULTS else { return Ok(bytes) };
    let mut faults = faults.lock().unwrap_or_else(PoisonError::into_inner);
    for line in faults.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let ["tear", part, count] = words[..]
            && is(Step::Write, "write", path, part)
            && faults.count(&line, count)
        {
            file.write_all(bytes.get(..bytes.len() / 2).unwrap_or_default())?;
            kill();
        }
    }
    Ok(bytes)
}

fn kill_if(when: &str, step: Step, path: &Path) {
    let Some(faults) = &*FAULTS else { return };
    let mut faults = faults.lock().unwrap_or_else(PoisonError::into_inner);
    for line in faults.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let ["kill", moment, name, part, count] = words[..]
            && moment == when
            && is(step, name, path, part)
            && faults.count(&line, count)
        {
            kill();
        }
    }
}

fn is(step: Step, name: &str, path: &Path, part: &str) -> bool {
    format!("{step:?}").eq_ignore_ascii_case(name)
        && (part == "*" || path.to_string_lossy().contains(part))
}

fn kill() -> ! {
    // If it did not work, the test finds the process alive.
    kill_process(getpid(), Signal::KILL).ok();
    loop {
        thread::park();
    }
}
