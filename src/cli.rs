//! What people type.

pub mod cert;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use self::cert::CertCommand;

/// Where the configuration is if nobody says otherwise.
const DEFAULT_CONFIG: &str = "/etc/logpushd/logpushd.toml";

const AFTER: &str = "\
A first try, in a clone of the project: logpushd run -c config/quickstart.toml
SIGTERM and SIGINT stop in order, SIGHUP takes over certificates, secrets and the log level.
Exit codes: 0 stopped, 64 usage, 69 an address is unavailable, 70 a defect, 74 I/O, 78 configuration.";

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
    Validate(ConfigFile),
    /// Look at the batches that wait for sinks; works beside the running daemon
    #[command(subcommand)]
    Spool(SpoolCommand),
    /// Look at what could not be accepted, and send it again after a mend
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Ask for a certificate, and look at one
    #[command(subcommand)]
    Cert(CertCommand),
}

/// What to do with the spool.
#[derive(Debug, Subcommand)]
pub enum SpoolCommand {
    /// List the batches that wait, and for which sinks
    List(ConfigFile),
    /// Read every file, and compare it with what its name says
    Verify(ConfigFile),
}

/// What to do with the quarantine.
#[derive(Debug, Subcommand)]
pub enum QuarantineCommand {
    /// List the files: what is in them, and since when
    List(ConfigFile),
    /// Send records and bodies to the running daemon again, after a mend
    ///
    /// The daemon answers how many are still bad: those come back to the quarantine. A file whose
    /// records were all taken is renamed to NAME.replayed-SECONDS, and is removed in time by the
    /// bounds of the quarantine.
    Replay(Replay),
}

/// What to replay.
#[derive(Debug, clap::Args)]
pub struct Replay {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Say what would be sent, and send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Files of the quarantine, or edited ones of their form [default: all that lie there]
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Which configuration.
#[derive(Debug, clap::Args)]
pub struct ConfigFile {
    /// The configuration file
    #[arg(short = 'c', long = "config", value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub path: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

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
        let cli = Cli::try_parse_from(["logpushd", "validate", "-c", "x.toml"]).unwrap();
        let Command::Validate(config) = cli.command else { panic!("not validate") };
        assert_eq!(config.path, PathBuf::from("x.toml"));
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
