//! `logpushd cert`.

use std::{net::IpAddr, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use crate::config::check_domain;

/// What to do with certificates.
#[derive(Debug, Subcommand)]
pub enum CertCommand {
    /// Make a key, and a request that an authority can sign
    ///
    /// The request is for NAME, as common name and as alternative name. A key that is there already is
    /// used if it is named, and never overwritten.
    Csr(Csr),
    /// Show a certificate: whose it is, until when, and whether its chain is complete
    ///
    /// Exit codes: 0 it was shown, whatever it is worth; 69 the server does not answer; 74 a file cannot
    /// be read; 78 a file holds no certificate, or --key does not belong to it.
    Show(Show),
}

/// What to ask an authority for.
#[derive(Debug, Args)]
pub struct Csr {
    /// The name that Logpush connects to, as logs.example.com
    #[arg(long, value_name = "FQDN", value_parser = dns_name)]
    pub name: String,
    /// One more name or IP address; may stand several times
    #[arg(long, value_name = "NAME", value_parser = name_or_address)]
    pub san: Vec<String>,
    /// The key: used if it is there, made if not [default: FQDN.key, which must not be there]
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Where to write the request; - prints it [default: FQDN.csr]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Make an RSA key of so many bits [default: ECDSA P-256]
    #[arg(long, value_name = "BITS")]
    pub rsa: Option<RsaBits>,
    /// Whose it is, if the authority wants to know
    #[arg(long, value_name = "NAME", value_parser = text)]
    pub organization: Option<String>,
    /// In two letters
    #[arg(long, value_name = "CODE", value_parser = country)]
    pub country: Option<String>,
    /// State or province
    #[arg(long, value_name = "NAME", value_parser = text)]
    pub state: Option<String>,
    /// City
    #[arg(long, value_name = "NAME", value_parser = text)]
    pub locality: Option<String>,
    /// Print one JSON object that names the two files
    #[arg(long)]
    pub json: bool,
}

/// The size of an RSA key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum RsaBits {
    /// The least that is accepted.
    #[value(name = "2048")]
    Bits2048,
    /// A little more.
    #[value(name = "3072")]
    Bits3072,
    /// A lot more work in each handshake.
    #[value(name = "4096")]
    Bits4096,
}

/// What to show.
#[derive(Debug, Args)]
pub struct Show {
    /// A PEM file, or a server that runs: HOST, HOST:PORT or https://...
    #[arg(value_name = "FILE|HOST[:PORT]")]
    pub target: String,
    /// Trust the authorities of this file in place of the public ones
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Tell whether this private key belongs to it
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Ask the server for this name [default: HOST]
    #[arg(long, value_name = "FQDN", value_parser = dns_name)]
    pub name: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

fn dns_name(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    // A wildcard is for the leftmost label alone.
    check_domain(text.strip_prefix("*.").unwrap_or(&text))?;
    Ok(text)
}

fn name_or_address(text: &str) -> Result<String, String> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => dns_name(text),
    }
}

/// RFC 5280, appendix A.1: at most 64 characters.
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
        Err("write two letters, as DE".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_checked() {
        for (given, taken) in [
            ("Logs.Example.com", "logs.example.com"),
            ("*.example.com", "*.example.com"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:DB8::1", "2001:db8::1"),
        ] {
            assert_eq!(name_or_address(given).as_deref(), Ok(taken));
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
