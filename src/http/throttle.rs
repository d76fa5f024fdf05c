//! Every refusal is logged, but nobody can fill a disk with them.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use hyper::http::request;
use tracing::warn;

use super::refusal::Refusal;

const WINDOW: Duration = Duration::from_secs(10);
const LINES_PER_WINDOW: u32 = 20;

/// A path is the sender's: this much of it is repeated.
const PATH_CHARS: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Throttle {
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    started: Option<Instant>,
    lines: u32,
    withheld: u64,
}

impl Throttle {
    /// Logs a refusal with what an operator needs to mend it: never a header, a query or a body.
    pub(super) fn log(
        &self,
        refusal: &Refusal,
        head: &request::Parts,
        peer: SocketAddr,
        endpoint: &str,
        declared: Option<u64>,
    ) {
        let Some(withheld) = self.admit(Instant::now()) else { return };
        if withheld > 0 {
            warn!(withheld, "further refusals were not logged");
        }
        let path: String = head.uri.path().chars().take(PATH_CHARS).collect();
        let why = refusal.text();
        let why = match refusal {
            Refusal::Unauthorized => {
                "no or wrong secret: compare header_NAME in destination_conf with the endpoint's secret_header and secret_file"
            }
            _ => why.trim_end(),
        };
        let length = declared.map_or_else(|| "unknown".to_owned(), |bytes| bytes.to_string());
        warn!(
            status = refusal.status().as_u16(), %peer, method = %head.method, ?path, endpoint, length,
            why, "refused"
        );
    }

    /// `None` if there were too many; else how many were withheld before.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.started.is_none_or(|started| now.duration_since(started) >= WINDOW) {
            window.started = Some(now);
            window.lines = 0;
        }
        if window.lines >= LINES_PER_WINDOW {
            window.withheld += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(&mut window.withheld))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_not_repeated() {
        let throttle = Throttle::default();
        let start = Instant::now();
        let logged = (0..1000).filter(|_| throttle.admit(start).is_some()).count();
        assert_eq!(logged, 20);
        assert_eq!(throttle.admit(start + WINDOW), Some(980));
        assert_eq!(throttle.admit(start + WINDOW), Some(0));
    }
}
