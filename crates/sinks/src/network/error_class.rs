//! The class of a failed request, for the metrics.

use http_client::{Phase, RequestError};
use reqwest::StatusCode;

use crate::upload::RequestErrorClass;

/// The class of a request that got no answer.
pub(super) fn of_error(error: &RequestError) -> RequestErrorClass {
    match error.phase {
        Phase::Proxy => RequestErrorClass::Proxy,
        Phase::Resolve => RequestErrorClass::Resolve,
        Phase::Connect => RequestErrorClass::Connect,
        Phase::Handshake => RequestErrorClass::Tls,
        Phase::Exchange if error.is_late() => RequestErrorClass::Timeout,
        Phase::Exchange => RequestErrorClass::Disconnected,
    }
}

/// The class of a status. `None` for success, and where the verdict of the target decides.
pub(super) fn of_status(status: StatusCode) -> Option<RequestErrorClass> {
    match status.as_u16() {
        300..=399 => Some(RequestErrorClass::Redirect),
        401 | 403 | 407 => Some(RequestErrorClass::Credentials),
        404 | 405 | 410 => Some(RequestErrorClass::NotFound),
        408 | 425 | 500..=599 => Some(RequestErrorClass::ServerError),
        429 => Some(RequestErrorClass::Throttled),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{RequestErrorClass as Class, *};

    #[test]
    fn a_status_has_the_class_of_its_cause() {
        for (statuses, expected) in [
            (&[200, 204, 400, 413, 415, 422][..], None),
            (&[301, 308], Some(Class::Redirect)),
            (&[401, 403, 407], Some(Class::Credentials)),
            (&[404, 405, 410], Some(Class::NotFound)),
            (&[408, 500, 503, 599], Some(Class::ServerError)),
            (&[429], Some(Class::Throttled)),
        ] {
            for status in statuses {
                let status = StatusCode::from_u16(*status).unwrap();
                assert_eq!(of_status(status), expected, "{status}");
            }
        }
    }
}
