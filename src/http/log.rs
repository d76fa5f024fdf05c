//! Logs refused requests.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use hyper::http::request;
use tracing::warn;

use super::{answer, hec, refusal::Refusal};
use crate::{
    audit,
    config::Protocol,
    metrics::RefusalReason,
    printable::clipped,
    throttle::{ClientLimits, ClientThrottle},
};

/// Characters of the sender's path that are logged.
const MAX_PATH_CHARS: usize = 128;

/// Characters of the method that are logged. The longest known one, `UPDATEREDIRECTREF`, has 17.
const MAX_METHOD_CHARS: usize = 24;

/// Rate limit of the log. An operator who tests sees every refusal. An attacker with any number of
/// addresses causes three lines a second for each reason.
const LIMITS: ClientLimits = ClientLimits { network: 10, total: 30, per: Duration::from_secs(10) };

/// Limits log lines by the reason of the refusal and the network of the client.
pub(super) type RefusalThrottle = ClientThrottle<{ RefusalReason::COUNT }>;

pub(super) fn refusal_throttle() -> RefusalThrottle {
    RefusalThrottle::new(LIMITS)
}

/// Logs what an operator needs to fix the cause: never a header, a query or a body.
///
/// `peer` precedes all values that the client chose: the filter in `pkg/fail2ban` depends on the
/// order.
pub(super) fn refused(
    throttle: &RefusalThrottle,
    refusal: &Refusal,
    head: &request::Parts,
    peer: SocketAddr,
    (endpoint, protocol): (&str, Protocol),
    declared: Option<u64>,
) {
    if matches!(refusal, Refusal::Unauthorized(_)) {
        audit::authentication_failed(peer.ip(), endpoint);
    }
    let reason = refusal.reason();
    let admitted = throttle.admit(reason as usize, peer.ip(), Instant::now());
    let (Some(withheld), reason) = (admitted, reason.label()) else { return };
    if withheld > 0 {
        warn!(reason, withheld, "refusals were not logged: there were too many");
    }
    let path = clipped(head.uri.path(), MAX_PATH_CHARS);
    let method = clipped(&head.method, MAX_METHOD_CHARS);
    let text = refusal.text();
    let why = match refusal {
        Refusal::Unauthorized(shown) if protocol == Protocol::SplunkHec => hec::advice(*shown),
        Refusal::Unauthorized(_) => {
            "no or wrong secret: compare header_NAME in destination_conf with the endpoint's \
             secret_header and secret_file"
        }
        _ => text.trim_end(),
    };
    warn!(
        status = answer::status(protocol, refusal).as_u16(),
        reason,
        %peer,
        method,
        path,
        endpoint,
        length = declared,
        why,
        "refused"
    );
}
