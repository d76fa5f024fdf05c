//! `logpushd quarantine`.

#![expect(clippy::doc_markdown, reason = "these comments are the help, where backticks would stay")]

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::ConfigFile;

/// What to do with the quarantine.
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List the files: what is in them, and since when
    List(List),
    /// Print the records, with the reason why each was rejected
    ///
    /// Control and format characters are escaped. Long records and long lists are cut: --full and --limit
    /// print more. What a replay has sent is not printed unless its file is named.
    Show(Show),
    /// Send records and bodies to the running daemon again, after a repair
    ///
    /// The daemon answers how many are still bad: those come back to the quarantine. Lines that cannot be
    /// replayed (a row of CSV, a line that is damaged, an endpoint that was removed) are reported and stay,
    /// and hold up no others. All sinks of the endpoint get the records, or the one that --sink names; what a sink's target has refused goes to that sink alone. A file whose records were all taken is renamed to NAME.replayed-SECONDS,
    /// and is removed in time by the bounds of the quarantine. After the replay of an edited copy, the
    /// lines that it was made from are in such a file too.
    ///
    /// Exit codes: 0 everything was taken; 64 there is no such sink; 65 something is still bad or was left out; 69 the daemon does
    /// not answer or refuses; 74 a file cannot be read.
    Replay(Replay),
    /// Delete records, bodies and whole files; works beside the running daemon
    ///
    /// Exit codes: 0 deleted; 64 --yes is missing; 69 the daemon is writing to a file and does not finish;
    /// 74 a file cannot be read or written.
    Delete(Delete),
}

impl QuarantineCommand {
    /// Which configuration.
    pub fn config(&self) -> &ConfigFile {
        match self {
            Self::List(List { config, .. })
            | Self::Show(Show { config, .. })
            | Self::Replay(Replay { config, .. })
            | Self::Delete(Delete { config, .. }) => config,
        }
    }
}

/// Which records and bodies.
#[derive(Clone, Debug, Default, Args)]
pub struct QuarantineChoice {
    /// Only those of this endpoint; can be given several times
    #[arg(long, value_name = "NAME")]
    pub endpoint: Vec<String>,
    /// Only those that were rejected for this reason, as in not_json; can be given several times
    #[arg(long, value_name = "REASON")]
    pub reason: Vec<String>,
}

impl QuarantineChoice {
    /// Whether a record with this endpoint and reason is chosen.
    pub fn takes(&self, endpoint: &str, reason: &str) -> bool {
        let is_among = |names: &[String], name: &str| {
            names.is_empty() || names.iter().any(|known| known == name)
        };
        is_among(&self.endpoint, endpoint) && is_among(&self.reason, reason)
    }

    /// Whether everything is chosen.
    pub fn is_everything(&self) -> bool {
        self.endpoint.is_empty() && self.reason.is_empty()
    }
}

/// What to list.
#[derive(Debug, Args)]
pub struct List {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What to show.
#[derive(Debug, Args)]
pub struct Show {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Which records.
    #[command(flatten)]
    pub choice: QuarantineChoice,
    /// How many records to print
    #[arg(long, value_name = "COUNT", default_value = "100")]
    pub limit: u64,
    /// Print records in full, rather than the first 500 bytes
    #[arg(long)]
    pub full: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Files of the quarantine [default: all but those that were replayed]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// What to replay.
#[derive(Debug, Args)]
pub struct Replay {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Which records.
    #[command(flatten)]
    pub choice: QuarantineChoice,
    /// Deliver to this sink alone [default: to all sinks of the endpoint]
    #[arg(long, value_name = "NAME")]
    pub sink: Option<String>,
    /// Print what would be sent, and send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Files of the quarantine, or edited copies of them [default: all that were not replayed]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// What to delete.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true)
    .args(["endpoint", "reason", "before", "paths", "all"]))]
pub struct Delete {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Which records.
    #[command(flatten)]
    pub choice: QuarantineChoice,
    /// Only what was received before this time, as in 2026-01-31 (midnight UTC) or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "DATE", value_parser = time)]
    pub before: Option<Timestamp>,
    /// Everything, also what was replayed
    #[arg(long, conflicts_with_all = ["endpoint", "reason", "before", "paths"])]
    pub all: bool,
    /// Print what would be deleted, and delete nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Confirm that it is deleted for good
    #[arg(long)]
    pub yes: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Files of the quarantine [default: all]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    // jiff reads the date of a time without a zone as well.
    let date = text.parse::<Date>().ok().filter(|date| date.to_string() == text);
    let midnight = date.and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    let midnight = midnight.map(|midnight| midnight.timestamp());
    midnight.ok_or_else(|| "write a date as 2026-01-31, or a time as 2026-01-31T12:00:00Z".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_its_midnight() {
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
    fn a_choice_is_by_endpoint_and_reason() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let choice = QuarantineChoice { endpoint: names(&["a", "b"]), reason: names(&["not_csv"]) };
        assert!(choice.takes("b", "not_csv") && !choice.is_everything());
        assert!(!choice.takes("c", "not_csv") && !choice.takes("a", "not_json"));
        assert!(
            QuarantineChoice::default().takes("x", "y")
                && QuarantineChoice::default().is_everything()
        );
    }
}
