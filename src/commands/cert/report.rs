//! What is told of a chain, for people and for programs.

use std::io::{self, Write};

use jiff::Timestamp;
use serde_json::json;

use crate::tls::inspect::Certificate;

const DAY: i64 = 24 * 60 * 60;

/// All that there is to tell.
pub(super) struct CertReport {
    /// The file or the server.
    pub(super) source: String,
    pub(super) entries: Vec<ChainEntry>,
    /// The name that the server was asked for, and whether the certificate is for it.
    pub(super) name: Option<(String, bool)>,
    pub(super) verdict: Chain,
    /// Where the chain ends: the issuer of its last certificate.
    pub(super) end: String,
    /// The file of authorities; none: those of the public web.
    pub(super) trusted_by: Option<String>,
    /// A key file, and whether it belongs to the first certificate.
    pub(super) key: Option<(String, bool)>,
}

pub(super) struct ChainEntry {
    pub(super) certificate: Certificate,
    pub(super) fingerprint: String,
}

/// What a chain is worth.
pub(super) enum Chain {
    /// It leads to somebody who is trusted.
    Complete,
    SelfSigned,
    /// It leads to somebody who is not known.
    Unknown,
    /// It cannot be used, as rustls says.
    Refused(String),
}

impl CertReport {
    pub(super) fn write_text(&self, out: &mut dyn Write, now: i64) -> io::Result<()> {
        let count = self.entries.len();
        writeln!(out, "{}: {count} certificate{}", self.source, if count == 1 { "" } else { "s" })?;
        for (place, entry) in self.entries.iter().enumerate() {
            entry.write_text(out, place + 1, now)?;
        }
        writeln!(out, "\nchain    {}", self.chain_text())?;
        if let Some((name, fits)) = &self.name {
            let fits = if *fits { "is for" } else { "is not for" };
            writeln!(out, "name     {fits} {name}")?;
        }
        if let Some((key, belongs)) = &self.key {
            let belongs = if *belongs { "belongs" } else { "does not belong" };
            writeln!(out, "key      {key} {belongs} to certificate 1")?;
        }
        Ok(())
    }

    fn chain_text(&self) -> String {
        let Self { end, trusted_by, .. } = self;
        let who = trusted_by.as_deref().unwrap_or("the public web");
        match &self.verdict {
            Chain::Complete => format!("complete: it leads to {end}, whom {who} trusts"),
            Chain::SelfSigned => {
                "self-signed: nobody vouches for it, and cloudflare refuses it".to_owned()
            }
            Chain::Unknown => format!(
                "not complete, or private: it ends at {end}, whom {who} does not trust: add the \
                 certificate of {end} behind the others if it is an intermediate; if it is a private \
                 authority, cloudflare refuses it (--ca FILE trusts it here)"
            ),
            Chain::Refused(why) => format!("cannot be used: {why}"),
        }
    }

    pub(super) fn write_json(&self, out: &mut dyn Write, now: i64) -> io::Result<()> {
        let verdict = match &self.verdict {
            Chain::Complete => "complete",
            Chain::SelfSigned => "self_signed",
            Chain::Unknown => "unknown_issuer",
            Chain::Refused(_) => "refused",
        };
        let report = json!({
            "source": self.source,
            "certificates": self.entries.iter().map(|entry| entry.json(now)).collect::<Vec<_>>(),
            "chain": verdict,
            "chain_text": self.chain_text(),
            "leads_to": self.end,
            "trusted": matches!(self.verdict, Chain::Complete),
            "name": self.name.as_ref().map(|(name, _)| name),
            "name_matches": self.name.as_ref().map(|(_, fits)| fits),
            "key_matches": self.key.as_ref().map(|(_, belongs)| belongs),
        });
        crate::commands::json::write(out, &report)
    }
}

impl ChainEntry {
    fn write_text(&self, out: &mut dyn Write, place: usize, now: i64) -> io::Result<()> {
        let Certificate { subject, issuer, serial, not_before, not_after, key, .. } =
            &self.certificate;
        let left = match (not_after - now, now < *not_before) {
            (_, true) => "not valid yet".to_owned(),
            (..=0, _) => format!("EXPIRED {} days ago", (now - not_after) / DAY),
            (left, _) => format!("{} days left", left / DAY),
        };
        writeln!(out, "\n{place}  subject  {subject}")?;
        writeln!(out, "   issuer   {issuer}")?;
        let names = self.names();
        if !names.is_empty() {
            writeln!(out, "   names    {}", names.join(", "))?;
        } else if place == 1 {
            writeln!(
                out,
                "   names    none: the common name does not count, cloudflare refuses it"
            )?;
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
            // Also below 0: so long ago.
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
    // "Never expires" is 9999-12-31T23:59:59Z, and no timestamp goes that far.
    Timestamp::from_second(seconds).map_or_else(|_| "forever".to_owned(), |at| at.to_string())
}
