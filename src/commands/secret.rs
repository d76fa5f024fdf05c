//! How a sender proves itself to an endpoint of the configuration.

use std::fmt::Display;

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};

use crate::config::{self, Auth, Endpoint};

/// The header that shows the first of the endpoint's secrets; `None` if it demands none.
///
/// # Errors
/// A text that names the endpoint, the file and what is wrong with it.
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
