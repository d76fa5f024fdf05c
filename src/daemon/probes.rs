//! Reports the daemon's state: on the admin listener, and to a service manager.
//!
//! Nothing here waits for a disk or uses the threads for blocking work: these reports must work
//! when a disk hangs.

use std::{io, sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Daemon, OVERFLOW_CONNECTIONS, process::ProcessReader};
use crate::{admin, spool::SpoolStatus};

/// A readiness probe tests the disk if its last write is older than this: a disk may hang while no
/// batch arrives.
const READINESS_AGE: Duration = Duration::from_secs(10);

/// Other requests test the disk only after a failure.
const NEVER: Duration = Duration::MAX;

impl Daemon {
    pub(super) fn serve_admin(
        &self,
        listener: TcpListener,
    ) -> io::Result<impl Future<Output = ()> + Send + 'static> {
        let process = ProcessReader::start(Arc::clone(&self.metrics))?;
        let (room, metrics) = (SpoolStatus::new(&self.spool), Arc::clone(&self.metrics));
        let (acceptor, log) = (Arc::clone(&self.acceptor), self.log.clone());
        let readiness = self.readiness();
        let render = move || {
            metrics.log_lines_dropped(log.dropped_lines());
            match readiness() {
                Ok(()) => metrics.ready(),
                Err(_) => metrics.not_ready(),
            }
            let (batches, bytes) = room.size();
            metrics.spool(bytes, batches as u64, room.available_bytes());
            if let Some((validity, _)) = acceptor.validity() {
                metrics.certificate_expiry(validity.not_after);
            }
            for lag in room.lags() {
                let sink = metrics.sink(&lag.name);
                sink.lag(lag.oldest.unwrap_or_default());
                sink.backlog(lag.batches, lag.bytes);
                sink.dropped(lag.dropped);
            }
            metrics.render()
        };
        let intake = Arc::clone(&self.intake);
        let prepare = move |path: &str| {
            let (intake, is_probe) = (intake.load(), path == "/readyz");
            let process = (path == "/metrics").then(|| process.clone());
            async move {
                if let Some(process) = process {
                    process.refresh().await;
                }
                intake.ask_disk(if is_probe { READINESS_AGE } else { NEVER }).await;
            }
        };
        // It continues during a shutdown, to report it, and ends with the runtime.
        let hosts = self.config.admin.allowed_hosts.clone();
        let probes = (self.readiness(), render);
        Ok(admin::serve(listener, CancellationToken::new(), hosts, prepare, probes))
    }

    /// Returns why batches are refused now, if they are, without a test of the disk.
    fn readiness(&self) -> impl Fn() -> Result<(), String> + Clone + Send + Sync + 'static {
        let (intake, permits) = (Arc::clone(&self.intake), Arc::clone(&self.permits));
        let acceptor = Arc::clone(&self.acceptor);
        move || match permits.available_permits() {
            ..OVERFLOW_CONNECTIONS => Err(String::from("limits.max_connections is reached")),
            _ => acceptor.readiness().and_then(|()| intake.load().readiness()),
        }
    }

    /// Returns the line for `systemctl status`.
    pub(super) fn status(&self) -> impl Fn() -> String + Clone + Send + 'static {
        let (room, readiness) = (SpoolStatus::new(&self.spool), self.readiness());
        move || match readiness() {
            Ok(()) => format!("receiving; batches in the spool: {}", room.size().0),
            Err(why) => format!("refusing: {why}"),
        }
    }
}
