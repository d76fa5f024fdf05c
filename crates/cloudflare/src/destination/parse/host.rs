//! Whom a destination names.

use std::net::IpAddr;

use http_client::HostPort;

use super::{Part, Reader};
use crate::destination::HEADER_PREFIX;

const DEFAULT_PORT: u16 = 443;

/// DNS's own bounds.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

pub(super) struct Authority {
    pub(super) server: HostPort,
}

/// Where a parameter begins that should stand behind a `?`.
fn parameter(authority: &str) -> Option<usize> {
    let header = authority.to_ascii_lowercase().find(HEADER_PREFIX);
    authority.find('&').into_iter().chain(header).min()
}

impl<'a> Reader<'a> {
    pub(super) fn authority(&mut self, authority: Part<'a>) -> Option<Authority> {
        if let Some(place) = parameter(authority.text) {
            self.error(
                Some(authority.at + place),
                "a parameter stands in the host's name",
                "the first parameter begins with ?: write https://HOST/PATH?header_NAME=VALUE",
            );
            return None;
        }
        // A user and a password are an error already, by the character.
        let server = match authority.text.rsplit_once('@') {
            Some((user, server)) => Part { text: server, at: authority.at + user.len() + 1 },
            None => authority,
        };
        let (host, port) = if server.text.starts_with('[') {
            let (host, rest) = server.cut(|c| c == ']');
            (host.skip_one(), rest.skip_one())
        } else {
            server.cut(|c| c == ':')
        };
        let port = self.port(port);
        let host = self.host(host)?;
        Some(Authority { server: HostPort { host, port: port? } })
    }

    fn port(&mut self, port: Part<'_>) -> Option<u16> {
        if port.text.is_empty() {
            return Some(DEFAULT_PORT);
        }
        let digits = port.text.strip_prefix(':').unwrap_or_default();
        // `parse` takes a sign, too.
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.parse().ok().filter(|number: &u16| is_number && *number > 0);
        if number.is_none() {
            self.error(Some(port.at), "the port is not a number from 1 to 65535", "mend it");
        }
        number
    }

    fn host(&mut self, host: Part<'_>) -> Option<String> {
        let name = host.text;
        if name.is_empty() {
            self.error(Some(host.at), "there is no host", "write https://HOST/PATH");
            return None;
        }
        if let Ok(ip) = name.parse::<IpAddr>() {
            self.warning(
                Some(host.at),
                format!("{ip} is an address"),
                "its certificate must have it as an IP SAN, which few authorities sign: use a name",
            );
            return Some(name.to_owned());
        }
        let labels = || name.strip_suffix('.').unwrap_or(name).split('.');
        let fits = name.len() <= MAX_NAME
            && labels().all(|label| (1..=MAX_LABEL).contains(&label.len()))
            && labels().all(|label| !label.starts_with('-') && !label.ends_with('-'))
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        if !fits {
            // Not what follows: it may be a secret that was meant for another place.
            let (quoted, rest) = host.cut(|c| !c.is_ascii_alphanumeric() && !".-_".contains(c));
            let more = if rest.text.is_empty() { "" } else { "..." };
            let what = format!("`{}{more}` is not the name of a host", quoted.text);
            self.error(Some(host.at), what, "write a name that is in the DNS");
            return None;
        }
        if labels().all(|label| label.bytes().all(|byte| byte.is_ascii_digit())) {
            let what = format!("`{name}` is neither a name nor an IPv4 address");
            self.error(Some(host.at), what, "write four numbers, or better a name");
            return None;
        }
        Some(name.to_owned())
    }
}
