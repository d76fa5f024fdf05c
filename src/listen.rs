//! Binds listeners, and accepts connections. No error ends the accept loop.
//!
//! Passes each TCP connection with its permit to a callback. TLS and HTTP run in the task that the
//! callback starts.

mod bind;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::io::Errno;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

pub use self::bind::{bind, bind_all, bind_beside, excludes};
use crate::throttle::Throttle;

/// Pause after an error. Without it, an accept that fails because there are no file descriptors
/// fails again at once, and the loop uses a whole core. A longer pause would delay new connections.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// Interval between log lines about the same problem.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Source of connections.
pub trait Accept: Send {
    /// A connection.
    type Stream: Send;

    /// Waits for the next connection. Dropping the future must not lose a connection.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = Self::accept(self).await?;
        // Answers are small, so delaying them to combine packets gains nothing. The option fails
        // for a connection that has died meanwhile; reading from it then reports the error.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "cannot set TCP_NODELAY");
        }
        Ok((stream, peer))
    }
}

/// Accepts connections until `stop` is cancelled or `permits` is closed. No error ends it.
///
/// Takes a permit before it accepts: beyond the limit, connections wait in the kernel's backlog and
/// use nothing of the process. `on_connection` must not block; it spawns a task.
pub async fn accept_loop<A: Accept>(
    mut listener: A,
    permits: Arc<Semaphore>,
    stop: CancellationToken,
    on_connection: impl Fn(A::Stream, SocketAddr, OwnedSemaphorePermit) + Send,
) {
    let error_throttle = Throttle::new(1, LOG_INTERVAL);
    let limit_throttle = Throttle::new(1, LOG_INTERVAL);
    let accept_all = async {
        while let Some(permit) = next_permit(&permits, &limit_throttle).await {
            let (stream, peer) = next_connection(&mut listener, &error_throttle).await;
            on_connection(stream, peer, permit);
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = accept_all => {}
    }
}

async fn next_permit(
    permits: &Arc<Semaphore>,
    throttle: &Throttle,
) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
        return Some(permit);
    }
    // Clients that open and close connections at the limit cause this repeatedly.
    let admitted = throttle.admit(Instant::now());
    if let Some(withheld) = admitted {
        warn!(
            withheld,
            "connection limit of this listener reached: new connections wait until one ends"
        );
    }
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    if admitted.is_some() {
        info!("accepting connections again");
    }
    Some(permit)
}

async fn next_connection<A: Accept>(
    listener: &mut A,
    throttle: &Throttle,
) -> (A::Stream, SocketAddr) {
    loop {
        let error = match listener.accept().await {
            Ok(connection) => return connection,
            Err(error) => error,
        };
        match AcceptErrorKind::of(&error) {
            AcceptErrorKind::Connection => {
                debug!(%error, "connection closed before it was accepted");
                continue;
            }
            AcceptErrorKind::Resources => {
                if let Some(suppressed) = throttle.admit(Instant::now()) {
                    error!(
                        %error,
                        suppressed,
                        "out of resources for new connections: raise LimitNOFILE or lower \
                         limits.max_connections"
                    );
                }
            }
            AcceptErrorKind::Unknown => {
                if let Some(suppressed) = throttle.admit(Instant::now()) {
                    error!(%error, suppressed, "cannot accept connections, retrying");
                }
            }
        }
        sleep(PAUSE_AFTER_ERROR).await;
    }
}

/// Kind of an error of accept(2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum AcceptErrorKind {
    /// The connection failed; the next one may succeed. Linux returns errors that are pending on
    /// the new socket.
    Connection,
    /// Out of a resource, such as file descriptors.
    Resources,
    /// Any other error.
    Unknown,
}

impl AcceptErrorKind {
    fn of(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(
                Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::INTR
                | Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH,
            ) => Self::Connection,
            #[cfg(target_os = "linux")]
            Some(Errno::NONET) => Self::Connection,
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => Self::Resources,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, net::Ipv4Addr, sync::Mutex};

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        sync::mpsc,
    };

    use super::*;

    #[test]
    fn errors_are_classified() {
        let table = [
            (Errno::CONNABORTED, AcceptErrorKind::Connection),
            (Errno::CONNRESET, AcceptErrorKind::Connection),
            (Errno::INTR, AcceptErrorKind::Connection),
            (Errno::NETDOWN, AcceptErrorKind::Connection),
            (Errno::PROTO, AcceptErrorKind::Connection),
            (Errno::NOPROTOOPT, AcceptErrorKind::Connection),
            (Errno::HOSTDOWN, AcceptErrorKind::Connection),
            (Errno::NONET, AcceptErrorKind::Connection),
            (Errno::HOSTUNREACH, AcceptErrorKind::Connection),
            (Errno::OPNOTSUPP, AcceptErrorKind::Connection),
            (Errno::NETUNREACH, AcceptErrorKind::Connection),
            (Errno::MFILE, AcceptErrorKind::Resources),
            (Errno::NFILE, AcceptErrorKind::Resources),
            (Errno::NOMEM, AcceptErrorKind::Resources),
            (Errno::NOBUFS, AcceptErrorKind::Resources),
            (Errno::BADF, AcceptErrorKind::Unknown),
            (Errno::INVAL, AcceptErrorKind::Unknown),
        ];
        for (errno, expected) in table {
            assert_eq!(AcceptErrorKind::of(&errno.into()), expected, "{errno}");
        }
        assert_eq!(AcceptErrorKind::of(&io::Error::other("no number")), AcceptErrorKind::Unknown);
    }

    #[tokio::test]
    async fn no_error_ends_the_loop() {
        let script = [Errno::CONNABORTED, Errno::MFILE, Errno::BADF, Errno::MFILE]
            .map(|errno| Err(errno.into()))
            .into_iter()
            .chain([Ok("good"), Err(Errno::NFILE.into()), Ok("later")]);
        let (arrived, mut arrivals) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let task = tokio::spawn(accept_loop(
            Script(script.collect()),
            Arc::new(Semaphore::new(8)),
            stop.clone(),
            move |stream, _, _| arrived.try_send(stream).unwrap(),
        ));
        assert_eq!(arrivals.recv().await, Some("good"));
        assert_eq!(arrivals.recv().await, Some("later"));
        assert!(!task.is_finished());
        stop.cancel();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_waits_loses_no_data() {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let permits = Arc::new(Semaphore::new(1));
        let held = Arc::new(Mutex::new(Vec::new()));
        let (arrived, mut arrivals) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let task = tokio::spawn(accept_loop(listener, permits, stop.clone(), {
            let held = Arc::clone(&held);
            move |stream, peer, permit| {
                held.lock().unwrap().push(permit);
                arrived.try_send((stream, peer)).unwrap();
            }
        }));

        let first = TcpStream::connect(address).await.unwrap();
        let (_stream, peer) = arrivals.recv().await.unwrap();
        assert_eq!(peer, first.local_addr().unwrap());
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(b"x").await.unwrap();

        held.lock().unwrap().clear();
        let (mut stream, _) = arrivals.recv().await.unwrap();
        assert!(stream.nodelay().unwrap());
        assert_eq!(stream.read_u8().await.unwrap(), b'x');

        stop.cancel();
        task.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err(), "still listening");
    }

    #[tokio::test]
    async fn no_connection_is_accepted_beyond_the_limit() {
        let script = [Ok("first"), Ok("second")].into_iter().collect();
        let (arrived, mut arrivals) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let task = tokio::spawn(accept_loop(
            Script(script),
            Arc::new(Semaphore::new(1)),
            stop.clone(),
            move |stream, _, permit| arrived.try_send((stream, permit)).unwrap(),
        ));
        let (stream, permit) = arrivals.recv().await.unwrap();
        assert_eq!(stream, "first");
        // The second connection was ready, so an accept would not have waited.
        assert!(arrivals.try_recv().is_err());
        drop(permit);
        assert_eq!(arrivals.recv().await.unwrap().0, "second");
        stop.cancel();
        task.await.unwrap();
    }

    /// Returns the given results, then waits forever.
    struct Script(VecDeque<io::Result<&'static str>>);

    impl Accept for Script {
        type Stream = &'static str;

        async fn accept(&mut self) -> io::Result<(&'static str, SocketAddr)> {
            match self.0.pop_front() {
                Some(result) => result.map(|stream| (stream, (Ipv4Addr::LOCALHOST, 1).into())),
                None => std::future::pending().await,
            }
        }
    }
}
