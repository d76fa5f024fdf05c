//! Receives signals.

use std::{
    future::poll_fn,
    io,
    ops::RangeInclusive,
    os::unix::net,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    net::UnixStream,
    signal::unix::{Signal, SignalKind, signal},
};
use tracing::warn;

use crate::throttle::Throttle;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asked {
    /// Read the configuration again.
    Reload,
    /// Close and open again what is written to.
    Reopen,
    /// Stop, because of the signal of this name.
    Stop(&'static str),
}

/// Signals that would end the process and mean nothing to it, with their numbers on Linux. Without
/// a handler for SIGXFSZ, one file over `RLIMIT_FSIZE` would end all sinks instead of failing one.
///
/// Signals that report a defect (SIGSEGV, SIGABRT and others) and SIGQUIT, which asks for a core
/// dump, keep their default action. The standard library ignores SIGPIPE.
const IGNORED: [(&str, i32); 9] = [
    ("SIGUSR2", 12),
    ("SIGALRM", 14),
    ("SIGSTKFLT", 16),
    ("SIGXCPU", 24),
    ("SIGXFSZ", 25),
    ("SIGVTALRM", 26),
    ("SIGPROF", 27),
    ("SIGIO", 29),
    ("SIGPWR", 30),
];

/// Realtime signals. The C library keeps those below, and musl the first.
const REALTIME: RangeInclusive<i32> = 34..=63;

/// `SIGRTMAX`, the one signal that tokio (1.54) does not accept.
const LAST: i32 = 64;

/// A signal that comes all the time is logged once in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The signals that the daemon handles from its first moment on.
pub(super) struct Signals {
    hangup: Signal,
    reopen: Signal,
    ignored: Vec<Ignored>,
    last: Last,
}

struct Ignored {
    name: String,
    signal: Signal,
    throttle: Throttle,
}

/// [`LAST`], of which each arrival writes a byte to a socket.
struct Last {
    bytes: UnixStream,
    throttle: Throttle,
}

/// The signals that stop it. Until they are asked for they end the process at once: nothing is under
/// way before, and a start may take long.
pub(super) struct Stops {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        let named = IGNORED.map(|(name, number)| (name.to_owned(), number));
        let realtime = REALTIME.map(|number| (format!("realtime {number}"), number));
        // Where one cannot be handled, its default action stays.
        let ignored = named.into_iter().chain(realtime).filter_map(|(name, number)| {
            let signal = signal(SignalKind::from_raw(number)).ok()?;
            Some(Ignored { name, signal, throttle: Throttle::new(1, LOG_INTERVAL) })
        });
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            ignored: ignored.collect(),
            last: Last::new()?,
        })
    }

    /// Waits for the next one that asks for something.
    pub(super) async fn next(&mut self, stops: &mut Stops) -> Asked {
        poll_fn(|context| self.poll_next(stops, context)).await
    }

    /// Waits for one that says to stop, and names it.
    pub(super) async fn stop(&mut self, stops: &mut Stops) -> &'static str {
        loop {
            if let Asked::Stop(signal) = self.next(stops).await {
                return signal;
            }
        }
    }

    fn poll_next(&mut self, stops: &mut Stops, context: &mut Context<'_>) -> Poll<Asked> {
        self.last.poll(context);
        let mut came = |signal: &mut Signal| signal.poll_recv(context).is_ready();
        for Ignored { name, signal, throttle } in &mut self.ignored {
            // Only a poll that finds none arranges for a wake-up by the next.
            while came(signal) {
                log_ignored(name, throttle);
            }
        }
        let asked = [
            (&mut stops.terminate, Asked::Stop("SIGTERM")),
            (&mut stops.interrupt, Asked::Stop("SIGINT")),
            (&mut self.hangup, Asked::Reload),
            (&mut self.reopen, Asked::Reopen),
        ];
        for (signal, asked) in asked {
            if came(signal) {
                return Poll::Ready(asked);
            }
        }
        Poll::Pending
    }
}

impl Last {
    fn new() -> io::Result<Self> {
        let (bytes, of_handler) = net::UnixStream::pair()?;
        bytes.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(LAST, of_handler)?;
        let bytes = UnixStream::from_std(bytes)?;
        Ok(Self { bytes, throttle: Throttle::new(1, LOG_INTERVAL) })
    }

    /// Logs it if it came, and arranges for a wake-up by the next.
    fn poll(&mut self, context: &mut Context<'_>) {
        // The end of the stream would be ready for ever; the handler never closes its side.
        while let Poll::Ready(Ok(())) = self.bytes.poll_read_ready(context) {
            match self.bytes.try_read(&mut [0; 64]) {
                Ok(1..) => log_ignored(&format!("realtime {LAST}"), &mut self.throttle),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => break,
            }
        }
    }
}

fn log_ignored(name: &str, throttle: &mut Throttle) {
    if throttle.admit(Instant::now()).is_some() {
        warn!(signal = name, "signal ignored");
    }
}

impl Stops {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }
}
