//! Command line: commands, options and their help.

#![expect(clippy::doc_markdown, reason = "clap prints these comments, backticks included")]

pub mod cert;
pub mod quarantine;
pub mod sections;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;
use cloudflare::{doctor::Doctor, job::JobCommand, push::Push};
pub use command::ConfigFile;

use self::{cert::CertCommand, quarantine::QuarantineCommand};

const AFTER: &str = "\
Run 'logpushd COMMAND --help' for the options and examples of a command.
Run 'logpushd man | man -l -' for the manual, 'logpushd man logpushd.toml | man -l -' for the configuration.";

/// Receive Cloudflare Logpush over HTTPS and deliver the records
///
/// logpushd is the HTTPS destination of Cloudflare Logpush jobs. It authenticates the sender,
/// decompresses and validates each batch, and returns 200 only after the batch is fsynced. Then it
/// delivers the records to files, syslog, Splunk, Elasticsearch, ClickHouse, Loki, OpenTelemetry, HTTP
/// collectors and standard output.
#[derive(Debug, Parser)]
#[command(name = "logpushd", version, arg_required_else_help = true, after_help = AFTER)]
pub struct Cli {
    /// Command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// Commands of `logpushd`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon
    ///
    /// The daemon runs in the foreground, as a service manager expects. It logs to standard error;
    /// standard output belongs to the stdout sink.
    Run(ConfigFile),
    /// Check the configuration and the files that it names
    ///
    /// Prints every error and warning as path:line:column, with the line and a fix. A warning
    /// reports a valid setting that probably does not do what you expect. Without errors, prints a
    /// summary of the endpoints, sinks and directories.
    ///
    /// Permissions are checked for the current user. As root, they are checked for the user of
    /// logpushd.service, or for the user logpushd, by owners and modes. 'systemctl reload logpushd'
    /// runs this command first, as the daemon's user and in its sandbox. The daemon makes the same
    /// checks when it starts.
    ///
    /// With --json, problems and summary are one object on standard output, and standard error is
    /// empty.
    ///
    /// With --probe, also connects to the target of each network sink, and prints what it found or
    /// what to do. It checks the certificate, the credentials, and the index or table where the
    /// target has one, and writes no record. A target without such a check reports what cannot be
    /// known before the first batch. All sinks are probed at the same time, for up to 30 seconds.
    Validate(Validate),
    /// Test a destination the way Cloudflare does, and explain any failure
    ///
    /// Parses the destination, resolves its name, connects, performs the TLS handshake and checks
    /// the certificate. Then it sends Cloudflare's destination check, the same check with a wrong
    /// secret, and a batch of one record. Each failed step reports what Cloudflare would report,
    /// and what to do.
    Doctor(Doctor),
    /// Print the Logpush destination of each endpoint
    ///
    /// Prints the destination (destination_conf) of a Logpush job, and a curl command that tests
    /// it. The destination contains the secret of the endpoint.
    Destination(Destinations),
    /// List and verify the batches in the spool
    ///
    /// These commands only read, and work while the daemon runs.
    #[command(subcommand)]
    Spool(SpoolCommand),
    /// List, show, replay and delete rejected records
    ///
    /// The quarantine contains rejected records, unreadable bodies, and records that the target of
    /// a sink refused. These commands work while the daemon runs.
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Request and inspect TLS certificates
    #[command(subcommand)]
    Cert(CertCommand),
    /// Manage Logpush jobs through Cloudflare's API
    #[command(subcommand)]
    Job(JobCommand),
    /// Send local files to a destination, as Logpush does
    Push(Push),
    /// Print a shell completion script
    ///
    /// To install it, write it to the file that the shell loads: logpushd in
    /// /usr/share/bash-completion/completions for bash, _logpushd in a directory of $fpath for zsh,
    /// or logpushd.fish in ~/.config/fish/completions for fish.
    Completions(Completions),
    /// Print a man page, or write all of them to a directory
    ///
    /// Prints the source of the page, which "man -l -" displays.
    Man(Man),
}

/// Options of `logpushd destination`.
#[derive(Debug, clap::Args)]
pub struct Destinations {
    /// Configuration file.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Public name of the daemon, and its port if a proxy listens on another one [default: the
    /// first name of the certificate, and the port in server.address]
    #[arg(long, value_name = "NAME[:PORT]")]
    pub host: Option<String>,
    /// Dataset of the job; can be given several times [default: an example]
    #[arg(long, value_name = "NAME")]
    pub dataset: Vec<String>,
    /// Print only the destinations of this endpoint
    #[arg(long, value_name = "NAME")]
    pub endpoint: Option<String>,
    /// Print the destinations as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Subcommands of `logpushd spool`.
#[derive(Debug, Subcommand)]
pub enum SpoolCommand {
    /// List the batches in the spool and the sinks that still need them
    List(Spool),
    /// Decode every batch in the spool and compare it with its file name
    ///
    /// Reports damaged and unknown files. The daemon delivers the readable part of a damaged batch,
    /// and moves unknown files to the directory set-aside at startup.
    Verify(Spool),
}

/// Options of `logpushd spool list` and `logpushd spool verify`.
#[derive(Debug, clap::Args)]
pub struct Spool {
    /// Configuration file.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Options of `logpushd completions`.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// Shell to complete commands in
    pub shell: Shell,
}

/// Options of `logpushd man`.
#[derive(Debug, clap::Args)]
pub struct Man {
    /// Write all pages to files in this directory, and print their paths
    #[arg(long, value_name = "DIR", conflicts_with = "page")]
    pub dir: Option<PathBuf>,
    /// Page to print: logpushd, logpushd.toml, or a command such as logpushd-spool-list
    #[arg(value_name = "PAGE", default_value = "logpushd")]
    pub page: String,
}

/// Options of `logpushd validate`.
#[derive(Debug, clap::Args)]
pub struct Validate {
    /// Configuration file.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Configuration file, instead of -c
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Check the permissions of this user [default for root: the user of logpushd.service, or
    /// logpushd]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Treat warnings as errors
    #[arg(long)]
    pub strict: bool,
    /// Check that each network sink can deliver to its target, without writing a record
    #[arg(long, conflicts_with = "json")]
    pub probe: bool,
    /// Print problems and summary as one JSON object
    #[arg(long)]
    pub json: bool,
}

impl Validate {
    /// Returns the path of the configuration to check.
    pub fn path(&self) -> &Path {
        self.file.as_deref().unwrap_or(&self.config.path)
    }
}

/// Returns the definition of the command line, with the examples and exit statuses of each command
/// in its long help.
pub fn definition() -> clap::Command {
    sections::add_to(Cli::command())
}

/// Parses a command line, of which the first argument is the program.
///
/// # Errors
/// The command line is invalid, or asks for help or the version: the text to print.
pub fn parse(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&definition().try_get_matches_from(arguments)?)
}

#[cfg(test)]
mod tests {
    use command::DEFAULT_CONFIG;

    use super::*;

    #[test]
    fn definition_is_consistent() {
        definition().debug_assert();
    }

    #[test]
    fn configuration_has_a_default_path() {
        let cli = parse(["logpushd", "run"]).unwrap();
        let Command::Run(config) = cli.command else { panic!("not run") };
        assert_eq!(config.path, PathBuf::from(DEFAULT_CONFIG));
        for words in [&["validate", "-c", "x.toml"][..], &["validate", "x.toml"]] {
            let cli = parse([&["logpushd"], words].concat()).unwrap();
            let Command::Validate(validate) = cli.command else { panic!("not validate") };
            assert_eq!(validate.path(), Path::new("x.toml"));
        }
    }

    #[test]
    fn replay_accepts_files() {
        let words = ["logpushd", "quarantine", "replay", "-c", "x.toml", "--dry-run", "a", "b"];
        let cli = parse(words).unwrap();
        let Command::Quarantine(QuarantineCommand::Replay(replay)) = cli.command else {
            panic!("not replay")
        };
        assert_eq!(replay.config.path, PathBuf::from("x.toml"));
        assert!(replay.dry_run);
        assert_eq!(replay.paths, [PathBuf::from("a"), PathBuf::from("b")]);
    }

    /// A list of commands shows the first line of each help on one line.
    #[test]
    fn first_lines_of_help_are_short() {
        fn check(command: &clap::Command) {
            let about = command.get_about().unwrap().to_string();
            assert!(about.len() <= 72 && !about.ends_with('.'), "{}: {about}", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
