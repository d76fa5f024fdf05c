//! The settings of `[server.tls]`, of ACME and of TLS clients.

mod acme;
mod client;

use std::path::{Path, PathBuf};

use settings::{
    Context, Spanned, Table, Value,
    reference::Takes,
    setting, settings,
    types::{Flag, Input},
    words,
};

pub use self::{acme::Acme, client::ClientTls};

settings! {
    /// Cloudflare accepts only a certificate that is publicly trusted, is valid for the host name in
    /// the job's destination, and is sent with its full chain.
    pub struct Tls in ".tls", checked by check_tls {
        /// A PEM file with the certificate, followed by all intermediate certificates. ACME
        /// clients call it `fullchain.pem`.
        ///
        /// With `self_signed`, this key may be left out; the file is then `fullchain.pem`
        /// beside the configuration.
        pub cert_file: Input as "fullchain.pem"
            else "an error, unless `self_signed` or `[server.tls.acme]` is set",
        /// A PEM file with the private key (PKCS#8, PKCS#1 or SEC1), readable by the daemon's
        /// user only.
        ///
        /// With `self_signed`, this key may be left out; the file is then `privkey.pem` beside
        /// the configuration.
        pub key_file: Input as "privkey.pem"
            else "an error, unless `self_signed` or `[server.tls.acme]` is set",
        /// For development: creates the two files above, for localhost and 127.0.0.1, if both
        /// are missing.
        ///
        /// The certificate is valid for ten years. Cloudflare refuses such a certificate.
        pub self_signed: Flag = false,
        /// Mutual TLS: every client must present a certificate that a CA in this PEM file
        /// signed. Endpoints may then do without a secret.
        ///
        /// Logpush has no client certificate, so this is for other senders or for a proxy in
        /// front.
        pub client_ca_file: Option<ClientCa> as "ca.pem"
            else "clients need no certificate",
        /// The oldest TLS version to accept.
        ///
        /// Cloudflare supports both. Use `"1.3"` if a policy demands it and no older client
        /// has to connect.
        pub min_version: TlsVersion = "1.2",
        /// Replaces `cert_file` and `key_file`: remove them to use it.
        pub acme: Option<Acme>,
    }
}

words! {
    /// A version of TLS (`server.tls.min_version`).
    pub enum TlsVersion {
        /// TLS 1.2, RFC 5246.
        V1_2 = "1.2",
        /// TLS 1.3, RFC 8446.
        V1_3 = "1.3",
    }
}

setting! {
    /// A PEM file with the authorities that sign client certificates.
    pub struct ClientCa(PathBuf): Takes::String("path"), read by client_ca;
}

impl Tls {
    /// Sets the default paths: in `config_dir`, the directory of the configuration file, or with ACME in
    /// `spool_dir`.
    pub fn set_default_paths(&mut self, config_dir: &Path, spool_dir: &Path) {
        if let Some(acme) = &mut self.acme {
            acme.set_default_paths(spool_dir);
            self.cert_file = acme.certificate_file();
            self.key_file = acme.certificate_file();
            self.self_signed = false;
        }
        for (file, name) in [(&mut self.cert_file, CERT.name), (&mut self.key_file, KEY.name)] {
            if file.as_os_str().is_empty() {
                *file = config_dir.join(name);
            }
        }
    }
}

fn client_ca(value: &Value<'_>, cx: &mut Context) -> Option<PathBuf> {
    value.readable("name a PEM file with the CA that signs the client certificates", cx)
}

/// The description of `cert_file` or `key_file`.
struct PemFile {
    key: &'static str,
    /// The default file name with `self_signed`.
    name: &'static str,
    content: &'static str,
}

const CERT: PemFile = PemFile {
    key: "cert_file",
    name: "fullchain.pem",
    content: "the certificate and then its intermediates",
};
const KEY: PemFile = PemFile { key: "key_file", name: "privkey.pem", content: "the private key" };

fn check_tls(tls: &Tls, table: &Table<'_>, cx: &mut Context) {
    if table.contains("acme") {
        exclude_files(tls, table, cx);
        return;
    }
    // If `self_signed` is invalid, it is unknown whether the two files are required.
    let is_known = table.contains("self_signed") || table.is_missing("self_signed");
    if tls.self_signed || !is_known || !table.is_valid("self_signed") {
        return;
    }
    for (PemFile { key, name, content }, file) in [(CERT, &tls.cert_file), (KEY, &tls.key_file)] {
        let hint = format!(
            "add `{key} = \"{name}\"` under [server.tls], a PEM file with {content}; for development `self_signed = true` creates it",
        );
        table.require(key, &hint, cx);
        if let (Some(span), true) = (table.span_of(key), table.is_valid(key)) {
            let file = Spanned::new(span, file.clone());
            cx.check_readable(&file, &format!("name a PEM file with {content}"));
        }
    }
}

/// Rejects keys that contradict `[server.tls.acme]`.
fn exclude_files(tls: &Tls, table: &Table<'_>, cx: &mut Context) {
    let stray = [CERT.key, KEY.key].into_iter().filter(|key| table.contains(key));
    for key in stray.chain(tls.self_signed.then_some("self_signed")) {
        let message =
            format!("`{}` cannot be combined with `[server.tls.acme]`", table.full_name(key));
        let hint =
            "remove it, since ACME stores its files in `cache_dir`; or remove [server.tls.acme]";
        cx.push(table.problem_at(key, message).hint(hint));
    }
}
