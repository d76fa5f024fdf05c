//! Options of `logpushd quarantine`.

#![expect(clippy::doc_markdown, reason = "clap prints these comments, backticks included")]

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::ConfigFile;

/// Subcommands of `logpushd quarantine`.
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List the files in the quarantine and count their records
    ///
    /// Prints the age, the size and the contents of each file, oldest first, and compares the total
    /// with quarantine.max_bytes and quarantine.max_age.
    List(List),
    /// Print quarantined records with the reason of each
    ///
    /// Control and format characters are escaped. Long records are truncated unless --full is
    /// given. Files of replayed records are only printed if they are named.
    Show(Show),
    /// Send quarantined records to the running daemon again
    ///
    /// Fix the cause first: change the configuration, or edit a copy of a file and replay the copy.
    /// All sinks of the endpoint get the records. --sink limits a replay to one sink, and a record
    /// that the target of a sink refused goes only to that sink, as it is in the quarantine.
    ///
    /// Records that are still invalid return to the quarantine. Lines that cannot be replayed stay
    /// in their file and are reported: rows of CSV, damaged lines, and records of removed
    /// endpoints.
    ///
    /// A file whose records were all accepted is renamed to NAME.replayed-SECONDS. So are the lines
    /// that an edited copy was made from. The daemon deletes such files by quarantine.max_bytes and
    /// quarantine.max_age.
    Replay(Replay),
    /// Delete quarantined records, bodies and files
    ///
    /// At least one of --endpoint, --reason, --before, --all and PATH is required. A record is
    /// deleted if it meets all of them.
    Delete(Delete),
}

impl QuarantineCommand {
    /// Returns the configuration file.
    pub fn config(&self) -> &ConfigFile {
        match self {
            Self::List(List { config, .. })
            | Self::Show(Show { config, .. })
            | Self::Replay(Replay { config, .. })
            | Self::Delete(Delete { config, .. }) => config,
        }
    }
}

/// Options that select records and bodies.
#[derive(Clone, Debug, Default, Args)]
pub struct QuarantineFilter {
    /// Select records of this endpoint; can be given several times
    #[arg(long, value_name = "NAME")]
    pub endpoint: Vec<String>,
    /// Select records with this reason, such as not_json; can be given several times
    #[arg(long, value_name = "REASON")]
    pub reason: Vec<String>,
}

impl QuarantineFilter {
    /// Returns whether a record with this endpoint and reason is selected.
    pub fn matches(&self, endpoint: &str, reason: &str) -> bool {
        let is_among = |names: &[String], name: &str| {
            names.is_empty() || names.iter().any(|known| known == name)
        };
        is_among(&self.endpoint, endpoint) && is_among(&self.reason, reason)
    }

    /// Returns whether all records are selected.
    pub fn matches_all(&self) -> bool {
        self.endpoint.is_empty() && self.reason.is_empty()
    }
}

/// Options of `logpushd quarantine list`.
#[derive(Debug, Args)]
pub struct List {
    /// Configuration file.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `logpushd quarantine show`.
#[derive(Debug, Args)]
pub struct Show {
    /// Configuration file.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Selected records.
    #[command(flatten)]
    pub filter: QuarantineFilter,
    /// Maximum number of records to print
    #[arg(long, value_name = "COUNT", default_value = "100")]
    pub limit: u64,
    /// Print records in full instead of their first 500 bytes
    #[arg(long)]
    pub full: bool,
    /// Print the records as one JSON object
    #[arg(long)]
    pub json: bool,
    /// Files in the quarantine [default: all except replayed ones]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Options of `logpushd quarantine replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// Configuration file.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Selected records.
    #[command(flatten)]
    pub filter: QuarantineFilter,
    /// Deliver the records only to this sink [default: all sinks of the endpoint]
    #[arg(long, value_name = "NAME")]
    pub sink: Option<String>,
    /// Let records that a target refused go through the filters and masks of their sink again, if
    /// these have changed since
    #[arg(long)]
    pub apply_selection: bool,
    /// Print what would be sent, and send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
    /// Files in the quarantine, or edited copies of them [default: all except replayed ones]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Options of `logpushd quarantine delete`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true)
    .args(["endpoint", "reason", "before", "paths", "all"]))]
pub struct Delete {
    /// Configuration file.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Selected records.
    #[command(flatten)]
    pub filter: QuarantineFilter,
    /// Select records received before this time, such as 2026-01-31 (midnight UTC) or
    /// 2026-01-31T12:00:00Z
    #[arg(long, value_name = "DATE", value_parser = time)]
    pub before: Option<Timestamp>,
    /// Select everything, replayed records included
    #[arg(long, conflicts_with_all = ["endpoint", "reason", "before", "paths"])]
    pub all: bool,
    /// Print what would be deleted, and delete nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Confirm the deletion, which cannot be undone
    #[arg(long)]
    pub yes: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
    /// Files in the quarantine [default: all]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    // jiff also parses the date of a time without a zone.
    let date = text.parse::<Date>().ok().filter(|date| date.to_string() == text);
    let midnight = date.and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    let midnight = midnight.map(|midnight| midnight.timestamp());
    midnight.ok_or_else(|| {
        "write a date such as 2026-01-31, or a time such as 2026-01-31T12:00:00Z".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_means_midnight_utc() {
        for (text, want) in [
            ("2026-01-31", "2026-01-31T00:00:00Z"),
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
            ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00Z"),
        ] {
            assert_eq!(time(text).unwrap().to_string(), want);
        }
        for text in ["", "yesterday", "31.1.2026", "2026-02-30", "2026-01-31T12:00"] {
            time(text).unwrap_err();
        }
    }

    #[test]
    fn filter_matches_endpoint_and_reason() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let filter = QuarantineFilter { endpoint: names(&["a", "b"]), reason: names(&["not_csv"]) };
        assert!(filter.matches("b", "not_csv") && !filter.matches_all());
        assert!(!filter.matches("c", "not_csv") && !filter.matches("a", "not_json"));
        assert!(
            QuarantineFilter::default().matches("x", "y")
                && QuarantineFilter::default().matches_all()
        );
    }
}
