//! What people type.

pub mod cert;
pub mod quarantine;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use cloudflare::{doctor::Doctor, job::JobCommand, push::Push};
pub use command::ConfigFile;

use self::{cert::CertCommand, quarantine::QuarantineCommand};

const AFTER: &str = "\
A first try, in a clone of the project: logpushd run -c config/quickstart.toml
SIGTERM and SIGINT stop in order, SIGHUP takes over the configuration, all but addresses and folders.
Exit codes: 0 stopped, 64 usage, 65 records are bad, 69 an address is unavailable, 70 a defect, 74 I/O, 78 configuration.";

/// Receives Cloudflare Logpush over HTTPS: commits each batch to disk before it answers 200, then
/// hands the records to files and pipes.
#[derive(Debug, Parser)]
#[command(name = "logpushd", version, arg_required_else_help = true, after_help = AFTER)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon
    Run(ConfigFile),
    /// Check the configuration and the files that it names, and print every problem
    ///
    /// Each problem is printed as path:line:column with the line and what to do. A warning is about a
    /// configuration that is valid but probably does not do what you expect. Without errors, prints a
    /// summary: endpoints, sinks and the paths in full.
    ///
    /// Permissions are tested for the user that runs the command. Root may write anywhere, so as root
    /// only read-only file systems are found: run it as the daemon's user. Under systemd the unit runs
    /// it by itself at each start, as the daemon's user and inside its sandbox.
    ///
    /// With --json, problems and summary are one object on standard output; standard error is empty.
    ///
    /// Exit codes: 0 valid, also with warnings; 78 errors, or warnings with --strict.
    Validate(Validate),
    /// Do to a destination what Cloudflare does to it, and name what fails
    ///
    /// Reads the destination, resolves, connects, shakes hands and looks at the certificate; then it
    /// sends Cloudflare's destination check, the same with a wrong secret, and a batch of one record.
    /// Each step says what Cloudflare would say, and what to do. docs/doctor.md explains them.
    ///
    /// Exit codes: 0 fine, also with warnings; 64 the destination cannot be read; 69 a step failed;
    /// 74 the file of --ca or standard input cannot be read.
    Doctor(Doctor),
    /// Print what to write into a Logpush job as destination, for each endpoint
    ///
    /// And the call of curl that tries it. What is printed holds the secrets, since Cloudflare is told
    /// them so: mind where it goes.
    Destination(Destinations),
    /// Look at the batches that wait for sinks; works beside the running daemon
    #[command(subcommand)]
    Spool(SpoolCommand),
    /// Look at rejected records and bodies, send them again after a repair, or delete them
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Ask for a certificate, and look at one
    #[command(subcommand)]
    Cert(CertCommand),
    /// Manage Logpush jobs over Cloudflare's API
    #[command(subcommand)]
    Job(JobCommand),
    /// Send local files to a destination, as Logpush would
    Push(Push),
    /// Print a script that completes these commands in a shell
    ///
    /// For this session of bash: source <(logpushd completions bash). For good, write it to a file
    /// of the name that the shell looks for: logpushd (bash), _logpushd (zsh), logpushd.fish.
    Completions(Completions),
    /// Print a page of the manual, or write all of them to a folder
    ///
    /// What is printed is the source of the page. To read it: logpushd man logpushd.toml | man -l -
    Man(Man),
}

/// Which destinations, and by which name.
#[derive(Debug, clap::Args)]
pub struct Destinations {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// By which name Cloudflare finds the daemon [default: the first of its certificate], and on which
    /// port if a proxy has another
    #[arg(long, value_name = "NAME[:PORT]")]
    pub host: Option<String>,
    /// The dataset of the job, once or several times [default: an example]
    #[arg(long, value_name = "NAME")]
    pub dataset: Vec<String>,
    /// This endpoint alone
    #[arg(long, value_name = "NAME")]
    pub endpoint: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What to do with the spool.
#[derive(Debug, Subcommand)]
pub enum SpoolCommand {
    /// List the batches that wait, and for which sinks
    List(Spool),
    /// Read every file, and compare it with what its name says
    Verify(Spool),
}

/// Which spool.
#[derive(Debug, clap::Args)]
pub struct Spool {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Which completions.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

/// Which pages.
#[derive(Debug, clap::Args)]
pub struct Man {
    /// Write every page to a file in this folder, and print their paths
    #[arg(long, value_name = "DIR", conflicts_with = "page")]
    pub dir: Option<PathBuf>,
    /// logpushd, logpushd.toml, or a command as in logpushd-spool-list
    #[arg(value_name = "PAGE", default_value = "logpushd")]
    pub page: String,
}

/// What to check.
#[derive(Debug, clap::Args)]
pub struct Validate {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// The configuration file, in place of -c
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Check what this user may read and write; for root, by default the user of logpushd.service, or
    /// logpushd
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Treat warnings as errors
    #[arg(long)]
    pub strict: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl Validate {
    /// The configuration to check.
    pub fn path(&self) -> &Path {
        self.file.as_deref().unwrap_or(&self.config.path)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use command::DEFAULT_CONFIG;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_configuration_has_a_default_place() {
        let cli = Cli::try_parse_from(["logpushd", "run"]).unwrap();
        let Command::Run(config) = cli.command else { panic!("not run") };
        assert_eq!(config.path, PathBuf::from(DEFAULT_CONFIG));
        for words in [&["validate", "-c", "x.toml"][..], &["validate", "x.toml"]] {
            let cli = Cli::try_parse_from([&["logpushd"], words].concat()).unwrap();
            let Command::Validate(validate) = cli.command else { panic!("not validate") };
            assert_eq!(validate.path(), Path::new("x.toml"));
        }
    }

    #[test]
    fn a_replay_takes_files() {
        let words = ["logpushd", "quarantine", "replay", "-c", "x.toml", "--dry-run", "a", "b"];
        let cli = Cli::try_parse_from(words).unwrap();
        let Command::Quarantine(QuarantineCommand::Replay(replay)) = cli.command else {
            panic!("not replay")
        };
        assert_eq!(replay.config.path, PathBuf::from("x.toml"));
        assert!(replay.dry_run);
        assert_eq!(replay.paths, [PathBuf::from("a"), PathBuf::from("b")]);
    }
}
