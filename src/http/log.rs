//! What the log says of a refused request.

use std::{net::SocketAddr, time::Instant};

use hyper::http::request;
use tracing::warn;

use super::{answer, hec, refusal::Refusal};
use crate::{config::Protocol, printable::clipped, throttle::Throttle};

/// A path is the sender's: this much of it is repeated.
const PATH_CHARS: usize = 128;

/// The longest method that anyone uses has 17: `UPDATEREDIRECTREF`.
const METHOD_CHARS: usize = 24;

/// Says what an operator needs to mend it: never a header, a query or a body.
pub(super) fn refused(
    throttle: &Throttle,
    refusal: &Refusal,
    head: &request::Parts,
    peer: SocketAddr,
    (endpoint, protocol): (&str, Protocol),
    declared: Option<u64>,
) {
    let Some(withheld) = throttle.admit(Instant::now()) else { return };
    if withheld > 0 {
        warn!(withheld, "refusals were not logged: there were too many");
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
        status = answer::status(protocol, refusal).as_u16(), %peer, method, path, endpoint, length = declared,
        why, "refused"
    );
}
