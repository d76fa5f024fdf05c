//! The name and port at which Cloudflare reaches the daemon.

use std::net::{IpAddr, Ipv4Addr};

use crate::{
    config::{Config, HostPort, Tls, check_domain},
    fatal::Fatal,
    tls,
};

/// The public name and port of the daemon.
#[derive(Debug)]
pub(super) struct PublicAddress {
    pub(super) server: HostPort,
    pub(super) warnings: Vec<String>,
}

impl PublicAddress {
    /// Finds the name and port. `option` is the value of `--host`, which overrides the first name
    /// of the certificate and the port in `server.address`.
    pub(super) fn of(config: &Config, option: Option<&str>) -> Result<Self, Fatal> {
        let (given_host, given_port) = match option {
            Some(option) => parse(option)?,
            None => (None, None),
        };
        let mut warnings = Vec::new();
        let tls = &config.server.tls;
        let host = match &given_host {
            Some(host) => {
                let own = tls::server_certificate(&tls.cert_file);
                if let Ok(own) = own
                    && !own.is_for(host)
                {
                    warnings.push(format!(
                        "the certificate in {} does not contain the name {host}: Cloudflare refuses it, unless a \
                         proxy has another certificate",
                        tls.cert_file.display()
                    ));
                }
                host.clone()
            }
            None => first_certified_name(tls)?,
        };
        if is_local(&host) {
            warnings.push(format!(
                "Cloudflare cannot reach {host}: set the public name with --host NAME"
            ));
        }
        let port = match given_port {
            Some(port) => port,
            None => listening_port(config)?,
        };
        let addresses = &config.server.addresses;
        if given_port.is_none() && addresses.iter().all(|address| address.ip().is_loopback()) {
            let text = "only this machine can reach server.address: set the address of the proxy with \
                        --host NAME:PORT";
            warnings.push(text.to_owned());
        }
        if tls.client_ca_file.is_some() {
            let text =
                "server.tls.client_ca_file requires client certificates, and Cloudflare sends none";
            warnings.push(text.to_owned());
        }
        Ok(Self { server: HostPort { host, port }, warnings })
    }
}

fn is_local(host: &str) -> bool {
    let ip = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || ip.is_ok_and(|ip| ip.is_loopback())
}

/// Parses NAME, NAME:PORT or :PORT.
fn parse(option: &str) -> Result<(Option<String>, Option<u16>), Fatal> {
    let (host, port) = match option.split_once(':') {
        None => (option, None),
        Some((host, port)) => {
            let number = port.parse().ok().filter(|port| *port > 0);
            let wrong = || {
                let option = option.escape_debug();
                Fatal::Usage(format!(
                    "--host {option}: write NAME or NAME:PORT, with a port from 1 to 65535"
                ))
            };
            (host, Some(number.ok_or_else(wrong)?))
        }
    };
    if !host.is_empty() && host.parse::<Ipv4Addr>().is_err() {
        check_domain(host).map_err(|advice| {
            Fatal::Usage(format!("--host {}: {advice}", option.escape_debug()))
        })?;
    }
    Ok(((!host.is_empty()).then(|| host.to_owned()), port))
}

/// Returns the first name in the certificate.
fn first_certified_name(tls: &Tls) -> Result<String, Fatal> {
    let file = tls.cert_file.display();
    if tls.self_signed && !tls.cert_file.exists() {
        // The daemon creates a certificate for this name.
        return Ok("localhost".to_owned());
    }
    if let Some(domain) = tls.acme.as_ref().and_then(|acme| acme.domains.first()) {
        return Ok(domain.clone());
    }
    let own = tls::server_certificate(&tls.cert_file).map_err(|error| {
        Fatal::Io(format!("{error}; or set the daemon's name with --host NAME"))
    })?;
    let names = &own.certificate.extensions.dns_names;
    if let Some(name) = names.iter().find(|name| !name.contains('*')) {
        return Ok(name.clone());
    }
    Err(Fatal::Config(match names.first() {
        Some(wildcard) => {
            format!(
                "the certificate in {file} is for {wildcard}: set the daemon's name with --host \
                 NAME"
            )
        }
        None => format!(
            "the certificate in {file} has no subject alternative name, which Cloudflare requires: get a \
             certificate for the daemon's name, or set the name of a proxy with --host NAME"
        ),
    }))
}

fn listening_port(config: &Config) -> Result<u16, Fatal> {
    let port =
        config.server.addresses.iter().map(std::net::SocketAddr::port).find(|port| *port != 0);
    port.ok_or_else(|| {
        Fatal::Config(String::from(
            "server.address has port 0, so the daemon's port is unknown: set a port there, or with --host \
             NAME:PORT",
        ))
    })
}
