//! The header with which a sender authenticates to an endpoint.

use std::fmt::Display;

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};

use crate::config::{self, Auth, Endpoint};

/// Returns the header with the first secret of an endpoint, or `None` if the endpoint requires no
/// secret.
///
/// # Errors
/// The secret file cannot be used: a message with the endpoint, the file and the reason.
pub(super) fn header(endpoint: &Endpoint) -> Result<Option<(HeaderName, HeaderValue)>, String> {
    let (header, scheme, file) = match &endpoint.auth {
        Auth::Secret { header, file } => (header.as_str(), "", file),
        Auth::Token { file } => (AUTHORIZATION.as_str(), "Splunk ", file),
        Auth::None => return Ok(None),
    };
    let unusable = |error: &dyn Display| format!("endpoint {}: {error}", endpoint.name);
    let secrets = config::read_secrets(file).map_err(|error| unusable(&error))?;
    let secret = secrets.first().map(config::Secret::value).unwrap_or_default();
    let name = HeaderName::from_bytes(header.as_bytes()).map_err(|error| unusable(&error))?;
    let shown = format!("{scheme}{secret}");
    let mut value = HeaderValue::from_bytes(shown.as_bytes()).map_err(|error| unusable(&error))?;
    value.set_sensitive(true);
    Ok(Some((name, value)))
}
