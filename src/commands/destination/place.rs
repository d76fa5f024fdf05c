//! Where Cloudflare is to find the daemon: a name that its certificate is for, and a port.

use std::net::{IpAddr, Ipv4Addr};

use crate::{
    config::{Config, HostPort, Tls, check_domain},
    fatal::Fatal,
    tls,
};

#[derive(Debug)]
pub(super) struct Place {
    pub(super) server: HostPort,
    pub(super) warnings: Vec<String>,
}

impl Place {
    /// `said`: NAME or NAME:PORT, in place of what the certificate and the configuration say.
    pub(super) fn of(config: &Config, said: Option<&str>) -> Result<Self, Fatal> {
        let (said_host, said_port) = match said {
            Some(said) => read(said)?,
            None => (None, None),
        };
        let mut warnings = Vec::new();
        let tls = &config.server.tls;
        let host = match &said_host {
            Some(host) => {
                let own = tls::server_certificate(&tls.cert_file);
                if let Ok(own) = own
                    && !own.is_for(host)
                {
                    warnings.push(format!(
                        "the certificate in {} is not for {host}: unless a proxy in front has one, Cloudflare refuses \
                         it",
                        tls.cert_file.display()
                    ));
                }
                host.clone()
            }
            None => certified(tls)?,
        };
        if is_local(&host) {
            warnings.push(format!(
                "{host} is this machine alone: --host says by which name Cloudflare finds it"
            ));
        }
        let port = match said_port {
            Some(port) => port,
            None => listening(config)?,
        };
        let addresses = &config.server.addresses;
        if said_port.is_none() && addresses.iter().all(|address| address.ip().is_loopback()) {
            let text = "server.address is reached from this machine alone: if a proxy stands in front, --host \
                        NAME:PORT says where";
            warnings.push(text.to_owned());
        }
        if tls.client_ca_file.is_some() {
            let text = "server.tls.client_ca_file demands a certificate of clients, and Cloudflare shows none";
            warnings.push(text.to_owned());
        }
        Ok(Self { server: HostPort { host, port }, warnings })
    }
}

fn is_local(host: &str) -> bool {
    let ip = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

/// NAME, NAME:PORT or :PORT.
fn read(said: &str) -> Result<(Option<String>, Option<u16>), Fatal> {
    let (host, port) = match said.split_once(':') {
        None => (said, None),
        Some((host, port)) => {
            let number = port.parse().ok().filter(|port| *port > 0);
            let wrong = || {
                let said = said.escape_debug();
                Fatal::Usage(format!(
                    "--host {said}: write NAME or NAME:PORT, with a port from 1 to 65535"
                ))
            };
            (host, Some(number.ok_or_else(wrong)?))
        }
    };
    if !host.is_empty() && host.parse::<Ipv4Addr>().is_err() {
        check_domain(host)
            .map_err(|advice| Fatal::Usage(format!("--host {}: {advice}", said.escape_debug())))?;
    }
    Ok(((!host.is_empty()).then(|| host.to_owned()), port))
}

/// The first name that the certificate is for.
fn certified(tls: &Tls) -> Result<String, Fatal> {
    let file = tls.cert_file.display();
    if tls.self_signed && !tls.cert_file.exists() {
        // The daemon makes one for this name.
        return Ok("localhost".to_owned());
    }
    if let Some(domain) = tls.acme.as_ref().and_then(|acme| acme.domains.first()) {
        return Ok(domain.clone());
    }
    let own = tls::server_certificate(&tls.cert_file).map_err(|error| {
        Fatal::Io(format!("{error}; or say the daemon's name with --host NAME"))
    })?;
    let names = &own.certificate.extensions.dns_names;
    if let Some(name) = names.iter().find(|name| !name.contains('*')) {
        return Ok(name.clone());
    }
    Err(Fatal::Config(match names.first() {
        Some(wildcard) => {
            format!(
                "the certificate in {file} is for {wildcard}: say the daemon's name with --host NAME"
            )
        }
        None => format!(
            "the certificate in {file} has no name as subject alternative name, and Cloudflare needs one: have one \
             issued for the daemon's name, or say the name of a proxy in front with --host NAME"
        ),
    }))
}

fn listening(config: &Config) -> Result<u16, Fatal> {
    let port =
        config.server.addresses.iter().map(std::net::SocketAddr::port).find(|port| *port != 0);
    port.ok_or_else(|| {
        Fatal::Config(String::from(
            "server.address has port 0, so nobody knows where the daemon listens: name a port, or say it with --host \
             NAME:PORT",
        ))
    })
}
