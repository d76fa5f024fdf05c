//! What the log says of a refused request.

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

/// A path is the sender's: this much of it is repeated.
const PATH_CHARS: usize = 128;

/// The longest method that anyone uses has 17: `UPDATEREDIRECTREF`.
const METHOD_CHARS: usize = 24;

/// Which refusals are logged. An operator who tries sees each of them. An attacker with any number of
/// addresses gets three lines a second for each reason.
const LIMITS: ClientLimits = ClientLimits { network: 10, total: 30, per: Duration::from_secs(10) };

/// Withholds lines, by the reason of the refusal and the network of the client.
pub(super) type Withholding = ClientThrottle<{ RefusalReason::COUNT }>;

pub(super) fn withholding() -> Withholding {
    Withholding::new(LIMITS)
}

/// Logs what an operator needs to fix the cause: never a header, a query or a body.
///
/// `peer` comes before anything that the client chose, for readers such as fail2ban:
/// `pkg/fail2ban` depends on the order.
pub(super) fn refused(
    withholding: &Withholding,
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
    let admitted = withholding.admit(reason as usize, peer.ip(), Instant::now());
    let (Some(withheld), reason) = (admitted, reason.label()) else { return };
    if withheld > 0 {
        warn!(reason, withheld, "refusals were not logged: there were too many");
    }
    let path = clipped(head.uri.path(), PATH_CHARS);
    let method = clipped(&head.method, METHOD_CHARS);
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
