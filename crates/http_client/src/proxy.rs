//! The proxies that the environment names: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.

use std::{env, error::Error, ffi::OsString, fmt, net::IpAddr, sync::Arc};

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{ClientBuilder, Url};

use crate::HostPort;

/// The names of a variable. The first one that is set counts, as in Go and reqwest.
type Names = [&'static str; 2];

const HTTPS_PROXY: Names = ["HTTPS_PROXY", "https_proxy"];
const HTTP_PROXY: Names = ["HTTP_PROXY", "http_proxy"];
const NO_PROXY: Names = ["NO_PROXY", "no_proxy"];

/// Which requests go through a proxy, and through which one. By default none does.
///
/// A proxy is a forward proxy over HTTP: requests to `https://` URLs go through a tunnel (`CONNECT`),
/// others are forwarded. Requests to this machine never go through a proxy.
#[derive(Clone, Default)]
pub struct Proxies(Option<Arc<Rules>>);

struct Rules {
    https: Option<Proxy>,
    http: Option<Proxy>,
    /// Intercepts what `NO_PROXY` does not exclude.
    matcher: Matcher,
}

/// A proxy.
struct Proxy {
    address: HostPort,
    /// The URL with the credentials.
    url: Url,
}

/// A variable of the environment whose value is not a proxy that can be used. Never contains the
/// value, which may have a password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProxyError {
    variable: &'static str,
    fault: String,
}

impl ProxyError {
    /// What to do.
    pub const HINT: &'static str =
        "write http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, or unset the variable";
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the environment variable {} is no usable proxy: {}", self.variable, self.fault)
    }
}

impl Error for ProxyError {}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |proxy: fn(&Rules) -> &Option<Proxy>| {
            let proxy = self.0.as_deref().and_then(|rules| proxy(rules).as_ref());
            proxy.map(|proxy| proxy.address.to_string())
        };
        let (https, http) = (of(|rules| &rules.https), of(|rules| &rules.http));
        f.debug_struct("Proxies").field("https", &https).field("http", &http).finish()
    }
}

impl Proxies {
    /// Reads the variables of the environment.
    ///
    /// # Errors
    /// The first variable whose value cannot be used.
    pub fn from_env() -> Result<Self, ProxyError> {
        Self::from_variables(|name| env::var_os(name))
    }

    fn from_variables(get: impl Fn(&str) -> Option<OsString>) -> Result<Self, ProxyError> {
        let read =
            |names: Names| names.into_iter().find_map(|name| get(name).map(|value| (name, value)));
        let proxy = |names: Names| match read(names) {
            Some((variable, value)) => Proxy::parse(variable, &value),
            None => Ok(None),
        };
        let (https, http) = (proxy(HTTPS_PROXY)?, proxy(HTTP_PROXY)?);
        if https.is_none() && http.is_none() {
            return Ok(Self::default());
        }
        let excluded = read(NO_PROXY).map(|(_, value)| value.to_string_lossy().into_owned());
        // As curl, separate by commas or spaces.
        let excluded = excluded.unwrap_or_default().replace(char::is_whitespace, ",");
        let matcher = Matcher::builder().all("http://any.invalid").no(excluded).build();
        Ok(Self(Some(Arc::new(Rules { https, http, matcher }))))
    }

    /// Returns the proxy for requests to a URL.
    pub fn of(&self, url: &Url) -> Option<&HostPort> {
        self.0.as_ref()?.of(url).map(|proxy| &proxy.address)
    }

    pub(super) fn apply_to(&self, builder: ClientBuilder) -> ClientBuilder {
        match &self.0 {
            None => builder.no_proxy(),
            Some(rules) => {
                let rules = Arc::clone(rules);
                let choose = move |url: &Url| rules.of(url).map(|proxy| proxy.url.clone());
                builder.proxy(reqwest::Proxy::custom(choose))
            }
        }
    }
}

impl Rules {
    fn of(&self, url: &Url) -> Option<&Proxy> {
        let proxy = if url.scheme() == "https" { &self.https } else { &self.http };
        let proxy = proxy.as_ref()?;
        if is_this_machine(&HostPort::of(url).host) {
            return None;
        }
        // Without path and query, which do not matter.
        let uri: Uri = url.origin().ascii_serialization().parse().ok()?;
        self.matcher.intercept(&uri).map(|_| proxy)
    }
}

impl Proxy {
    /// Parses the value of a variable. An empty value is no proxy.
    fn parse(variable: &'static str, value: &OsString) -> Result<Option<Self>, ProxyError> {
        let failed = |fault: String| ProxyError { variable, fault };
        let value = value.to_str().ok_or_else(|| failed("it is not UTF-8".to_owned()))?.trim();
        if value.is_empty() {
            return Ok(None);
        }
        let url = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
        let url = Url::parse(&url).map_err(|error| failed(error.to_string()))?;
        if url.scheme() != "http" {
            let scheme = url.scheme();
            return Err(failed(format!("{scheme}:// proxies are not supported, only http://")));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(failed("it has more than a host and a port".to_owned()));
        }
        Ok(Some(Self { address: HostPort::of(&url), url }))
    }
}

/// Whether a host is this machine, by its name or its address.
fn is_this_machine(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, ProxyError> {
        Proxies::from_variables(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    fn of(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let proxies = proxies(variables).unwrap();
        proxies.of(&Url::parse(url).unwrap()).map(HostPort::to_string)
    }

    #[test]
    fn the_scheme_of_the_target_decides_which_variable_counts() {
        let both = [("HTTPS_PROXY", "http://a.example:3128"), ("http_proxy", "b.example")];
        assert_eq!(of(&both, "https://x.example/").as_deref(), Some("a.example:3128"));
        assert_eq!(of(&both, "http://x.example/").as_deref(), Some("b.example:80"));
        assert_eq!(of(&both[..1], "http://x.example/"), None);
        let two = [("https_proxy", "http://a.example:1"), ("HTTPS_PROXY", "http://b.example:2")];
        assert_eq!(of(&two, "https://x.example/").as_deref(), Some("b.example:2"));
        let empty = [("HTTPS_PROXY", " "), ("https_proxy", "http://a.example:1")];
        assert_eq!(of(&empty, "https://x.example/"), None);
        assert_eq!(of(&[], "https://x.example/"), None);
        let all = [("ALL_PROXY", "http://a.example:1")];
        assert_eq!(of(&all, "https://x.example/"), None);
    }

    #[test]
    fn excluded_hosts_and_this_machine_are_reached_directly() {
        let excluded = "b.example,.c.example 192.0.2.0/24, 2001:db8::1";
        let variables = [("HTTPS_PROXY", "http://a.example:1"), ("NO_PROXY", excluded)];
        for (host, is_proxied) in [
            ("x.example", true),
            ("b.example:8443", false),
            ("B.example", false),
            ("in.b.example", false),
            ("notb.example", true),
            ("in.c.example", false),
            ("192.0.2.77", false),
            ("192.0.3.77", true),
            ("[2001:db8::1]", false),
            ("[2001:db8::2]", true),
            ("localhost:8088", false),
            ("in.localhost", false),
            ("127.8.8.8", false),
            ("[::1]:9200", false),
        ] {
            let proxy = of(&variables, &format!("https://{host}/in?a=b"));
            assert_eq!(proxy.is_some(), is_proxied, "{host}");
        }
        let none = [("HTTPS_PROXY", "http://a.example:1"), ("no_proxy", "*")];
        assert_eq!(of(&none, "https://x.example/"), None);
    }

    #[test]
    fn an_unusable_value_is_reported_without_its_password() {
        for (value, fault) in [
            ("socks5://user:hidden@a.example:1080", "socks5:// proxies are not supported"),
            ("https://user:hidden@a.example", "https:// proxies are not supported"),
            ("http://user:hidden@a.example:99999", "invalid port number"),
            ("http://user:hidden@", "empty host"),
            ("http://user:hidden@a.example/path", "more than a host and a port"),
            ("a.example:3128?hidden", "more than a host and a port"),
        ] {
            let error = proxies(&[("https_proxy", value)]).unwrap_err().to_string();
            let begin = "the environment variable https_proxy is no usable proxy: ";
            assert!(error.starts_with(begin) && error.contains(fault), "{value}: {error}");
            assert!(!error.contains("hidden"), "{error}");
        }
        let usable = proxies(&[("HTTPS_PROXY", "http://user:hidden@a.example:3128")]).unwrap();
        let text = format!("{usable:?}");
        assert!(text.contains("a.example:3128") && !text.contains("hidden"), "{text}");
    }
}
