//! URLs with placeholders, for requests.

use std::{fmt, net::IpAddr};

use reqwest::Url;
use settings::{Context, Value, reference::Takes, setting};

use crate::origin_text::fill;

/// Stands for the secret in a URL, and the same in a path after parsing.
pub(super) const SECRET: &str = "{secret}";
pub(super) const SECRET_IN_PATH: &str = "%7Bsecret%7D";

/// An `http://` or `https://` URL with placeholders for dataset and endpoint in its path and query.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpUrl(String);

setting! {
    /// A URL in which `{dataset}` and `{endpoint}` are filled in.
    pub struct UrlTemplate(HttpUrl): Takes::String("URL"), read by url;
}

setting! {
    /// A URL in which also `{secret}` is filled in, with [`SecretInUrl`].
    ///
    /// [`SecretInUrl`]: super::SecretInUrl
    pub struct SecretUrlTemplate(HttpUrl): Takes::String("URL"), read by secret_url;
}

impl HttpUrl {
    /// Fills in the names of a dataset and an endpoint, which need no escaping.
    ///
    /// # Errors
    /// The URL did not pass validation.
    pub fn fill(&self, dataset: &str, endpoint: &str) -> Result<Url, String> {
        let text = fill(&self.0, dataset, endpoint);
        Url::parse(&text).map_err(|error| format!("cannot use the URL {}: {error}", self.0))
    }

    /// Whether it contains `{secret}`, which [`HttpSender`] fills in.
    ///
    /// [`HttpSender`]: super::HttpSender
    pub fn has_secret(&self) -> bool {
        self.0.contains(SECRET)
    }

    /// Whether requests are encrypted.
    pub fn is_https(&self) -> bool {
        self.fill("dataset", "endpoint").is_ok_and(|url| url.scheme() == "https")
    }

    /// Whether requests cross a network in clear text.
    pub fn is_clear_text(&self) -> bool {
        let Ok(url) = self.fill("dataset", "endpoint") else { return false };
        url.scheme() == "http" && !url.host_str().is_some_and(is_loopback)
    }

    /// Parses and validates a URL.
    ///
    /// # Errors
    /// The fault, as a predicate of the URL, and what to do.
    pub(crate) fn parse(text: &str) -> Result<Self, (String, &'static str)> {
        const FORM: &str = "write a URL such as \"https://collector.example.com/{dataset}\"";
        let filled = Self(text.to_owned()).fill("dataset", "endpoint");
        let url = match filled {
            Ok(url) if matches!(url.scheme(), "http" | "https") => url,
            _ => return Err(("is not an http:// or https:// URL".to_owned(), FORM)),
        };
        if !url.username().is_empty() || url.password().is_some() {
            // Diagnostics print the line of the configuration.
            let hint = "send the credentials in a header of `secret_headers`";
            return Err(("contains a user name or a password".to_owned(), hint));
        }
        if url.fragment().is_some() {
            let hint = "remove it: a fragment is never sent";
            return Err(("contains a fragment".to_owned(), hint));
        }
        let hint = "use {dataset} and {endpoint} in the path and the query only";
        if Self(text.to_owned()).fill("a", "b").is_ok_and(|other| other.origin() != url.origin()) {
            return Err(("contains a placeholder in its host".to_owned(), hint));
        }
        let literal = fill(text, "", "");
        if literal.contains(['{', '}']) {
            return Err(("contains an unknown placeholder".to_owned(), hint));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Appends `path` to a base URL, unless the URL ends with it.
pub(crate) fn with_path(mut base: Url, path: &str) -> Url {
    let own = base.path().trim_end_matches('/');
    if !own.ends_with(path) {
        let path = format!("{own}{path}");
        base.set_path(&path);
    }
    base
}

/// Whether the host of a URL is a loopback address.
fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Reads a URL with placeholders.
pub(crate) fn url(value: &Value<'_>, cx: &mut Context) -> Option<HttpUrl> {
    let text = value.string(cx)?.into_inner();
    parse(&text, value, cx)
}

fn secret_url(value: &Value<'_>, cx: &mut Context) -> Option<HttpUrl> {
    let text = value.string(cx)?.into_inner();
    // The rules for `{secret}` are those for the other placeholders.
    parse(&text.replace(SECRET, "{dataset}"), value, cx).map(|_| HttpUrl(text))
}

fn parse(text: &str, value: &Value<'_>, cx: &mut Context) -> Option<HttpUrl> {
    match HttpUrl::parse(text) {
        Ok(url) => Some(url),
        Err((fault, hint)) => {
            let message = format!("`{}` {fault}", value.name());
            cx.push(value.problem(message).hint(hint));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_in_path_and_query_are_filled_in() {
        let url = HttpUrl::parse("https://a.example/in/{dataset}?from={endpoint}").unwrap();
        let filled = url.fill("http_requests", "Main-1").unwrap();
        assert_eq!(filled.as_str(), "https://a.example/in/http_requests?from=Main-1");
    }

    #[test]
    fn an_unsuitable_url_is_refused() {
        for (text, expected) in [
            ("collector.example.com", "is not an http"),
            ("ftp://a.example/", "is not an http"),
            ("https://", "is not an http"),
            ("https://user:hidden@a.example/", "a user name or a password"),
            ("https://hidden@a.example/", "a user name or a password"),
            ("https://a.example/#b", "a fragment"),
            ("https://{dataset}.example/", "a placeholder in its host"),
            ("https://a.example/{data}", "unknown placeholder"),
        ] {
            let (fault, _) = HttpUrl::parse(text).unwrap_err();
            assert!(fault.contains(expected) && !fault.contains("hidden"), "{text}: {fault}");
        }
    }

    #[test]
    fn a_secret_is_a_placeholder_of_some_urls_only() {
        assert!(HttpUrl::parse("https://a.example/{secret}").is_err());
        let url = HttpUrl("https://a.example/in/{secret}".to_owned());
        assert!(url.has_secret() && url.is_https());
        assert!(url.fill("a", "b").unwrap().as_str().ends_with(SECRET_IN_PATH));
    }

    #[test]
    fn http_to_another_host_is_clear_text() {
        for (text, expected) in [
            ("http://a.example/", true),
            ("http://192.0.2.1:8080/", true),
            ("https://a.example/", false),
            ("http://localhost:8080/", false),
            ("http://127.0.0.9/", false),
            ("http://[::1]/", false),
        ] {
            assert_eq!(HttpUrl::parse(text).unwrap().is_clear_text(), expected, "{text}");
        }
    }
}
