//! The report on a certificate chain, as text or JSON.

use std::io::{self, Write};

use jiff::Timestamp;
use serde_json::json;

use crate::tls::inspect::Certificate;

const DAY: i64 = 24 * 60 * 60;

/// The report on the chain of a file or server.
pub(super) struct CertReport {
    /// The file or the server.
    pub(super) source: String,
    pub(super) entries: Vec<ChainEntry>,
    /// The server name of the handshake, and whether the certificate contains it.
    pub(super) name: Option<(String, bool)>,
    pub(super) trust: ChainTrust,
    /// The issuer of the last certificate.
    pub(super) end: String,
    /// The file of trusted authorities. `None`: the public authorities.
    pub(super) trusted_by: Option<String>,
    /// The key file of `--key`, and whether it belongs to the first certificate.
    pub(super) key: Option<(String, bool)>,
}

/// A certificate of the chain.
pub(super) struct ChainEntry {
    pub(super) certificate: Certificate,
    pub(super) fingerprint: String,
}

/// Whether a chain is trusted.
pub(super) enum ChainTrust {
    /// The chain leads to a trusted authority.
    Complete,
    SelfSigned,
    /// The chain ends at an unknown issuer.
    Unknown,
    /// rustls refuses the chain, with this reason.
    Refused(String),
}

impl CertReport {
    pub(super) fn write_text(&self, out: &mut dyn Write, now: i64) -> io::Result<()> {
        let count = self.entries.len();
        writeln!(out, "{}: {count} certificate{}", self.source, if count == 1 { "" } else { "s" })?;
        for (index, entry) in self.entries.iter().enumerate() {
            entry.write_text(out, index + 1, now)?;
        }
        writeln!(out, "\nchain    {}", self.chain_text())?;
        if let Some((name, matches)) = &self.name {
            let verb = if *matches { "matches" } else { "does not match" };
            writeln!(out, "name     {verb} {name}")?;
        }
        if let Some((key, belongs)) = &self.key {
            let verb = if *belongs { "belongs" } else { "does not belong" };
            writeln!(out, "key      {key} {verb} to certificate 1")?;
        }
        Ok(())
    }

    fn chain_text(&self) -> String {
        let Self { end, trusted_by, .. } = self;
        let authorities = match trusted_by {
            Some(file) => format!("an authority in {file}"),
            None => "a public authority".to_owned(),
        };
        match &self.trust {
            ChainTrust::Complete => format!("complete: it leads to {authorities}, {end}"),
            ChainTrust::SelfSigned => "self-signed: Cloudflare refuses it".to_owned(),
            ChainTrust::Unknown => format!(
                "incomplete or private: it ends at {end}, which is not {authorities}: if {end} is an \
                 intermediate, append its certificate to the file; if it is a private authority, \
                 Cloudflare refuses the chain (--ca FILE trusts it here)"
            ),
            ChainTrust::Refused(reason) => format!("invalid: {reason}"),
        }
    }

    pub(super) fn write_json(&self, out: &mut dyn Write, now: i64) -> io::Result<()> {
        let trust = match &self.trust {
            ChainTrust::Complete => "complete",
            ChainTrust::SelfSigned => "self_signed",
            ChainTrust::Unknown => "unknown_issuer",
            ChainTrust::Refused(_) => "refused",
        };
        let report = json!({
            "source": self.source,
            "certificates": self.entries.iter().map(|entry| entry.json(now)).collect::<Vec<_>>(),
            "chain": trust,
            "chain_text": self.chain_text(),
            "leads_to": self.end,
            "trusted": matches!(self.trust, ChainTrust::Complete),
            "name": self.name.as_ref().map(|(name, _)| name),
            "name_matches": self.name.as_ref().map(|(_, matches)| matches),
            "key_matches": self.key.as_ref().map(|(_, belongs)| belongs),
        });
        crate::commands::json::write(out, &report)
    }
}

impl ChainEntry {
    fn write_text(&self, out: &mut dyn Write, number: usize, now: i64) -> io::Result<()> {
        let Certificate { subject, issuer, serial, not_before, not_after, key, .. } =
            &self.certificate;
        let left = match (not_after - now, now < *not_before) {
            (_, true) => "not valid yet".to_owned(),
            (..=0, _) => format!("EXPIRED {} days ago", (now - not_after) / DAY),
            (left, _) => format!("{} days left", left / DAY),
        };
        writeln!(out, "\n{number}  subject  {subject}")?;
        writeln!(out, "   issuer   {issuer}")?;
        let names = self.names();
        if !names.is_empty() {
            writeln!(out, "   names    {}", names.join(", "))?;
        } else if number == 1 {
            writeln!(out, "   names    none: Cloudflare ignores the common name and refuses it")?;
        }
        writeln!(out, "   valid    {} to {}: {left}", time(*not_before), time(*not_after))?;
        writeln!(out, "   key      {key}")?;
        writeln!(out, "   serial   {serial}")?;
        writeln!(out, "   sha256   {}", self.fingerprint)
    }

    fn json(&self, now: i64) -> serde_json::Value {
        let Certificate { subject, issuer, serial, not_before, not_after, key, extensions } =
            &self.certificate;
        json!({
            "subject": subject.to_string(),
            "issuer": issuer.to_string(),
            "names": self.names(),
            "not_before": time(*not_before),
            "not_after": time(*not_after),
            // Negative after the end of its validity.
            "days_left": (not_after - now).div_euclid(DAY),
            "key": key.to_string(),
            "serial": serial,
            "sha256": self.fingerprint,
            "is_authority": extensions.is_authority,
        })
    }

    fn names(&self) -> Vec<String> {
        let extensions = &self.certificate.extensions;
        let addresses = extensions.addresses.iter().map(ToString::to_string);
        extensions.dns_names.iter().cloned().chain(addresses).collect()
    }
}

fn time(seconds: i64) -> String {
    // The end of a certificate that never expires is beyond the range of `Timestamp`.
    Timestamp::from_second(seconds).map_or_else(|_| "forever".to_owned(), |at| at.to_string())
}
