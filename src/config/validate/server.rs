//! `[server]`, `[server.tls]` and `[admin]`: the listeners.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use toml::Spanned;

use super::{acme, check_file, choice, network::networks};
use crate::config::{
    Acme, Admin, Server, Spool, Tls, TlsVersion, check_domain, context::Context,
    diagnostic::Diagnostic, reader::Table,
};

pub(super) fn server(mut table: Table<'_>, spool: &Spool, cx: &mut Context) -> Option<Server> {
    let addresses = table.string_or_strings("address", cx);
    let nobody = "leave it out if no proxy sends PROXY protocol headers";
    let proxy_protocol_from = networks(&mut table, "proxy_protocol_from", nobody, cx);
    let tls = tls(table.table("tls", cx), spool, cx);
    table.finish(cx);

    let Some(addresses) = addresses else {
        let addresses = vec![(Ipv4Addr::UNSPECIFIED, 8443).into()];
        return Some(Server { addresses, proxy_protocol_from, tls: tls? });
    };
    if addresses.get_ref().is_empty() {
        cx.push(
            Diagnostic::at(addresses.span(), "`server.address` is an empty list")
                .hint("name at least one address, as \"0.0.0.0:8443\""),
        );
    }
    let mut parsed: Vec<SocketAddr> = Vec::new();
    for text in addresses.get_ref() {
        if let Some(address) = address(text, "0.0.0.0:8443", cx) {
            // Port 0 asks for any free port, so two of them are two listeners.
            if address.port() != 0 && parsed.contains(&address) {
                let message = format!("`{address}` stands twice in `server.address`");
                cx.push(Diagnostic::at(text.span(), message));
            }
            parsed.push(address);
        }
    }
    Some(Server { addresses: parsed, proxy_protocol_from, tls: tls? })
}

pub(super) fn admin(mut table: Table<'_>, cx: &mut Context) -> Admin {
    let text = table.string("address", cx);
    let allowed_hosts = allowed_hosts(&mut table, cx);
    table.finish(cx);
    let default = Admin {
        address: (Ipv4Addr::LOCALHOST, 9464).into(),
        asked_for: false,
        allowed_hosts: allowed_hosts.clone(),
    };
    let Some(text) = text else { return default };
    let Some(address) = address(&text, "127.0.0.1:9464", cx) else { return default };
    if !address.ip().to_canonical().is_loopback() {
        cx.push(
            Diagnostic::at(text.span(), format!("`admin.address` {address} is not loopback")).hint(
                "it speaks plain HTTP to anyone who can reach it: use 127.0.0.1 or [::1], and a proxy in front for others",
            ),
        );
    }
    Admin { address, asked_for: true, allowed_hosts }
}

fn allowed_hosts(table: &mut Table<'_>, cx: &mut Context) -> Vec<String> {
    let hosts = choice::names("allowed_hosts", table, cx).unwrap_or_default();
    let host = |text: Spanned<String>| {
        let host = text.get_ref().to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        if let Ok(address) = host.parse::<IpAddr>() {
            return address.to_canonical().to_string();
        }
        if !host.is_empty()
            && let Err(hint) = check_domain(host)
        {
            let message = format!("`{}` is not the name of a host", text.get_ref().escape_debug());
            cx.push(Diagnostic::at(text.span(), message).hint(hint));
        }
        host.to_owned()
    };
    hosts.into_iter().map(host).collect()
}

fn tls(mut table: Table<'_>, spool: &Spool, cx: &mut Context) -> Option<Tls> {
    let asks_acme = table.contains("acme");
    let acme = table.optional_table("acme", cx);
    let source = if asks_acme {
        let acme =
            acme.and_then(|table| acme::acme(table, Acme::default_cache_dir(&spool.dir), cx));
        exclude_files(&mut table, cx);
        acme.map(Source::Acme)
    } else {
        files(&mut table, cx)
    };
    let client_ca_file = table.input("client_ca_file", cx);
    if let Some(file) = &client_ca_file {
        check_file(file, "name a PEM file with the CA that signs the client certificates", cx);
    }
    let versions = [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
    let min_version = table.choice("min_version", &versions, cx);
    table.finish(cx);

    let (cert_file, key_file, self_signed, acme) = match source? {
        Source::Files { cert, key, self_signed } => (cert, key, self_signed, None),
        Source::Acme(acme) => {
            let file = acme.certificate_file();
            (file.clone(), file, false, Some(acme))
        }
    };
    Some(Tls {
        cert_file,
        key_file,
        self_signed,
        acme,
        client_ca_file: client_ca_file.map(Spanned::into_inner),
        min_version: min_version.unwrap_or(TlsVersion::V1_2),
    })
}

/// Where the certificate comes from.
enum Source {
    Files { cert: PathBuf, key: PathBuf, self_signed: bool },
    Acme(Acme),
}

fn files(table: &mut Table<'_>, cx: &mut Context) -> Option<Source> {
    let default = table.lacks("self_signed").then_some(false);
    // A value that cannot be read demands nothing of the two files.
    let self_signed = table.boolean("self_signed", cx).or(default);
    let is_demanded = self_signed == Some(false);
    // Both are taken before either is missed: else the name of one would pass for a slip of the other.
    let [cert_file, key_file] = [&CERT, &KEY]
        .map(|pem| (pem, table.contains(pem.key), table.input(pem.key, cx)))
        .map(|(pem, is_there, file)| pem_file(table, pem, is_there, file, is_demanded, cx));
    Some(Source::Files { cert: cert_file?, key: key_file?, self_signed: self_signed? })
}

/// Whoever names both means one of them; which, we cannot know.
fn exclude_files(table: &mut Table<'_>, cx: &mut Context) {
    let beside = |key: &str| format!("`server.tls.{key}` cannot stand beside `[server.tls.acme]`");
    let hint = "leave it out: what ACME gets is kept in `cache_dir`; or take [server.tls.acme] out";
    for key in [CERT.key, KEY.key] {
        if let Some(file) = table.path(key, cx) {
            cx.push(Diagnostic::at(file.span(), beside(key)).hint(hint));
        }
    }
    if table.boolean("self_signed", cx) == Some(true) {
        cx.push(table.problem(beside("self_signed")).hint(hint));
    }
}

/// What `cert_file` and `key_file` do not have in common.
struct PemFile {
    key: &'static str,
    /// Beside the configuration, if `self_signed` leaves the choice to us.
    default: &'static str,
    content: &'static str,
}

const CERT: PemFile = PemFile {
    key: "cert_file",
    default: "fullchain.pem",
    content: "the certificate and then its intermediates",
};
const KEY: PemFile =
    PemFile { key: "key_file", default: "privkey.pem", content: "the private key" };

/// Demanded and read, unless the daemon makes it itself.
fn pem_file(
    table: &Table<'_>,
    pem: &PemFile,
    is_there: bool,
    file: Option<Spanned<PathBuf>>,
    is_demanded: bool,
    cx: &mut Context,
) -> Option<PathBuf> {
    let PemFile { key, default, content } = *pem;
    if !is_there && is_demanded {
        let hint = format!(
            "add `{key} = \"{default}\"` under [server.tls], a PEM file with {content}; for development `self_signed = true` makes it",
        );
        table.require(key, &hint, cx);
    }
    match file {
        Some(file) => {
            if is_demanded {
                check_file(&file, &format!("name a PEM file with {content}"), cx);
            }
            Some(file.into_inner())
        }
        None => (!is_there && !is_demanded).then(|| cx.folder.join(default)),
    }
}

fn address(text: &Spanned<String>, example: &str, cx: &mut Context) -> Option<SocketAddr> {
    let address = text.get_ref().parse();
    if address.is_err() {
        let message = format!("`{}` is not an address", text.get_ref().escape_debug());
        cx.push(
            Diagnostic::at(text.span(), message).hint(format!(
                "write an IP address and a port, as \"{example}\" or \"[::1]:8443\""
            )),
        );
    }
    address.ok()
}
