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

/// The action that a signal requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SignalAction {
    /// Read the configuration again.
    Reload,
    /// Reopen the files that are written to.
    Reopen,
    /// Stop. The value is the name of the signal.
    Stop(&'static str),
}

/// Signals that have no meaning for the daemon and by default end it, with their numbers on Linux.
/// Without a handler for SIGXFSZ, one file over `RLIMIT_FSIZE` would end all sinks instead of
/// failing one.
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

/// Realtime signals. The C library reserves those below, and musl also the first of these.
const REALTIME: RangeInclusive<i32> = 34..=63;

/// `SIGRTMAX`, the one signal that tokio (1.54) does not accept.
const LAST_REALTIME: i32 = 64;

/// The interval at which a repeated signal is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The signals that the daemon handles from the beginning of startup.
pub(super) struct Signals {
    hangup: Signal,
    reopen: Signal,
    ignored: Vec<Ignored>,
    last_realtime: LastRealtime,
}

struct Ignored {
    name: String,
    signal: Signal,
    throttle: Throttle,
}

/// [`LAST_REALTIME`]. Its handler writes a byte to a socket.
struct LastRealtime {
    bytes: UnixStream,
    throttle: Throttle,
}

/// The signals that stop the daemon. Until they are handled, they end the process at once: startup
/// may take long, and has nothing to finish.
pub(super) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        let named = IGNORED.map(|(name, number)| (name.to_owned(), number));
        let realtime = REALTIME.map(|number| (format!("realtime {number}"), number));
        // A signal that cannot be handled keeps its default action.
        let ignored = named.into_iter().chain(realtime).filter_map(|(name, number)| {
            let signal = signal(SignalKind::from_raw(number)).ok()?;
            Some(Ignored { name, signal, throttle: Throttle::new(1, LOG_INTERVAL) })
        });
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            ignored: ignored.collect(),
            last_realtime: LastRealtime::new()?,
        })
    }

    /// Waits for the next signal that requests an action.
    pub(super) async fn next(&mut self, stops: &mut StopSignals) -> SignalAction {
        poll_fn(|context| self.poll_next(stops, context)).await
    }

    /// Waits for a signal that stops the daemon, and returns its name.
    pub(super) async fn stop(&mut self, stops: &mut StopSignals) -> &'static str {
        loop {
            if let SignalAction::Stop(signal) = self.next(stops).await {
                return signal;
            }
        }
    }

    fn poll_next(
        &mut self,
        stops: &mut StopSignals,
        context: &mut Context<'_>,
    ) -> Poll<SignalAction> {
        self.last_realtime.poll(context);
        let mut is_pending = |signal: &mut Signal| signal.poll_recv(context).is_ready();
        for Ignored { name, signal, throttle } in &mut self.ignored {
            // Only a poll that returns `Pending` registers for the next signal.
            while is_pending(signal) {
                log_ignored(name, throttle);
            }
        }
        let actions = [
            (&mut stops.terminate, SignalAction::Stop("SIGTERM")),
            (&mut stops.interrupt, SignalAction::Stop("SIGINT")),
            (&mut self.hangup, SignalAction::Reload),
            (&mut self.reopen, SignalAction::Reopen),
        ];
        for (signal, action) in actions {
            if is_pending(signal) {
                return Poll::Ready(action);
            }
        }
        Poll::Pending
    }
}

impl LastRealtime {
    fn new() -> io::Result<Self> {
        let (bytes, of_handler) = net::UnixStream::pair()?;
        bytes.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(LAST_REALTIME, of_handler)?;
        let bytes = UnixStream::from_std(bytes)?;
        Ok(Self { bytes, throttle: Throttle::new(1, LOG_INTERVAL) })
    }

    /// Logs the signal if it arrived, and registers for the next one.
    fn poll(&mut self, context: &mut Context<'_>) {
        // The end of the stream would always be ready, so stop there. The handler never closes its
        // side.
        while let Poll::Ready(Ok(())) = self.bytes.poll_read_ready(context) {
            match self.bytes.try_read(&mut [0; 64]) {
                Ok(1..) => log_ignored(&format!("realtime {LAST_REALTIME}"), &mut self.throttle),
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

impl StopSignals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }
}
