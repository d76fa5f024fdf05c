//! The cookies of one connection: a load balancer recognizes by them which indexer it has chosen.

use reqwest::header::{HeaderMap, HeaderValue, SET_COOKIE};

/// The maximum number of cookies, and of bytes of each: a limit for memory.
const MAX_COOKIES: usize = 16;
const MAX_BYTES: usize = 4096;

/// Names and values of cookies. All requests go to one origin, so the attributes `Domain`, `Path`
/// and `Secure` exclude no request.
#[derive(Debug, Default)]
pub(super) struct Cookies(Vec<(String, String)>);

impl Cookies {
    /// Stores the cookies of a response. Deletes those that the response expires with `Max-Age`.
    pub(super) fn store(&mut self, headers: &HeaderMap) {
        for cookie in headers.get_all(SET_COOKIE) {
            // RFC 6265, section 5.2: `NAME=VALUE; ATTRIBUTE=VALUE; ...`.
            let Ok(text) = cookie.to_str() else { continue };
            let mut parts = text.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            let (name, value) = (name.trim(), value.trim());
            let is_expired = parts.any(|attribute| {
                let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
                name.eq_ignore_ascii_case("max-age")
                    && value.parse::<i64>().is_ok_and(|seconds| seconds <= 0)
            });
            self.0.retain(|(known, _)| known != name);
            let fits = self.0.len() < MAX_COOKIES && name.len() + value.len() <= MAX_BYTES;
            if !is_expired && fits && !name.is_empty() {
                self.0.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    /// The value of the header `Cookie`. `None` without cookies.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let pairs: Vec<_> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut header = HeaderValue::from_str(&pairs.join("; ")).ok()?;
        header.set_sensitive(true);
        (!pairs.is_empty()).then_some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_replaced_expired_and_bounded() {
        let mut cookies = Cookies::default();
        assert_eq!(cookies.header(), None);
        let mut store = |headers: &[&str]| {
            let headers =
                headers.iter().map(|value| (SET_COOKIE, value.parse::<HeaderValue>().unwrap()));
            cookies.store(&headers.collect());
            cookies.header().map(|header| header.to_str().unwrap().to_owned())
        };
        let first = store(&["AWSALB=a=; Expires=Thu, 01 Jan 2037 00:00:00 GMT; Path=/", "b=2"]);
        assert_eq!(first.as_deref(), Some("AWSALB=a=; b=2"));
        assert_eq!(store(&["AWSALB=c; Max-Age=60; HttpOnly"]).as_deref(), Some("b=2; AWSALB=c"));
        assert_eq!(store(&["b=; max-age=0", "novalue", "=x"]).as_deref(), Some("AWSALB=c"));
        let many: Vec<_> = (0..100).map(|number| format!("n{number}=v")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(store(&many).unwrap().matches('=').count(), MAX_COOKIES);
    }
}
