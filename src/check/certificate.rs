//! Checks the certificate of the daemon, and the TLS files of sinks.

use rustls::CertificateError;

use crate::{
    config::{Diagnostic, Document, Tls},
    tls::{self, Identity, TlsError, chain},
};

/// Reports certificate and key files that cannot be used.
pub(super) fn errors(document: &Document) -> Vec<Diagnostic> {
    let tls = &document.config.server.tls;
    let mut errors = Vec::new();
    if !will_be_created(tls)
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

/// Returns the key of the file that an error is about.
fn key(table: &str, error: &TlsError) -> String {
    error.role().map_or_else(|| table.to_owned(), |role| format!("{table}.{}", role.config_key()))
}

/// Warns about ACME without the port that the authority connects to.
pub(super) fn acme_port(document: &Document) -> Vec<Diagnostic> {
    let warnings = document.config.server.warnings();
    warnings.into_iter().map(|text| document.warning("server.tls.acme", text)).collect()
}

/// Returns the warnings that the daemon itself logs when it loads the certificate, and once a day.
pub(super) fn of_validate(document: &Document) -> Vec<Diagnostic> {
    let tls = &document.config.server.tls;
    let Some(identity) = identity(tls) else { return Vec::new() };
    let warnings = identity.warnings(tls);
    let key = if tls.acme.is_some() { "server.tls.acme" } else { "server.tls.cert_file" };
    warnings.into_iter().map(|text| document.warning(key, text)).collect()
}

/// Warns about a chain that Cloudflare does not trust, because it leads to no public authority.
pub(super) fn public_chain(document: &Document) -> Vec<Diagnostic> {
    let tls = &document.config.server.tls;
    let is_public = document.config.server.addresses.iter().any(|at| !at.ip().is_loopback());
    // A self-signed certificate is intended. On a loopback address, a proxy has the public
    // certificate.
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
            format!("no public authority signed this certificate: the chain ends at {end}")
        }
        other => format!("Cloudflare refuses this certificate: {}", tls::explain(&other)),
    };
    let hint = "Cloudflare requires a certificate of a public authority: get one with \
                [server.tls.acme], or set the file with all intermediates (fullchain.pem); a \
                private certificate works behind a proxy with a public one";
    vec![document.warning("server.tls.cert_file", message).hint(hint)]
}

/// Returns the certificate, if it exists and can be used.
fn identity(tls: &Tls) -> Option<Identity> {
    if will_be_created(tls) || tls.acme.is_some() && !tls.cert_file.exists() {
        return None;
    }
    tls::load(tls).ok()?.certificate
}

/// Returns whether the daemon will create both files at startup, because of `self_signed`.
fn will_be_created(tls: &Tls) -> bool {
    tls.self_signed && !tls.cert_file.exists() && !tls.key_file.exists()
}
