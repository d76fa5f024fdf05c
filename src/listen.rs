//! Binding, and the accept loop that no error can end.
//!
//! Hands over bare TCP connections, each with the permit that it holds. Knows nothing of TLS and
//! HTTP: what is slow happens in the task that the callback starts, never here.

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

/// Without a pause an accept that fails for want of a file descriptor fails again at once, and the
/// loop eats a core; anything longer delays those that could be accepted again.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// The same trouble is logged no more often than this.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Where connections come from.
pub trait Accept: Send {
    /// A connection.
    type Stream: Send;

    /// Waits for the next one. Dropping the future must lose none.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = Self::accept(self).await?;
        // Answers are small and final: there is nothing to gather. A connection that died meanwhile
        // refuses the option, and whoever reads from it finds out.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "cannot set TCP_NODELAY");
        }
        Ok((stream, peer))
    }
}

/// Accepts until `stop` is cancelled (or `permits` is closed), whatever errors there are.
///
/// Takes a permit *before* it accepts: beyond the limit, connections wait in the kernel's backlog
/// and cost the process nothing. `on_connection` must not block: it spawns.
pub async fn accept_loop<A: Accept>(
    mut listener: A,
    permits: Arc<Semaphore>,
    stop: CancellationToken,
    on_connection: impl Fn(A::Stream, SocketAddr, OwnedSemaphorePermit) + Send,
) {
    let complaints = Throttle::new(1, LOG_INTERVAL);
    let crowded = Throttle::new(1, LOG_INTERVAL);
    let accept_all = async {
        while let Some(permit) = next_permit(&permits, &crowded).await {
            let (stream, peer) = next_connection(&mut listener, &complaints).await;
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
    complaints: &Throttle,
) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
        return Some(permit);
    }
    // Whoever opens and closes connections at the limit causes this over and over.
    let admitted = complaints.admit(Instant::now());
    if let Some(withheld) = admitted {
        warn!(
            withheld,
            "this listener has all the connections it may have: new ones wait until one ends"
        );
    }
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    if admitted.is_some() {
        info!("a connection is free again");
    }
    Some(permit)
}

async fn next_connection<A: Accept>(
    listener: &mut A,
    complaints: &Throttle,
) -> (A::Stream, SocketAddr) {
    loop {
        let error = match listener.accept().await {
            Ok(connection) => return connection,
            Err(error) => error,
        };
        match Trouble::of(&error) {
            Trouble::Connection => {
                debug!(%error, "a connection was gone before it was accepted");
                continue;
            }
            Trouble::Resources => {
                if let Some(suppressed) = complaints.admit(Instant::now()) {
                    error!(
                        %error,
                        suppressed,
                        "out of resources for new connections: raise LimitNOFILE or lower \
                         limits.max_connections"
                    );
                }
            }
            Trouble::Unknown => {
                if let Some(suppressed) = complaints.admit(Instant::now()) {
                    error!(%error, suppressed, "cannot accept connections: trying on");
                }
            }
        }
        sleep(PAUSE_AFTER_ERROR).await;
    }
}

/// What an error of accept is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Trouble {
    /// One connection, which is gone: the next may be sound. Linux hands out errors that are
    /// already pending on the new socket, see accept(2).
    Connection,
    /// Something has run out that others may give back.
    Resources,
    /// Anything else.
    Unknown,
}

impl Trouble {
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
    fn errors_are_sorted_in_three() {
        let table = [
            (Errno::CONNABORTED, Trouble::Connection),
            (Errno::CONNRESET, Trouble::Connection),
            (Errno::INTR, Trouble::Connection),
            (Errno::NETDOWN, Trouble::Connection),
            (Errno::PROTO, Trouble::Connection),
            (Errno::NOPROTOOPT, Trouble::Connection),
            (Errno::HOSTDOWN, Trouble::Connection),
            (Errno::NONET, Trouble::Connection),
            (Errno::HOSTUNREACH, Trouble::Connection),
            (Errno::OPNOTSUPP, Trouble::Connection),
            (Errno::NETUNREACH, Trouble::Connection),
            (Errno::MFILE, Trouble::Resources),
            (Errno::NFILE, Trouble::Resources),
            (Errno::NOMEM, Trouble::Resources),
            (Errno::NOBUFS, Trouble::Resources),
            (Errno::BADF, Trouble::Unknown),
            (Errno::INVAL, Trouble::Unknown),
        ];
        for (errno, expected) in table {
            assert_eq!(Trouble::of(&errno.into()), expected, "{errno}");
        }
        assert_eq!(Trouble::of(&io::Error::other("no number")), Trouble::Unknown);
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
    async fn a_connection_that_had_to_wait_loses_nothing() {
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
    async fn beyond_the_limit_nothing_is_accepted() {
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
        // The second was there at once: had it been accepted, it would have been without a pause.
        assert!(arrivals.try_recv().is_err());
        drop(permit);
        assert_eq!(arrivals.recv().await.unwrap().0, "second");
        stop.cancel();
        task.await.unwrap();
    }

    /// Plays back results, then waits for ever.
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
