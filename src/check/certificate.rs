//! The certificate that the daemon shows, and the files that TLS needs.

use rustls::CertificateError;

use crate::{
    config::{Diagnostic, Document, Tls},
    tls::{self, Identity, TlsError, chain},
};

/// Certificate and key files that cannot be used.
pub(super) fn errors(document: &Document) -> Vec<Diagnostic> {
    let tls = &document.config.server.tls;
    let mut errors = Vec::new();
    if !is_to_be_made(tls)
        && let Err(error) = tls::load(tls)
    {
        errors.push(document.error(&key("server.tls", &error), error.to_string()));
    }
    for sink in &document.config.sinks {
        if let Some(claim) = sink.kind.claims().tls.filter(|tls| tls.is_used)
            && let Err(error) = tls::client(claim.files)
        {
            let table = sink.full_name("tls");
            errors.push(document.error(&key(&table, &error), error.to_string()));
        }
    }
    errors
}

/// The key that names the file which an error is about.
fn key(table: &str, error: &TlsError) -> String {
    error.role().map_or_else(|| table.to_owned(), |role| format!("{table}.{}", role.config_key()))
}

/// With ACME, a port that the authority does not connect to.
pub(super) fn acme_port(document: &Document) -> Vec<Diagnostic> {
    let warnings = document.config.server.warnings();
    warnings.into_iter().map(|text| document.warning("server.tls.acme", text)).collect()
}

/// What the daemon logs by itself, when it loads the certificate and once a day.
pub(super) fn of_validate(document: &Document) -> Vec<Diagnostic> {
    let tls = &document.config.server.tls;
    let Some(identity) = identity(tls) else { return Vec::new() };
    let warnings = identity.warnings(tls);
    let key = if tls.acme.is_some() { "server.tls.acme" } else { "server.tls.cert_file" };
    warnings.into_iter().map(|text| document.warning(key, text)).collect()
}

/// A chain that leads to no public authority: Cloudflare trusts no other.
pub(super) fn public_chain(document: &Document) -> Vec<Diagnostic> {
    let tls = &document.config.server.tls;
    let is_public = document.config.server.addresses.iter().any(|at| !at.ip().is_loopback());
    // A self-signed one is asked for, and behind a proxy on this machine the chain is the proxy's.
    if tls.self_signed || tls.acme.is_some() || !is_public {
        return Vec::new();
    }
    // `misses_intermediates` has a warning of its own, with better advice.
    let Some(identity) = identity(tls).filter(|identity| !identity.misses_intermediates) else {
        return Vec::new();
    };
    let now = jiff::Timestamp::now().as_second();
    let Ok(trust) = tls::public_trust(None) else { return Vec::new() };
    let Err(error) = chain::verify(identity.chain(), &trust, now) else { return Vec::new() };
    let end = identity.chain().iter().filter_map(|der| tls::inspect::Certificate::parse(der));
    let end = chain::end(&end.collect::<Vec<_>>()).map(ToString::to_string).unwrap_or_default();
    let message = match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            format!("no public authority vouches for this certificate: the chain ends at {end}")
        }
        other => format!("Cloudflare refuses this certificate: {}", tls::explain(&other)),
    };
    let hint = "Cloudflare connects only to a certificate of a public authority: get one with [server.tls.acme], or name the file with its intermediates (fullchain.pem); a private certificate works behind a proxy that has a public one";
    vec![document.warning("server.tls.cert_file", message).hint(hint)]
}

/// The certificate, if there is one that can be used.
fn identity(tls: &Tls) -> Option<Identity> {
    if is_to_be_made(tls) || tls.acme.is_some() && !tls.cert_file.exists() {
        return None;
    }
    tls::load(tls).ok()?.certificate
}

/// With `self_signed`, both files are made at the first start.
fn is_to_be_made(tls: &Tls) -> bool {
    tls.self_signed && !tls.cert_file.exists() && !tls.key_file.exists()
}
