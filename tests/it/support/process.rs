//! The daemon as a process: its output is collected while it runs, and it never outlives its test.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, PipeReader, Read},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    process::{Pid, Signal, kill_process},
};

use super::wait::{DEADLINE, wait_for};

/// The file of injected faults, beside the configuration.
pub(super) const FAULTS: &str = "faults";

/// The bytes that a process has written so far.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    fn add(&self, bytes: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(bytes);
    }
}

/// A running daemon.
pub(crate) struct Process {
    child: Child,
    pub(crate) stdout: Captured,
    pub(crate) stderr: Captured,
    readers: Vec<JoinHandle<()>>,
    /// Standard error is not read while this is set.
    log_is_unread: Arc<AtomicBool>,
    /// Standard output, if it is open and not read.
    _unread: Option<PipeReader>,
}

/// How a test treats a daemon's standard output.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Output {
    Read,
    /// The pipe is closed at once.
    Closed,
    /// The file is open for reading only.
    ReadOnly,
    /// The pipe is open, and never read.
    Stalled,
    /// The pipe is non-blocking, and read slowly.
    NonBlocking,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    Code(i32),
    Killed,
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        status.code().map_or(Self::Killed, Self::Code)
    }
}

/// What a service manager passes to a daemon.
#[derive(Default)]
pub(crate) struct Service {
    pub(crate) env: Vec<(&'static str, String)>,
    /// A program other than the one of this tree.
    pub(crate) program: Option<PathBuf>,
    /// A listening socket and its name.
    pub(crate) socket: Option<(OwnedFd, &'static str)>,
}

impl Service {
    /// Only a shell can give a descriptor a chosen number: the socket becomes descriptor 3, and the
    /// shell executes the daemon.
    fn command(&self) -> Command {
        let daemon = match &self.program {
            Some(program) => Command::new(program),
            None => logpushd(),
        };
        let mut command = match &self.socket {
            None => daemon,
            Some((socket, name)) => {
                let mut shell = Command::new("sh");
                let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$@\"";
                shell.args(["-c", script, "sh"]).arg(daemon.get_program());
                shell.stdin(socket.try_clone().unwrap());
                shell.envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", name)]);
                shell
            }
        };
        command.envs(self.env.iter().cloned());
        command
    }
}

impl Process {
    pub(crate) fn run(config: &Path, output: Output, service: &Service) -> Self {
        let (pipe, writer) = io::pipe().unwrap();
        if output == Output::NonBlocking {
            let flags = fcntl_getfl(&writer).unwrap();
            fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
        }
        let mut child = service
            .command()
            .args(["run", "-c"])
            .arg(config)
            // Only debug builds read it, and only if it exists.
            .env("LOGPUSHD_FAULTS", config.with_file_name(FAULTS))
            .stdout(if output == Output::ReadOnly { read_only() } else { writer.into() })
            .stderr(Stdio::piped())
            .spawn()
            .expect("the daemon starts");
        let (stdout, stderr) = (Captured::default(), Captured::default());
        let mut readers = Vec::new();
        let mut unread = None;
        match output {
            Output::Read => readers.push(gather(pipe, stdout.clone())),
            Output::Closed | Output::ReadOnly => drop(pipe),
            Output::Stalled => unread = Some(pipe),
            Output::NonBlocking => readers.push(gather(Slow(pipe), stdout.clone())),
        }
        let log_is_unread = Arc::new(AtomicBool::new(false));
        let pausing = Arc::clone(&log_is_unread);
        readers.push(gather_lines(child.stderr.take().unwrap(), stderr.clone(), pausing));
        Self { child, stdout, stderr, readers, log_is_unread, _unread: unread }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).expect("the process runs");
    }

    /// Stops reading standard error until the process has ended.
    pub(crate) fn stop_reading_log(&self) {
        self.log_is_unread.store(true, Ordering::Relaxed);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> Option<Exit> {
        self.child.try_wait().unwrap().map(Exit::from)
    }

    /// Waits for its end and for all of its output.
    #[track_caller]
    pub(crate) fn end(&mut self) -> Exit {
        // The daemon's own deadline for a shutdown is 25 s.
        let started = Instant::now();
        let exit = loop {
            if let Some(exit) = self.has_ended() {
                break exit;
            }
            assert!(started.elapsed() < DEADLINE, "it does not stop");
            thread::sleep(Duration::from_millis(2));
        };
        self.log_is_unread.store(false, Ordering::Relaxed);
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        exit
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
        if thread::panicking() {
            eprintln!("the daemon's log:\n{}", String::from_utf8_lossy(&self.stderr.bytes()));
        }
    }
}

/// A file on which every write fails.
fn read_only() -> Stdio {
    File::open("/dev/null").unwrap().into()
}

/// A reader that keeps its pipe full.
struct Slow(PipeReader);

impl Read for Slow {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        thread::sleep(Duration::from_micros(100));
        let little = bytes.len().min(5000);
        self.0.read(&mut bytes[..little])
    }
}

fn gather(mut pipe: impl Read + Send + 'static, into: Captured) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(bytes @ 1..) = pipe.read(&mut piece) {
            into.add(&piece[..bytes]);
        }
    })
}

fn gather_lines(
    pipe: impl Read + Send + 'static,
    into: Captured,
    pausing: Arc<AtomicBool>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while let Ok(1..) = pipe.read_until(b'\n', &mut line) {
            into.add(&line);
            line.clear();
            while pausing.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(5));
            }
        }
    })
}

/// The result of a command.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
#[track_caller]
pub(crate) fn finish(command: &mut Command) -> Finished {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let (stdout, stderr) = (Captured::default(), Captured::default());
    let readers = [
        gather(child.stdout.take().unwrap(), stdout.clone()),
        gather(child.stderr.take().unwrap(), stderr.clone()),
    ];
    let status = wait_for("the end of a command", || child.try_wait().unwrap());
    for reader in readers {
        reader.join().unwrap();
    }
    let text = |captured: &Captured| String::from_utf8_lossy(&captured.bytes()).into_owned();
    Finished { exit: status.into(), stdout: text(&stdout), stderr: text(&stderr) }
}

/// The program under test.
pub(crate) fn logpushd() -> Command {
    Command::new(env!("CARGO_BIN_EXE_logpushd"))
}
