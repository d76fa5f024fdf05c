//! `[server.tls.acme]`.

use std::path::PathBuf;

use hyper::Uri;
use toml::Spanned;

use super::check_file;
use crate::config::{Acme, check_domain, context::Context, diagnostic::Diagnostic, reader::Table};

/// As many as Let's Encrypt puts into one certificate.
const MAX_DOMAINS: usize = 100;

/// The default of `cache_dir` depends on where the state is: `cache_dir` is that.
pub(super) fn acme(mut table: Table<'_>, cache_dir: PathBuf, cx: &mut Context) -> Option<Acme> {
    let domains = domains(&mut table, cx);
    let contact = table.string("contact", cx);
    if let Some(contact) = &contact {
        check_contact(contact, cx);
    }
    let directory_url = table.string("directory_url", cx);
    if let Some(url) = &directory_url {
        check_url(url, cx);
    }
    let directory_ca_file = table.input("directory_ca_file", cx);
    if let Some(file) = &directory_ca_file {
        check_file(file, "name a PEM file with the CA that signed the directory's certificate", cx);
    }
    let chosen = table.path("cache_dir", cx);
    table.finish(cx);
    Some(Acme {
        domains: domains?,
        contact: contact.map(Spanned::into_inner),
        directory_url: directory_url
            .map_or_else(|| Acme::LETS_ENCRYPT.to_owned(), Spanned::into_inner),
        directory_ca_file: directory_ca_file.map(Spanned::into_inner),
        cache_dir: chosen.map_or(cache_dir, Spanned::into_inner),
    })
}

fn domains(table: &mut Table<'_>, cx: &mut Context) -> Option<Vec<String>> {
    const EXAMPLE: &str = "domains = [\"logs.example.com\"]";
    table.require("domains", &format!("name what Cloudflare is to connect to: {EXAMPLE}"), cx);
    let list = table.string_or_strings("domains", cx)?;
    if list.get_ref().is_empty() || list.get_ref().len() > MAX_DOMAINS {
        let message = format!("`server.tls.acme.domains` must have 1 to {MAX_DOMAINS} names");
        cx.push(Diagnostic::at(list.span(), message).hint(format!("as {EXAMPLE}")));
    }
    let mut domains: Vec<String> = Vec::new();
    for text in list.get_ref() {
        let domain = text.get_ref().to_ascii_lowercase();
        let domain = domain.strip_suffix('.').unwrap_or(&domain);
        let shown = text.get_ref().escape_debug();
        if let Err(hint) = check(domain) {
            let message = format!("`{shown}` is not a name that a certificate can be had for");
            cx.push(Diagnostic::at(text.span(), message).hint(hint));
        } else if domains.iter().any(|known| known == domain) {
            let message = format!("`{shown}` stands twice in `server.tls.acme.domains`");
            cx.push(Diagnostic::at(text.span(), message));
        }
        domains.push(domain.to_owned());
    }
    Some(domains)
}

/// What to do about a name that no certificate can be had for in this way.
fn check(domain: &str) -> Result<(), &'static str> {
    if domain.starts_with("*.") {
        return Err(
            "a wildcard cannot be proven on a listener (TLS-ALPN-01): list the names, or get \
                    the certificate by DNS-01 with a client beside the daemon, and name its files",
        );
    }
    check_domain(domain)
}

fn check_contact(contact: &Spanned<String>, cx: &mut Context) {
    let text = contact.get_ref();
    let address = text.strip_prefix("mailto:").unwrap_or_default();
    let is_plain = text.bytes().all(|b| b.is_ascii_graphic()) && !text.contains(['?', ',']);
    if !is_plain || !address.contains('@') {
        let message = format!("`{}` is not a contact", text.escape_debug());
        cx.push(
            Diagnostic::at(contact.span(), message)
                .hint("write one mail address as \"mailto:ops@example.com\", or leave it out"),
        );
    }
}

fn check_url(url: &Spanned<String>, cx: &mut Context) {
    let is_usable = url.get_ref().parse::<Uri>().is_ok_and(|uri| {
        let has_user = uri.authority().is_none_or(|authority| authority.as_str().contains('@'));
        uri.scheme_str() == Some("https") && !has_user
    });
    if !is_usable || url.get_ref().contains('#') {
        let message =
            format!("`{}` is not the address of a directory", url.get_ref().escape_debug());
        cx.push(
            Diagnostic::at(url.span(), message)
                .hint(format!("it is an https:// URL, as \"{}\"", Acme::LETS_ENCRYPT)),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use crate::config::{Config, check_text};

    fn load(acme: &str) -> Config {
        let text = format!(
            "[server.tls.acme]\n{acme}\n[endpoint.main]\npath = \"/l/{{dataset}}\"\nauth = \"none\"\n[sink.out.stdout]\n"
        );
        check_text(Path::new("/etc/logpushd/logpushd.toml"), &text).unwrap()
    }

    #[test]
    fn the_documented_settings_are_the_defaults() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/logpushd.toml");
        let shipped = fs::read_to_string(shipped).unwrap();
        let (_, section) = shipped.split_once("# [server.tls.acme]\n").unwrap();
        let (section, _) = section.split_once("\n\n").unwrap();
        // These have no default.
        let has_none = |line: &str| line.starts_with("contact") || line.starts_with("directory_ca");
        let lines = section.lines().filter_map(|line| line.strip_prefix("# "));
        let settings = lines.filter(|line| line.contains(" = ") && !has_none(line));
        let documented = load(&settings.collect::<Vec<_>>().join("\n"));
        assert_eq!(documented, load("domains = \"logs.example.com\""));
    }

    #[test]
    fn certificate_and_key_are_one_file_of_the_cache() {
        let tls = load("domains = [\"Logs.example.com.\"]\ncache_dir = \"a\"").server.tls;
        let acme = tls.acme.unwrap();
        assert_eq!(acme.domains, ["logs.example.com"]);
        assert_eq!((&tls.cert_file, &tls.key_file), (&acme.certificate_file(), &tls.cert_file));
        assert!(tls.cert_file.starts_with("/etc/logpushd/a"), "{}", tls.cert_file.display());
    }
}
