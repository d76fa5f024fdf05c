//! Parses the host and port of a destination.

use std::net::IpAddr;

use http_client::HostPort;

use super::{Parser, Span};
use crate::destination::HEADER_PREFIX;

const DEFAULT_PORT: u16 = 443;

/// The length limits of DNS.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

pub(super) struct Authority {
    pub(super) server: HostPort,
}

/// Finds a parameter that is missing its `?`.
fn find_parameter(authority: &str) -> Option<usize> {
    let header = authority.to_ascii_lowercase().find(HEADER_PREFIX);
    authority.find('&').into_iter().chain(header).min()
}

impl<'a> Parser<'a> {
    pub(super) fn authority(&mut self, authority: Span<'a>) -> Option<Authority> {
        if let Some(offset) = find_parameter(authority.text) {
            self.error(
                Some(authority.offset + offset),
                "the host contains a parameter",
                "begin the first parameter with ?, as in https://HOST/PATH?header_NAME=VALUE",
            );
            return None;
        }
        // The `@` of a user and password was already reported.
        let server = match authority.text.rsplit_once('@') {
            Some((user, server)) => {
                Span { text: server, offset: authority.offset + user.len() + 1 }
            }
            None => authority,
        };
        let (host, port) = if server.text.starts_with('[') {
            let (host, rest) = server.split_before(|c| c == ']');
            (host.skip_char(), rest.skip_char())
        } else {
            server.split_before(|c| c == ':')
        };
        let port = self.port(port);
        let host = self.host(host)?;
        Some(Authority { server: HostPort { host, port: port? } })
    }

    fn port(&mut self, port: Span<'_>) -> Option<u16> {
        if port.text.is_empty() {
            return Some(DEFAULT_PORT);
        }
        let digits = port.text.strip_prefix(':').unwrap_or_default();
        // `parse` also accepts a sign.
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse().ok().filter(|number: &u16| is_number && *number > 0);
        if number.is_none() {
            self.error(
                Some(port.offset),
                "the port is invalid",
                "write a number from 1 to 65535, or leave it out for 443",
            );
        }
        number
    }

    fn host(&mut self, host: Span<'_>) -> Option<String> {
        let name = host.text;
        if name.is_empty() {
            self.error(Some(host.offset), "the host is missing", "write https://HOST/PATH");
            return None;
        }
        if let Ok(ip) = name.parse::<IpAddr>() {
            self.warning(
                Some(host.offset),
                format!("the host is an IP address, {ip}"),
                "use a name: the certificate would need an IP SAN, which few authorities issue",
            );
            return Some(name.to_owned());
        }
        let labels = || name.strip_suffix('.').unwrap_or(name).split('.');
        let fits = name.len() <= MAX_NAME
            && labels().all(|label| (1..=MAX_LABEL).contains(&label.len()))
            && labels().all(|label| !label.starts_with('-') && !label.ends_with('-'))
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        if !fits {
            // Do not quote the rest: it may be a misplaced secret.
            let (quoted, rest) =
                host.split_before(|c| !c.is_ascii_alphanumeric() && !".-_".contains(c));
            let more = if rest.text.is_empty() { "" } else { "..." };
            let message = format!("`{}{more}` is not a valid host name", quoted.text);
            self.error(Some(host.offset), message, "write a name from the public DNS");
            return None;
        }
        if labels().all(|label| label.bytes().all(|byte| byte.is_ascii_digit())) {
            let message = format!("`{name}` is neither a host name nor an IPv4 address");
            self.error(Some(host.offset), message, "write a name from the public DNS");
            return None;
        }
        Some(name.to_owned())
    }
}
