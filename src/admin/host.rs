//! Checks the `Host` of requests to the admin listener.
//!
//! By DNS rebinding, a web page can make a browser connect to the admin listener under the page's
//! own name, and read the answers. The browser sends that name in `Host`, so unknown names are
//! refused.

use std::net::IpAddr;

use hyper::{Request, header::HOST, http::uri::Authority};

/// Hosts that a request may name.
#[derive(Clone, Debug)]
pub(super) struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    /// Allows `names` (`admin.allowed_hosts`), which are in lower case, without a port and a final
    /// dot.
    pub(super) fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    /// Whether the request may be answered. If the target is absolute, both its authority and
    /// `Host` must be allowed.
    ///
    /// Probes and metrics allow every IP address, because rebinding needs a name, and a missing
    /// `Host`, because every browser sends one. The page and its API allow neither.
    pub(super) fn permit<T>(&self, request: &Request<T>) -> bool {
        let path = request.uri().path();
        let is_page = path == "/" || path == "/api" || path.starts_with("/api/");
        let headers = request.headers().get_all(HOST).iter();
        let headers = headers.map(|value| Authority::try_from(value.as_bytes()).ok());
        let target = request.uri().authority().cloned().map(Some);
        let mut named = 0;
        for authority in target.into_iter().chain(headers) {
            named += 1;
            if !authority.is_some_and(|authority| self.permits(&authority, is_page)) {
                return false;
            }
        }
        named > 0 || !is_page
    }

    fn permits(&self, authority: &Authority, is_page: bool) -> bool {
        // `user@host` is not a host.
        if authority.as_str().contains('@') {
            return false;
        }
        let host = authority.host().to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let host = host.strip_prefix('[').and_then(|v6| v6.strip_suffix(']')).unwrap_or(host);
        if host == "localhost" || self.0.iter().any(|allowed| allowed == host) {
            return true;
        }
        let address = host.parse::<IpAddr>().map(|address| address.to_canonical());
        address.is_ok_and(|address| {
            !is_page || address.is_loopback() || self.0.contains(&address.to_string())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(target: &str, hosts: &[&str]) -> bool {
        let allowed = AllowedHosts::new(vec!["metrics.example".into(), "192.0.2.7".into()]);
        let request = Request::get(target);
        let request = hosts.iter().fold(request, |request, host| request.header(HOST, *host));
        allowed.permit(&request.body(()).unwrap())
    }

    #[test]
    fn an_unknown_name_is_refused_on_every_path() {
        for path in ["/", "/api/status", "/metrics", "/readyz", "/healthz", "/version", "/other"] {
            for host in ["localhost", "LOCALHOST.:9464", "127.0.0.1:9464", "127.8.8.8", "[::1]:1"] {
                assert!(permits(path, &[host]), "{path} {host}");
            }
            for host in ["metrics.example", "Metrics.Example.:80", "192.0.2.7:9464"] {
                assert!(permits(path, &[host]), "{path} {host}");
            }
            let foreign = [
                "attacker.example",
                "localhost.attacker.example",
                "127.0.0.1.attacker.example:9464",
                "x.localhost",
                "127.1",
                "2130706433",
                "user@localhost",
                "localhost@attacker.example",
                "local host",
                "",
            ];
            for host in foreign {
                assert!(!permits(path, &[host]), "{path} {host}");
                assert!(!permits(path, &["localhost", host]), "{path} {host} beside localhost");
            }
        }
    }

    #[test]
    fn only_probes_and_metrics_allow_other_addresses_and_no_host() {
        for path in ["/metrics", "/readyz", "/healthz", "/version", "/other"] {
            assert!(permits(path, &["10.1.2.3:9464"]) && permits(path, &["[2001:db8::1]"]));
            assert!(permits(path, &[]), "{path}");
        }
        for path in ["/", "/api", "/api/", "/api/tail?endpoint=a"] {
            assert!(!permits(path, &["10.1.2.3:9464"]) && !permits(path, &["[2001:db8::1]"]));
            assert!(!permits(path, &[]), "{path}");
            assert!(permits(path, &["[::ffff:127.0.0.1]:1"]), "{path}");
        }
    }

    #[test]
    fn the_authority_of_an_absolute_target_is_checked() {
        assert!(permits("http://localhost/metrics", &["localhost"]));
        assert!(!permits("http://attacker.example/metrics", &["localhost"]));
        assert!(!permits("http://localhost/metrics", &["attacker.example"]));
        assert!(permits("http://127.0.0.1:9464/", &[]));
    }
}
