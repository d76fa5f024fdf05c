//! Options of `logpushd cert`.

use std::{net::IpAddr, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use crate::config::check_domain;

/// Subcommands of `logpushd cert`.
#[derive(Debug, Subcommand)]
pub enum CertCommand {
    /// Create a private key and a certificate request
    ///
    /// A certificate authority signs the request. It contains the name of --name as common name and
    /// as subject alternative name. An existing key is used if --key names it, and never
    /// overwritten.
    Csr(Csr),
    /// Show a certificate, its validity, and whether its chain is complete
    ///
    /// Reads the certificate from a PEM file, or from a server over TLS. Cloudflare connects only
    /// if the chain leads to a public certificate authority and the certificate contains the
    /// server's name.
    Show(Show),
}

/// Options of `logpushd cert csr`.
#[derive(Debug, Args)]
pub struct Csr {
    /// Name that Logpush connects to, such as logs.example.com
    #[arg(long, value_name = "FQDN", value_parser = dns_name)]
    pub name: String,
    /// Additional name or IP address; can be given several times
    #[arg(long, value_name = "NAME", value_parser = name_or_address)]
    pub san: Vec<String>,
    /// Private key file; created if it does not exist [default: a new file, FQDN.key]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// File to write the request to; - writes to standard output [default: FQDN.csr]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Create an RSA key of this size [default: an ECDSA P-256 key]
    #[arg(long, value_name = "BITS")]
    pub rsa: Option<RsaBits>,
    /// Organization, if the authority requires it
    #[arg(long, value_name = "NAME", value_parser = text)]
    pub organization: Option<String>,
    /// Country, in two letters such as DE
    #[arg(long, value_name = "CODE", value_parser = country)]
    pub country: Option<String>,
    /// State or province
    #[arg(long, value_name = "NAME", value_parser = text)]
    pub state: Option<String>,
    /// City
    #[arg(long, value_name = "NAME", value_parser = text)]
    pub locality: Option<String>,
    /// Print the paths of the two files as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Size of an RSA key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum RsaBits {
    /// Minimum that certificate authorities accept
    #[value(name = "2048")]
    Bits2048,
    /// 128-bit security
    #[value(name = "3072")]
    Bits3072,
    /// Slow handshakes
    #[value(name = "4096")]
    Bits4096,
}

/// Options of `logpushd cert show`.
#[derive(Debug, Args)]
pub struct Show {
    /// PEM file, or server: HOST, HOST:PORT or https://...
    #[arg(value_name = "FILE|HOST[:PORT]")]
    pub target: String,
    /// Trust the certificate authorities in this PEM file instead of the public ones
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Check whether this private key belongs to the certificate
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Server name for the TLS handshake [default: HOST]
    #[arg(long, value_name = "FQDN", value_parser = dns_name)]
    pub name: Option<String>,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
}

fn dns_name(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    // A wildcard is only valid as the leftmost label.
    check_domain(text.strip_prefix("*.").unwrap_or(&text))?;
    Ok(text)
}

fn name_or_address(text: &str) -> Result<String, String> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => dns_name(text),
    }
}

/// Checks a name for the subject: at most 64 characters (RFC 5280, appendix A.1).
fn text(text: &str) -> Result<String, String> {
    if (1..=64).contains(&text.chars().count()) && !text.contains(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err("write 1 to 64 characters".to_owned())
    }
}

fn country(text: &str) -> Result<String, String> {
    if text.len() == 2 && text.bytes().all(|b| b.is_ascii_alphabetic()) {
        Ok(text.to_ascii_uppercase())
    } else {
        Err("write two letters, such as DE".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_checked() {
        for (given, accepted) in [
            ("Logs.Example.com", "logs.example.com"),
            ("*.example.com", "*.example.com"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8::1", "2001:db8::1"),
        ] {
            assert_eq!(name_or_address(given).as_deref(), Ok(accepted));
        }
        for bad in
            ["", "*.*.example.com", "a b", "https://a.example", "a.example:443", "-a.example"]
        {
            assert!(name_or_address(bad).is_err(), "{bad}");
        }
        assert!(dns_name("192.0.2.1").is_err());
        assert!(text(&"a".repeat(65)).is_err() && text("a\nb").is_err() && text("A & B").is_ok());
        assert_eq!(country("de").as_deref(), Ok("DE"));
        assert!(country("deu").is_err() && country("1a").is_err());
    }
}
