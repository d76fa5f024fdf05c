//! The settings of the `tls` table of a sink.

use std::path::PathBuf;

use settings::{Context, Table, Value, reference::Takes, setting, settings};

settings! {
    /// A replaced file takes effect without a reload.
    pub struct ClientTls in ".tls" derive(Default, Eq), checked by check {
        /// A PEM file with the CAs that may sign the server's certificate, or with the
        /// server's certificate itself, which may be self-signed.
        pub ca_file: Option<CaFile> as "siem-ca.pem" else "the CAs that the system trusts",
        /// A PEM file with the client certificate and its intermediates. Only with `key_file`.
        pub cert_file: Option<CertFile> as "client.pem" else "no client certificate",
        /// A PEM file with the private key of the client certificate. Only with `cert_file`.
        pub key_file: Option<KeyFile> as "client.key" else "no client certificate",
        /// The name to expect in the server's certificate, if the address is an IP address or
        /// an alias.
        pub server_name: Option<ServerName> as "siem.example.com" else "the host of the address",
    }
}

impl ClientTls {
    /// The files of the client certificate and its key.
    pub fn identity(&self) -> Option<(&PathBuf, &PathBuf)> {
        self.cert_file.as_ref().zip(self.key_file.as_ref())
    }
}

setting! {
    /// A PEM file with trusted authorities.
    pub struct CaFile(PathBuf): Takes::String("path"), read by ca_file;
}

setting! {
    /// A PEM file with a certificate and its intermediates.
    pub struct CertFile(PathBuf): Takes::String("path"), read by cert_file;
}

setting! {
    /// A PEM file with a private key.
    pub struct KeyFile(PathBuf): Takes::String("path"), read by key_file;
}

setting! {
    /// The DNS name or IP address in a certificate.
    pub struct ServerName(String): Takes::String("name or IP address"), read by server_name;
}

fn ca_file(value: &Value<'_>, cx: &mut Context) -> Option<PathBuf> {
    value.readable("name a PEM file with the CA that signed the server's certificate", cx)
}

fn cert_file(value: &Value<'_>, cx: &mut Context) -> Option<PathBuf> {
    value.readable("name a PEM file with the certificate and then its intermediates", cx)
}

fn key_file(value: &Value<'_>, cx: &mut Context) -> Option<PathBuf> {
    value.readable("name a PEM file with the private key", cx)
}

fn server_name(value: &Value<'_>, cx: &mut Context) -> Option<String> {
    let name = value.string(cx)?.into_inner();
    if rustls::pki_types::ServerName::try_from(name.as_str()).is_err() {
        let message = format!("`{}` is not a server name", name.escape_debug());
        cx.push(
            value
                .problem(message)
                .hint("write a DNS name or an IP address, as in the server's certificate"),
        );
        return None;
    }
    Some(name)
}

fn check(_: &ClientTls, table: &Table<'_>, cx: &mut Context) {
    if table.contains("cert_file") != table.contains("key_file") {
        let (cert_file, key_file) = (table.full_name("cert_file"), table.full_name("key_file"));
        let message = format!("`{cert_file}` and `{key_file}` require each other");
        cx.push_incomplete(table.problem(message).hint("set both, or neither"));
    }
}
