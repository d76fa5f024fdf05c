//! Notifies the service manager of the daemon's state by `sd_notify(3)`. Without a service manager,
//! nothing is sent.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process,
    sync::Arc,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, warn};

/// The time limit of a notification, for a service manager that does not read.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// The interval between updates of the line in `systemctl status`.
const STATUS_INTERVAL: Duration = Duration::from_secs(2);

/// The time limit of startup. Listing a huge spool on a slow disk may take longer than systemd's
/// default of 90 s, and a restart would not help.
const OPENING: Duration = Duration::from_secs(600);

/// The connection to the service manager, if there is one.
#[derive(Debug, Default)]
pub(super) struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// The time after which the service manager kills the process unless it is notified.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`. They stay in the environment,
    /// since this process starts no other process.
    pub(super) fn from_env() -> Self {
        let Some(address) = env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        let number = |name: &str| env::var(name).ok().and_then(|text| text.parse().ok());
        let is_for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| is_for_us && *usec > 0);
        Self::at(&address, watchdog.map(Duration::from_micros))
    }

    fn at(address: &OsStr, watchdog: Option<Duration>) -> Self {
        match open(address) {
            Ok(socket) => Self { socket: Some(socket), watchdog },
            Err(error) => {
                let address = address.to_string_lossy();
                warn!(%address, %error, "cannot notify the service manager: NOTIFY_SOCKET");
                Self::default()
            }
        }
    }

    /// Reports that startup has begun.
    pub(super) fn opening(&self) {
        let micros = OPENING.as_micros();
        self.send(&format!("STATUS=opening the spool\nEXTEND_TIMEOUT_USEC={micros}"));
    }

    /// Reports that requests are served with the current configuration.
    pub(super) fn ready(&self) {
        self.send("READY=1");
    }

    /// Reports that a reload has begun. [`ServiceManager::ready`] must follow.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// Reports that the shutdown has begun.
    pub(super) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping: sinks deliver their backlog");
    }

    /// Notifies the watchdog as long as the runtime runs tasks. The daemon itself detects tasks
    /// that have ended. Disks are not checked: if a disk hangs, a restart would not help.
    pub(super) async fn keep_alive(&self) {
        let Some(watchdog) = self.watchdog else { return std::future::pending().await };
        let mut ticks = interval(watchdog / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // On a thread that serves requests, which the current thread does not.
            if tokio::spawn(async {}).await.is_ok() {
                self.send("WATCHDOG=1");
            }
        }
    }

    /// Updates the line in `systemctl status` when it changes.
    pub(super) async fn keep_status(self: Arc<Self>, line: impl Fn() -> String + Send + 'static) {
        if self.socket.is_none() {
            return std::future::pending().await;
        }
        let mut last = String::new();
        let mut ticks = interval(STATUS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let status = line();
            if status != last {
                self.send(&format!("STATUS={}", status.replace('\n', " ")));
                last = status;
            }
        }
    }

    fn send(&self, text: &str) {
        let Some((socket, address)) = &self.socket else { return };
        loop {
            match socket.send_to_addr(text.as_bytes(), address) {
                Ok(_) => return,
                // The process was suspended and resumed.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    debug!(%error, text, "cannot notify the service manager");
                    return;
                }
            }
        }
    }
}

/// Opens a socket for `address`, which is a path, or `@` and an abstract name.
fn open(address: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(OsString::from(address))?,
        _ => return Err(io::Error::other("neither a path nor @ and a name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::blocking;

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 4096];
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // With a timeout, `recv` also returns when the tests are suspended and resumed.
        let length = loop {
            match socket.recv(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                length => break length.unwrap(),
            }
        };
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn paths_and_abstract_names_are_reached() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        ServiceManager::at(path.as_os_str(), None).ready();
        assert_eq!(received(&socket), "READY=1");

        let name = format!("logpushd-test-{}", process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let manager = ServiceManager::at(OsStr::new(&format!("@{name}")), None);
        manager.stopping();
        assert!(received(&socket).starts_with("STOPPING=1\n"));
    }

    #[test]
    fn a_reload_reports_when_it_began() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let manager = ServiceManager::at(path.as_os_str(), None);
        let usec = || {
            manager.reloading();
            let text = received(&socket);
            text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse::<u64>().unwrap()
        };
        let first = usec();
        assert!(first > 0 && usec() >= first);
    }

    #[test]
    fn a_missing_or_unusable_socket_is_ignored() {
        ServiceManager::default().ready();
        ServiceManager::at(OsStr::new("/nonexistent/notify"), None).ready();
        for odd in ["", "relative", "vsock:2:1234"] {
            assert!(ServiceManager::at(OsStr::new(odd), None).socket.is_none(), "{odd}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn the_watchdog_is_notified_twice_per_interval() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let watchdog = Duration::from_millis(100);
        let begun = Instant::now();
        let manager = ServiceManager::at(path.as_os_str(), Some(watchdog));
        let received = blocking::run(move || [(); 5].map(|()| received(&socket)));
        tokio::select! {
            () = manager.keep_alive() => {}
            received = received => assert_eq!(received.unwrap(), ["WATCHDOG=1"; 5]),
        }
        assert!(begun.elapsed() >= watchdog * 2, "the first is sent at once");
    }
}
